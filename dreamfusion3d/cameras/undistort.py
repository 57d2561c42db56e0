"""Load the photos of a transforms.json: find, check, undistort and downscale them."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from dreamfusion3d.core import files
from dreamfusion3d.core.errors import InputError

PHOTO_SUFFIXES = ("", ".png", ".jpg", ".jpeg", ".webp")  # NeRF's Blender scenes omit it
MAX_TOTAL_PIXELS = 1 << 31  # of all photos together: 8 GB
CAMERA_MODELS = {  # distortion coefficients by camera_model
    "PINHOLE": (),
    "SIMPLE_PINHOLE": (),
    "OPENCV": ("k1", "k2", "p1", "p2", "k3"),
    "OPENCV_FISHEYE": ("k1", "k2", "k3", "k4"),
}


def read_frames(
    folder: Path, name: str, transforms: Mapping[str, Any], max_size: int | None
) -> tuple[UInt8[Tensor, "b h w 4"], Float[Tensor, "b 2"], Float[Tensor, "b 2"], bool]:
    """Load the photos listed in ``transforms``, the content of the file ``name`` in ``folder``.

    Returns:
        Images, focal lengths and principal points in pixels, and whether alpha masks an object.
    """
    frames = transforms["frames"]
    paths = _find_photos(folder, name, [frame["file_path"] for frame in frames])
    _check_same_size(paths, folder)
    images, focals, principal_points, alpha_flags = [], [], [], []
    for index, (path, frame) in enumerate(zip(paths, frames, strict=True)):
        image, has_alpha = _decode_image(path)
        alpha_flags.append(has_alpha)
        values, label = {**transforms, **frame}, f"{name}: frame {index}"
        focal, principal_point, undistort = parse_lens(values, image.shape[1], image.shape[0], label)
        image, focal, principal_point = _downscale(undistort(image), focal, principal_point, max_size)
        images.append(image)
        focals.append(focal)
        principal_points.append(principal_point)
    if any(alpha_flags) and not all(alpha_flags):
        opaque = paths[alpha_flags.index(False)]
        raise InputError(f"{opaque} has no alpha channel but other photos do. Mask the object in all photos or in none")
    rgba = np.stack(images)
    if all(alpha_flags) and not rgba[..., 3].any():
        raise InputError(f"all photos of {folder} are fully transparent: there is nothing to fit")
    intrinsics = [torch.from_numpy(np.stack(values)).float() for values in (focals, principal_points)]
    masked = all(alpha_flags) and bool((rgba[..., 3] < 255).any())
    return torch.from_numpy(rgba), intrinsics[0], intrinsics[1], masked


def _find_photos(folder: Path, name: str, file_paths: list[str]) -> list[Path]:
    """Find the files, all inside ``folder``. Raises InputError that names missing ones."""
    found, missing = [], []
    root = folder.resolve()
    for file_path in file_paths:
        try:
            candidates = [p for suffix in PHOTO_SUFFIXES if (p := folder / f"{file_path}{suffix}").is_file()]
            inside = not candidates or candidates[0].resolve().is_relative_to(root)
        except (OSError, ValueError):  # a name that is too long or has a null character
            candidates, inside = [], True
        if not inside:
            raise InputError(f"{name} names {file_path!r}, which is outside of {folder}. Put the photos there")
        found += candidates[:1]
        missing += [] if candidates else [file_path]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise InputError(
            f"{len(missing)} of the {len(file_paths)} photos in {folder / name} are missing: "
            f"{', '.join(repr(a[:80]) for a in missing[:3])}{more}. Add them or remove their frames"
        )
    return found


def _check_same_size(paths: list[Path], folder: Path) -> None:
    """Raise InputError if sizes differ or there are too many pixels, before any photo is decoded."""
    sizes: dict[tuple[int, int], Path] = {}
    for path in paths:
        sizes.setdefault(_read_image_size(path), path)
    if len(sizes) > 1:
        some = ", ".join(f"{p.name} {w} x {h}" for (w, h), p in list(sizes.items())[:3])
        raise InputError(f"the photos of {folder} have {len(sizes)} different sizes ({some}). Scale them to one size")
    width, height = next(iter(sizes))
    if min(width, height) < 8:
        raise InputError(f"the photos of {folder} are {width} x {height} pixels; the minimum is 8 x 8")
    if width * height * len(paths) > MAX_TOTAL_PIXELS:
        raise InputError(f"the photos of {folder} have more than {MAX_TOTAL_PIXELS:,} pixels in total. Downscale them")


@contextlib.contextmanager
def _open_image(path: Path) -> Iterator[Any]:
    from PIL import Image

    try:
        with Image.open(path) as image:
            yield image
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise InputError(f"{path} is not a readable image ({reason})") from None


def _read_image_size(path: Path) -> tuple[int, int]:
    with _open_image(path) as image:
        return image.size


def _decode_image(path: Path) -> tuple[UInt8[np.ndarray, "h w 4"], bool]:
    """Return sRGB with straight alpha, and whether the file has an alpha channel."""
    with _open_image(path) as image:
        has_alpha = "A" in image.getbands() or "transparency" in image.info
        return np.asarray(image.convert("RGBA")).copy(), has_alpha


def _distorted_intrinsics(
    values: Mapping[str, Any], width: int, height: int, label: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return focal lengths and principal point in pixels of this size; the file's intrinsics may be for another."""
    w, h = (parse_camera_number(values, key, label) for key in ("w", "h"))
    scale = np.array([width / w if w else 1.0, height / h if h else 1.0])
    focal: list[float | None] = [parse_camera_number(values, key, label) for key in ("fl_x", "fl_y")]
    for axis, (key, size) in enumerate((("camera_angle_x", width), ("camera_angle_y", height))):
        angle = parse_camera_number(values, key, label)
        if focal[axis] is None and angle is not None and 0 < angle < math.pi:
            focal[axis] = 0.5 * size / math.tan(angle / 2) / float(scale[axis])
    x, y = focal[0] or focal[1], focal[1] or focal[0]  # square pixels if only one is given
    if not x or not y or x <= 0 or y <= 0:
        raise InputError(f"{label} has no focal length. Give fl_x in pixels or camera_angle_x in radians")
    cx, cy = (parse_camera_number(values, key, label) for key in ("cx", "cy"))
    principal_point = [width / 2 if cx is None else cx * scale[0], height / 2 if cy is None else cy * scale[1]]
    return np.array([x, y]) * scale, np.array(principal_point)


