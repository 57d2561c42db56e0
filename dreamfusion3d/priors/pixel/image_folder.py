"""Training images of the user: a folder in the hub's imagefolder format.

Each line of its metadata.jsonl describes an image: file_name and text, and if known azimuth_deg, elevation_deg and
group.
"""

from __future__ import annotations

import math
from collections.abc import Callable
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
from dreamfusion3d.priors.images import resize_images
from dreamfusion3d.priors.metadata_lines import METADATA_FILE, read_metadata_lines
from dreamfusion3d.priors.pixel.conditioner import UNKNOWN_CAMERA_DEG
from dreamfusion3d.priors.pixel.tokens import tokenize_caption
from dreamfusion3d.procedural.dataset import TRAIN_IMAGE_SIZE, TrainingBatch

OBJECT_FILL = 0.8  # fraction of the image's side that an object without a camera is scaled to
MAX_LOAD_SIZE = 1024  # pixels; larger images are reduced first
BACKGROUND_TOLERANCE = 0.1  # maximum distance from the background color, in [0, 1]
MIN_BACKGROUND_BORDER = 0.9  # fraction of the border that must be background
METADATA_EXAMPLE = '{"file_name": "mug.png", "text": "a red mug"}'


@dataclass(frozen=True)
class ImageRecord:
    """A validated line of metadata.jsonl."""

    path: Path
    text: str
    camera_deg: tuple[float, float] | None  # azimuth and elevation
    group: str | None  # images of a group show the same object


@dataclass(frozen=True)
class ImageFolderDataset:
    """Images with captions, and with cameras and groups if known.

    Images without cameras are a group each and count as seen from ``UNKNOWN_CAMERA_DEG``.
    """

    pixels: UInt8[Tensor, "n 4 h w"]  # premultiplied RGBA
    records: list[ImageRecord]
    num_backgrounds_removed: int = 0  # opaque images whose plain background was cut out

    @property
    def has_cameras(self) -> bool:
        """Whether the images have cameras: all or none."""
        return self.records[0].camera_deg is not None

    @property
    def captions(self) -> list[str]:
        """Distinct captions, in the folder's order."""
        return list(dict.fromkeys(record.text for record in self.records))

    @cached_property
    def tokens(self) -> list[list[str]]:
        """Tokens of each image's caption."""
        return [tokenize_caption(record.text) for record in self.records]

    @cached_property
    def vocabulary(self) -> list[str]:
        """Distinct tokens of the captions."""
        return list(dict.fromkeys(token for tokens in self.tokens for token in tokens))

    @cached_property
    def groups(self) -> list[list[int]]:
        """Rows of each object's images."""
        groups: dict[Any, list[int]] = {}
        for row, record in enumerate(self.records):
            in_group = self.has_cameras and record.group is not None
            groups.setdefault(record.group if in_group else row, []).append(row)
        return list(groups.values())

    @cached_property
    def _group_of_image(self) -> list[list[int]]:
        """Group of each image, ordered by group."""
        return [group for group in self.groups for _ in group]

    @cached_property
    def _camera_deg(self) -> Float[Tensor, "n 2"]:
        return torch.tensor([record.camera_deg or UNKNOWN_CAMERA_DEG for record in self.records])

    def batch(self, num_objects: int, views: int, *, generator: torch.Generator) -> TrainingBatch:
        """Draw about ``num_objects * views`` images of random objects.

        All objects get as many views as the first one has, but at most ``views``. The probability of an object is
        proportional to its number of images.
        """

        def random_index(count: int) -> int:
            return int(torch.randint(count, (), generator=generator))

        first = self._group_of_image[random_index(len(self.records))]
        num_views = min(views, len(first))
        large_enough = [group for group in self._group_of_image if len(group) >= num_views]
        num_more = num_objects * views // num_views - 1
        chosen = [first, *(large_enough[random_index(len(large_enough))] for _ in range(num_more))]
        orders = [torch.randperm(len(group), generator=generator)[:num_views] for group in chosen]
        rows = torch.stack([torch.tensor(group)[order] for group, order in zip(chosen, orders, strict=True)])
        camera = self._camera_deg[rows]
        captions = [self.tokens[int(row[random_index(num_views)])] for row in rows]
        return TrainingBatch(self.pixels[rows].float() / 127.5 - 1, captions, camera[..., 0], camera[..., 1])


def read_image_folder(
    folder: Path, report: Callable[[int, int], None] = lambda done, total: None
) -> ImageFolderDataset:
    """Read a folder, reporting the number of images read and of all images after each.

    Raises InputError for the first line or image that cannot be used.
    """
    records = read_image_metadata(folder)
    cameras = [record.camera_deg is not None for record in records]
    if any(cameras) and not all(cameras):
        raise InputError(
            f"{sum(cameras)} of {len(records)} lines of {folder / METADATA_FILE} have a camera: give azimuth_deg "
            "and elevation_deg for all images or for none"
        )
    pixels, num_backgrounds_removed = [], 0
    for done, record in enumerate(records, 1):
        image, transparent = read_rgba_image(record.path)
        num_backgrounds_removed += not transparent
        pixels.append(_fit_to_square(image, record.path, recenter=record.camera_deg is None))
        report(done, len(records))
    return ImageFolderDataset(torch.stack(pixels), records, num_backgrounds_removed)


