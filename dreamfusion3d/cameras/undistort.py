"""The pictures that a transforms.json names: found, checked, shrunk, rid of their lens's distortion."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from dreamfusion3d.core import files
from dreamfusion3d.core.errors import InputError

SUFFIXES = ("", ".png", ".jpg", ".jpeg", ".webp")  # Blender's sets name their pictures without one
MOST_PIXELS = 1 << 31  # of all photos together: 8 GB of memory
LENSES = {  # camera_model: the coefficients it has
    "PINHOLE": (), "SIMPLE_PINHOLE": (), "OPENCV": ("k1", "k2", "p1", "p2", "k3"),
    "OPENCV_FISHEYE": ("k1", "k2", "k3", "k4"),
}


def read_frames(
    folder: Path, name: str, tree: Mapping[str, Any], longest: int | None
) -> tuple[UInt8[Tensor, "b h w 4"], Float[Tensor, "b 2"], Float[Tensor, "b 2"], bool]:
    """Pictures, focal lengths and centres in their pixels, and whether alpha cuts an object out.

    ``tree`` is the content of the file ``name`` in ``folder``.
    """
    frames = tree["frames"]
    paths = _found(folder, name, [frame["file_path"] for frame in frames])
    _same_size(paths, folder)
    pictures, focals, centres, alpha = [], [], [], []
    for number, (path, frame) in enumerate(zip(paths, frames, strict=True)):
        picture, has_alpha = _decoded(path)
        alpha.append(has_alpha)
        values = {**{k: v for k, v in tree.items() if k != "frames"}, **frame}
        where = f"{name}: frame {number}"
        focal, centre = _pinhole(values, picture.shape[1], picture.shape[0], where)
        picture, focal, centre = _straight(picture, focal, centre, values, where)
        picture, focal, centre = _shrunk(picture, focal, centre, longest)
        pictures.append(picture)
        focals.append(focal)
        centres.append(centre)
    if any(alpha) and not all(alpha):
        flat = paths[alpha.index(False)]
        raise InputError(f"{flat} has no alpha and other photos have: cut the object out of all or of none")
    rgba = np.stack(pictures)
    if all(alpha) and not rgba[..., 3].any():
        raise InputError(f"the alpha of all photos of {folder} is 0: there is nothing to fit")
    as_tensor = [torch.from_numpy(np.stack(part)).float() for part in (focals, centres)]
    return torch.from_numpy(rgba), as_tensor[0], as_tensor[1], all(alpha) and bool((rgba[..., 3] < 255).any())


def _found(folder: Path, name: str, wanted: list[str]) -> list[Path]:
    """The files, all of them inside ``folder``; raises InputError that names those that are absent."""
    found, absent = [], []
    home = folder.resolve()
    for text in wanted:
        try:
            near = [p for suffix in SUFFIXES if (p := folder / f"{text}{suffix}").is_file()]
            inside = not near or near[0].resolve().is_relative_to(home)
        except (OSError, ValueError):  # a name too long, or with a null character
            near, inside = [], True
        if not inside:
            raise InputError(f"{name} names {text!r}, outside of {folder}; put the photos into that folder")
        found += near[:1]
        absent += [] if near else [text]
    if absent:
        more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
        raise InputError(
            f"{len(absent)} of the {len(wanted)} photos that {folder / name} names are absent: "
            f"{', '.join(repr(a[:80]) for a in absent[:3])}{more}; put them there or take out their frames"
        )
    return found


def _same_size(paths: list[Path], folder: Path) -> None:
    """Raises InputError for pictures of several sizes, or too many pixels, before any is decoded."""
    sizes: dict[tuple[int, int], Path] = {}
    for path in paths:
        sizes.setdefault(_size(path), path)
    if len(sizes) > 1:
        shown = ", ".join(f"{p.name} {w} x {h}" for (w, h), p in list(sizes.items())[:3])
        raise InputError(
            f"the photos of {folder} have {len(sizes)} sizes ({shown}); one is wanted: scale them alike"
        )
    width, height = next(iter(sizes))
    if min(width, height) < 8:
        raise InputError(f"the photos of {folder} are {width} x {height} pixels; at least 8 x 8 are wanted")
    if width * height * len(paths) > MOST_PIXELS:
        raise InputError(f"the photos of {folder} have more than {MOST_PIXELS:,} pixels; shrink them first")


def _size(path: Path) -> tuple[int, int]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            return picture.size
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} is no picture that can be read ({_short(error)})") from None


def _decoded(path: Path) -> tuple[UInt8[np.ndarray, "h w 4"], bool]:
    """sRGB with straight alpha, and whether the file has any."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            has_alpha = "A" in picture.getbands() or "transparency" in picture.info
            return np.asarray(picture.convert("RGBA")).copy(), has_alpha
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} is no picture that can be read ({_short(error)})") from None