def first_photo_size(folder: Path, frames: list[Any]) -> tuple[int, int] | None:
    """Return width and height of the first frame's photo; None if it is missing."""
    file_path = frames[0].get("file_path")
    if not isinstance(file_path, str):
        return None
    try:
        return _read_image_size(_find_photos(folder, "", [file_path])[0])
    except InputError:
        return None


def parse_lens(
    values: Mapping[str, Any], width: int, height: int, label: str
) -> tuple[Float[np.ndarray, "2"], Float[np.ndarray, "2"], Callable[[np.ndarray], np.ndarray]]:
    """Parse the lens of a photo of this size.

    Returns:
        Focal lengths and principal point in pixels after undistortion, and the function that resamples a photo as a
        pinhole camera would have taken it: the largest image without invalid pixels.
    """
    import cv2

    focal, principal_point = _distorted_intrinsics(values, width, height, label)
    model, size = str(values.get("camera_model", "OPENCV")), (width, height)
    if model not in CAMERA_MODELS or values.get("is_fisheye") is True and model == "OPENCV":
        names = ", ".join(CAMERA_MODELS)
        raise InputError(f"{label} has the camera_model {model[:40]!r}, which is not one of {names}")
    coefficients = np.array([parse_camera_number(values, key, label) or 0.0 for key in CAMERA_MODELS[model]])
    if not coefficients.any():
        return focal, principal_point, lambda image: image
    # OpenCV's pixel centers lie at integers
    matrix = np.array([[focal[0], 0, principal_point[0] - 0.5], [0, focal[1], principal_point[1] - 0.5], [0, 0, 1.0]])
    init_maps: Any = cv2.initUndistortRectifyMap
    if model == "OPENCV_FISHEYE":
        init_maps = cv2.fisheye.initUndistortRectifyMap
        estimate = cv2.fisheye.estimateNewCameraMatrixForUndistortRectify
        new_matrix = estimate(matrix, coefficients, size, np.eye(3), balance=0.0)
    else:
        new_matrix, _ = cv2.getOptimalNewCameraMatrix(matrix, coefficients, size, 0.0)
    new_matrix = np.asarray(new_matrix, np.float64)

    def undistort(image: np.ndarray) -> np.ndarray:
        x, y = init_maps(matrix, coefficients, np.eye(3), new_matrix, size, cv2.CV_32FC1)
        return cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    return new_matrix.diagonal()[:2], new_matrix[:2, 2] + 0.5, undistort


def _downscale(
    image: np.ndarray, focal: np.ndarray, principal_point: np.ndarray, max_size: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    import cv2

    height, width = image.shape[:2]
    if max_size is None or max(height, width) <= max_size:
        return image, focal, principal_point
    ratio = max_size / max(height, width)
    new_size = max(8, round(width * ratio)), max(8, round(height * ratio))
    # premultiplied, otherwise transparent pixels would tint the object's edge
    alpha = image[..., 3:].astype(np.float32) / 255
    premultiplied = np.concatenate([image[..., :3] * alpha, alpha * 255], -1)
    resized = cv2.resize(premultiplied, new_size, interpolation=cv2.INTER_AREA)
    color = resized[..., :3] / np.maximum(resized[..., 3:] / 255, 1e-3)
    rgba = np.concatenate([color, resized[..., 3:]], -1)
    scale = np.array([new_size[0] / width, new_size[1] / height])
    return rgba.clip(0, 255).round().astype(np.uint8), focal * scale, principal_point * scale


def parse_camera_number(
    values: Mapping[str, Any], key: str, label: str, low: float = -1e30, high: float = 1e30
) -> float | None:
    """Return a number of a JSON object, None if it is absent. Raises InputError if it is not in [low, high]."""
    value = values.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise InputError(f"{label}: {key} is {json.dumps(value)[:40]}; expected a number from {low:g} to {high:g}")
    return float(value)


def write_photo(path: Path, rgba: UInt8[np.ndarray, "h w c"]) -> None:
    import imageio.v3 as iio

    with files.atomic_write(path) as temporary:
        iio.imwrite(temporary, rgba)