def read_image_metadata(folder: Path) -> list[ImageRecord]:
    """Read the folder's metadata.jsonl. Raises InputError that names the first bad line."""
    lines = read_metadata_lines(folder, "images", METADATA_EXAMPLE)
    return [_parse_record(folder, location, entry) for location, entry in lines]


def _parse_record(folder: Path, location: str, entry: dict[str, Any]) -> ImageRecord:
    name, text = entry["file_name"], entry["text"]
    if not tokenize_caption(text):
        raise InputError(f"{location}: the text {text!r} does not say what {name} shows; name the object")
    group = entry.get("group")
    if group is not None and not isinstance(group, (str, int)):
        raise InputError(f"{location}: the group {group!r} must be a name or an integer")
    camera_deg = _parse_camera(entry, location)
    return ImageRecord(folder / name, text.strip(), camera_deg, None if group is None else str(group))


def _parse_camera(entry: dict[str, Any], location: str) -> tuple[float, float] | None:
    angles = [entry.get(name) for name in ("azimuth_deg", "elevation_deg")]
    if angles == [None, None]:
        return None
    for number in angles:
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not math.isfinite(number):
            raise InputError(f"{location}: a camera needs two numbers in degrees, azimuth_deg and elevation_deg")
    azimuth, elevation = (float(number) for number in angles if number is not None)
    if abs(elevation) > 90:
        raise InputError(f"{location}: elevation_deg = {elevation:g} must be between -90 and 90")
    return azimuth, elevation


def read_rgba_image(path: Path) -> tuple[Float[np.ndarray, "h w 4"], bool]:
    """Read straight RGBA in [0, 1], and whether the file has transparency; if not, cut out its plain background.

    Raises InputError if the file cannot be read or its object cannot be separated.
    """
    try:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened).convert("RGBA")
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"cannot read the image {path} ({reason}); use PNG or JPEG") from None
    if max(image.size) < TRAIN_IMAGE_SIZE:
        raise InputError(
            f"{path} has {image.width} x {image.height} pixels, which is too small; "
            f"its longer side needs at least {TRAIN_IMAGE_SIZE}"
        )
    image.thumbnail((MAX_LOAD_SIZE, MAX_LOAD_SIZE), Image.Resampling.BOX)
    rgba = np.asarray(image, dtype=np.float32) / 255
    if rgba[..., 3].min() < 0.5:
        return rgba, True
    background = _background_mask(rgba[..., :3])
    if background is None:
        raise InputError(f"{path} has neither transparency nor a plain background; cut out the object, save it as PNG")
    rgba = rgba.copy()
    rgba[..., 3] = ~background
    return rgba, False


def _background_mask(rgb: Float[np.ndarray, "h w 3"]) -> Bool[np.ndarray, "h w"] | None:
    """Return the pixels of the border's color that are connected to it; None if the border has no single color."""
    edge = np.ones(rgb.shape[:2], dtype=bool)
    edge[1:-1, 1:-1] = False
    is_background_color = np.abs(rgb - np.median(rgb[edge], axis=0)).max(-1) < BACKGROUND_TOLERANCE
    if is_background_color[edge].mean() < MIN_BACKGROUND_BORDER:
        return None
    regions, _ = ndimage.label(is_background_color)
    outside = np.unique(regions[edge & is_background_color])
    return np.isin(regions, outside)


def _fit_to_square(rgba: Float[np.ndarray, "h w 4"], path: Path, *, recenter: bool) -> UInt8[Tensor, "4 side side"]:
    """Pad to a square, premultiply and resize to ``TRAIN_IMAGE_SIZE``.

    ``recenter`` crops to the object and scales it to ``OBJECT_FILL``. An image with a camera keeps its framing.
    """
    is_object = rgba[..., 3] > 0.5
    if not is_object.any():
        raise InputError(f"{path} is empty: all pixels are transparent or background")
    if recenter:
        rows, columns = (np.flatnonzero(is_object.any(axis)) for axis in (1, 0))
        rgba = rgba[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    x = torch.from_numpy(np.concatenate([rgba[..., :3] * rgba[..., 3:], rgba[..., 3:]], -1))
    height, width = x.shape[:2]
    side = max(height, width)
    side = max(side, round(side / OBJECT_FILL)) if recenter else side
    top, left = (side - height) // 2, (side - width) // 2
    square = F.pad(x.permute(2, 0, 1), (left, side - width - left, top, side - height - top))[None]
    return (resize_images(square, TRAIN_IMAGE_SIZE)[0].clamp(0, 1) * 255).round().to(torch.uint8)
