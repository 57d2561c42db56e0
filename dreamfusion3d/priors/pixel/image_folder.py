"""Pictures of the user's own to train a prior on: a folder in the hub's imagefolder form, with a
metadata.jsonl of a line a picture (file_name, text; azimuth_deg, elevation_deg and group if known)."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError
from scipy import ndimage
from torch import Tensor

from dreamfusion3d.core.errors import InputError
from dreamfusion3d.priors.pixel.conditioner import UNTOLD_DEG
from dreamfusion3d.priors.pixel.tokens import caption_tokens
from dreamfusion3d.procedural.dataset import PICTURE_SIZE, Batch

METADATA = "metadata.jsonl"
FILL = 0.8  # of the picture's side that an object takes whose camera is not known
LARGEST = 1024  # pixels; larger pictures are made smaller before anything else
PLAIN = 0.1  # how far a colour may be from the background's, in [0, 1]
BORDER = 0.9  # share of the border that must be background
FORM = '{"file_name": "mug.png", "text": "a red mug"}'


@dataclass(frozen=True)
class Line:
    """A line of metadata.jsonl, checked."""

    path: Path
    text: str
    camera_deg: tuple[float, float] | None  # azimuth and elevation
    group: str | None  # pictures of one group show one object


@dataclass(frozen=True)
class OwnPictures:
    """``n`` pictures, premultiplied RGBA, with what is told of each. Without cameras every picture
    stands alone, as if seen from UNTOLD_DEG."""

    pixels: UInt8[Tensor, "n 4 h w"]
    lines: list[Line]
    cut: int = 0  # of them had no transparency, and lost a plain background

    @property
    def cameras(self) -> bool:
        return self.lines[0].camera_deg is not None

    @property
    def texts(self) -> list[str]:
        """Different captions, in the folder's order."""
        return list(dict.fromkeys(line.text for line in self.lines))

    @cached_property
    def tokens(self) -> list[list[str]]:
        return [caption_tokens(line.text) for line in self.lines]

    @cached_property
    def vocabulary(self) -> list[str]:
        """Every token of the captions."""
        return list(dict.fromkeys(token for tokens in self.tokens for token in tokens))

    @cached_property
    def groups(self) -> list[list[int]]:
        """The rows of each object's pictures."""
        found: dict[Any, list[int]] = {}
        for row, line in enumerate(self.lines):
            together = self.cameras and line.group is not None
            found.setdefault(line.group if together else row, []).append(row)
        return list(found.values())

    @cached_property
    def _group_of(self) -> list[list[int]]:
        """The group of each picture, group by group."""
        return [group for group in self.groups for _ in group]

    @cached_property
    def _camera_deg(self) -> Float[Tensor, "n 2"]:
        return torch.tensor([line.camera_deg or UNTOLD_DEG for line in self.lines])

    def batch(self, props: int, views: int, *, generator: torch.Generator) -> Batch:
        """About ``props * views`` pictures: of random objects, from as many of their cameras as
        ``views`` or as the first of them has. An object is drawn as often as it has pictures."""

        def below(count: int) -> int:
            return int(torch.randint(count, (), generator=generator))

        first = self._group_of[below(len(self.lines))]
        seen = min(views, len(first))
        enough = [group for group in self._group_of if len(group) >= seen]
        chosen = [first, *(enough[below(len(enough))] for _ in range(props * views // seen - 1))]
        rows = torch.tensor([
            [group[i] for i in torch.randperm(len(group), generator=generator)[:seen].tolist()]
            for group in chosen
        ])
        camera = self._camera_deg[rows]
        said = [self.tokens[int(row[below(seen)])] for row in rows]
        return Batch(self.pixels[rows].float() / 127.5 - 1, said, camera[..., 0], camera[..., 1])


def read_folder(folder: Path) -> Iterator[tuple[int, int, OwnPictures | None]]:
    """Yields (pictures read, all pictures, None), and the pictures at the end.

    Raises InputError at the first line or picture that cannot be used.
    """
    lines = read_metadata(folder)
    cameras = [line.camera_deg is not None for line in lines]
    if any(cameras) and not all(cameras):
        raise InputError(
            f"{sum(cameras)} of {len(lines)} lines of {folder / METADATA} have a camera: give azimuth_deg "
            "and elevation_deg to all pictures, or to none"
        )
    pixels, cut = [], 0
    for done, line in enumerate(lines, 1):
        picture, transparent = read_picture(line.path)
        cut += not transparent
        pixels.append(_fitted(picture, line.path, framed=line.camera_deg is None))
        yield done, len(lines), None
    yield len(lines), len(lines), OwnPictures(torch.stack(pixels), lines, cut)


def read_metadata(folder: Path) -> list[Line]:
    """The lines of the folder's metadata.jsonl; raises InputError that names the first bad one."""
    path = folder / METADATA
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}; give one with pictures and a {METADATA}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(
            f"{folder} has no {METADATA}; write one, with a line like {FORM} for each picture"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}); save it as UTF-8 text") from None
    lines = [
        _line(folder, f"line {number} of {path}", raw)
        for number, raw in enumerate(text.split("\n"), 1) if raw.strip()
    ]
    if not lines:
        raise InputError(f"{path} is empty; write a line like {FORM} for each picture")
    return lines


def _line(folder: Path, where: str, raw: str) -> Line:
    try:
        entry = json.loads(raw)
    except ValueError:
        entry = None
    if not isinstance(entry, dict):
        raise InputError(f"{where} is not a JSON object like {FORM}")
    name, text = entry.get("file_name"), entry.get("text")
    if not isinstance(name, str) or not name:
        raise InputError(f"{where} has no file_name; write one like {FORM}")
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"{where} has no text: say what {name} shows, like {FORM}")
    if not caption_tokens(text):
        raise InputError(f"{where}: no word of the text {text!r} says what {name} shows; name the object")
    if not (folder / name).is_file():
        raise InputError(f"{where} names {name}, which is not in {folder}; add it, or remove the line")
    group = entry.get("group")
    if group is not None and not isinstance(group, (str, int)):
        raise InputError(f"{where}: the group {group!r} is neither a name nor a number")
    return Line(folder / name, text.strip(), _camera(entry, where), None if group is None else str(group))