def _pinhole(
    values: Mapping[str, Any], width: int, height: int, where: str
) -> tuple[np.ndarray, np.ndarray]:
    """Focal lengths and centre, in pixels of a picture of this size; the file may speak of another."""
    w, h = (_number(values, key, where) for key in ("w", "h"))
    scale = np.array([width / w if w else 1.0, height / h if h else 1.0])
    focal: list[float | None] = [_number(values, key, where) for key in ("fl_x", "fl_y")]
    for axis, (key, size) in enumerate((("camera_angle_x", width), ("camera_angle_y", height))):
        angle = _number(values, key, where)
        if focal[axis] is None and angle is not None and 0 < angle < math.pi:
            focal[axis] = 0.5 * size / math.tan(angle / 2) / float(scale[axis])
    x, y = focal[0] or focal[1], focal[1] or focal[0]  # square pixels where one is not said
    if not x or not y or x <= 0 or y <= 0:
        raise InputError(f"{where} has no focal length: give fl_x in pixels or camera_angle_x in radians")
    cx, cy = (_number(values, key, where) for key in ("cx", "cy"))
    middle = [width / 2 if cx is None else cx * scale[0], height / 2 if cy is None else cy * scale[1]]
    return np.array([x, y]) * scale, np.array(middle)


def pinhole_of(
    values: Mapping[str, Any], width: int, height: int, where: str
) -> tuple[Float[np.ndarray, "2"], Float[np.ndarray, "2"]]:
    """Focal lengths and centre, in pixels, of what `read_frames` makes of a photo of this size."""
    focal, centre = _pinhole(values, width, height, where)
    lens = _lens(focal, centre, (width, height), values, where)
    return (focal, centre) if lens is None else lens.straight


def first_size(folder: Path, frames: list[Any]) -> tuple[int, int] | None:
    """Width and height of the first photo that ``frames`` name, where it is there."""
    text = frames[0].get("file_path")
    if not isinstance(text, str):
        return None
    try:
        return _size(_found(folder, "", [text])[0])
    except InputError:
        return None


@dataclass(frozen=True)
class _Lens:
    """Distorted; ``new`` is the pinhole's matrix that takes its place. OpenCV's: pixel centres lie at whole
    numbers."""

    fisheye: bool
    matrix: Float[np.ndarray, "3 3"]
    coefficients: Float[np.ndarray, " n"]
    new: Float[np.ndarray, "3 3"]

    @property
    def straight(self) -> tuple[Float[np.ndarray, "2"], Float[np.ndarray, "2"]]:
        """Focal lengths and centre of the pinhole."""
        new = self.new
        return np.array([new[0, 0], new[1, 1]]), np.array([new[0, 2], new[1, 2]]) + 0.5


def _lens(
    focal: np.ndarray, centre: np.ndarray, size: tuple[int, int], values: Mapping[str, Any], where: str
) -> _Lens | None:
    """None where nothing is distorted. The pinhole sees the largest picture without places unseen."""
    import cv2

    model = str(values.get("camera_model", "OPENCV"))
    if model not in LENSES or values.get("is_fisheye") is True and model == "OPENCV":
        known = ", ".join(LENSES)
        raise InputError(f"{where} has the camera_model {model[:40]!r}, which is not one of {known}")
    found = np.array([_number(values, key, where) or 0.0 for key in LENSES[model]])
    if not found.any():
        return None
    matrix = np.array([[focal[0], 0, centre[0] - 0.5], [0, focal[1], centre[1] - 0.5], [0, 0, 1.0]])
    if model == "OPENCV_FISHEYE":
        new = cv2.fisheye.estimateNewCameraMatrixForUndistortRectify(
            matrix, found, size, np.eye(3), balance=0.0
        )
    else:
        new, _ = cv2.getOptimalNewCameraMatrix(matrix, found, size, 0.0)
    return _Lens(model == "OPENCV_FISHEYE", matrix, found, np.asarray(new, np.float64))


def _straight(
    picture: np.ndarray, focal: np.ndarray, centre: np.ndarray, values: Mapping[str, Any], where: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The picture that a pinhole would have taken."""
    import cv2

    size = (picture.shape[1], picture.shape[0])
    lens = _lens(focal, centre, size, values, where)
    if lens is None:
        return picture, focal, centre
    undistort = cv2.fisheye.initUndistortRectifyMap if lens.fisheye else cv2.initUndistortRectifyMap
    maps = undistort(lens.matrix, lens.coefficients, np.eye(3), lens.new, size, cv2.CV_32FC1)
    straight = cv2.remap(picture, maps[0], maps[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return straight, *lens.straight


def _shrunk(
    picture: np.ndarray, focal: np.ndarray, centre: np.ndarray, longest: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    import cv2

    height, width = picture.shape[:2]
    if longest is None or max(height, width) <= longest:
        return picture, focal, centre
    share = longest / max(height, width)
    new = max(8, round(width * share)), max(8, round(height * share))
    # weighted by alpha, or what is transparent would colour the object's edge
    alpha = picture[..., 3:].astype(np.float32) / 255
    flat = np.concatenate([picture[..., :3] * alpha, alpha * 255], -1)
    small = cv2.resize(flat, new, interpolation=cv2.INTER_AREA)
    colour = small[..., :3] / np.maximum(small[..., 3:] / 255, 1e-3)
    rgba = np.concatenate([colour, small[..., 3:]], -1)
    scale = np.array([new[0] / width, new[1] / height])
    return rgba.clip(0, 255).round().astype(np.uint8), focal * scale, centre * scale


def _number(values: Mapping[str, Any], key: str, where: str) -> float | None:
    value = values.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e30:
        raise InputError(f"{where}: {key} is not a number")
    return float(value)


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__


def write_picture(path: Path, rgba: UInt8[np.ndarray, "h w c"]) -> None:
    import imageio.v3 as iio

    with files.replacing(path) as temporary:
        iio.imwrite(temporary, rgba)