def _camera(entry: dict[str, Any], where: str) -> tuple[float, float] | None:
    given = [entry.get(name) for name in ("azimuth_deg", "elevation_deg")]
    if given == [None, None]:
        return None
    for number in given:
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not math.isfinite(number):
            raise InputError(f"{where}: a camera is two numbers, azimuth_deg and elevation_deg, in degrees")
    azimuth, elevation = (float(number) for number in given if number is not None)
    if abs(elevation) > 90:
        raise InputError(f"{where}: elevation_deg = {elevation:g} is not between -90 and 90")
    return azimuth, elevation


def read_picture(path: Path) -> tuple[Float[np.ndarray, "h w 4"], bool]:
    """Straight RGBA in [0, 1], and whether the file was transparent anywhere; if not, its plain
    background is cut out. Raises InputError."""
    try:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened).convert("RGBA")
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path} is no picture that can be read ({reason}); give a PNG or JPEG") from None
    if max(image.size) < PICTURE_SIZE:
        raise InputError(
            f"{path} has {image.width} x {image.height} pixels, which is too small; "
            f"its longer side needs {PICTURE_SIZE}"
        )
    image.thumbnail((LARGEST, LARGEST), Image.Resampling.BOX)
    picture = np.asarray(image, dtype=np.float32) / 255
    if picture[..., 3].min() < 0.5:
        return picture, True
    background = _background(picture[..., :3])
    if background is None:
        raise InputError(
            f"{path} has neither transparency nor a plain background; cut its object out and save it as PNG"
        )
    picture = picture.copy()
    picture[..., 3] = ~background
    return picture, False


def _background(rgb: Float[np.ndarray, "h w 3"]) -> Bool[np.ndarray, "h w"] | None:
    """What has the border's colour and hangs together with it; None where the border has many colours."""
    edge = np.ones(rgb.shape[:2], dtype=bool)
    edge[1:-1, 1:-1] = False
    near = np.abs(rgb - np.median(rgb[edge], axis=0)).max(-1) < PLAIN
    if near[edge].mean() < BORDER:
        return None
    regions, _ = ndimage.label(near)
    outside = np.unique(regions[edge & near])
    return np.isin(regions, outside)


def _fitted(
    picture: Float[np.ndarray, "h w 4"], path: Path, *, framed: bool
) -> UInt8[Tensor, "4 side side"]:
    """Premultiplied at PICTURE_SIZE: made square by empty margins; ``framed``: the object in the
    middle, FILL of the side large. A picture with a camera keeps its frame, which the camera explains."""
    solid = picture[..., 3] > 0.5
    if not solid.any():
        raise InputError(f"{path} is empty: every pixel is transparent or background")
    if framed:
        rows, columns = (np.flatnonzero(solid.any(axis)) for axis in (1, 0))
        picture = picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    x = torch.from_numpy(np.concatenate([picture[..., :3] * picture[..., 3:], picture[..., 3:]], -1))
    height, width = x.shape[:2]
    side = max(height, width)
    side = max(side, round(side / FILL)) if framed else side
    top, left = (side - height) // 2, (side - width) // 2
    square = F.pad(x.permute(2, 0, 1), (left, side - width - left, top, side - height - top))[None]
    size = (PICTURE_SIZE, PICTURE_SIZE)
    if side < PICTURE_SIZE:
        square = F.interpolate(square, size=size, mode="bilinear", align_corners=False)
    else:
        square = F.interpolate(square, size=size, mode="area")
    return (square[0].clamp(0, 1) * 255).round().to(torch.uint8)
