"""Photos with known cameras: the transforms.json of nerfstudio, instant-ngp and NeRF's Blender scenes.

The file (nerfstudio's documentation, "Data conventions"; NeRF, arXiv 2003.08934) has a 4 x 4 camera-to-world matrix per
frame, with columns right, up, backward and position (OpenGL, as here), and the intrinsics: ``fl_x``, ``fl_y``, ``cx``,
``cy`` in pixels or ``camera_angle_x`` in radians. Pixel centers lie at +0.5. Its world usually has +Z up, ours +Y.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from dreamfusion3d.cameras.pinhole import PinholeCameras
from dreamfusion3d.cameras.undistort import read_frames, write_photo
from dreamfusion3d.core import files
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.types import UpAxis

MAX_CAPTURE_JSON_BYTES = 64 << 20
MAX_PHOTOS = 10_000
# columns: directions of the file's axes in our world; +Z up becomes +Y up, and -Y (Blender's front) becomes +Z
UP_AXIS_ROTATION: Mapping[str, tuple[tuple[int, ...], ...]] = {
    "y": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "z": ((1, 0, 0), (0, 0, 1), (0, -1, 0)),
}


@dataclass(frozen=True)
class Photos:
    """Photos and the cameras that took them."""

    rgba: UInt8[Tensor, "b h w 4"]  # sRGB, straight alpha; 255 if a file has none
    cameras: PinholeCameras
    names: tuple[str, ...]  # as in the file
    masked: bool  # whether alpha separates the object from its background

    def __len__(self) -> int:
        return len(self.cameras)

    def select(self, indices: Sequence[int]) -> Photos:
        """Return the photos with these indices, in this order."""
        rows, names = torch.as_tensor(indices, dtype=torch.int64), tuple(self.names[i] for i in indices)
        return Photos(self.rgba[rows], self.cameras.select(rows), names, self.masked)

    def to(self, device: torch.device | str) -> Photos:
        """Return a copy on ``device``."""
        return dataclasses.replace(self, rgba=self.rgba.to(device), cameras=self.cameras.to(device))

    def split(self, num_eval: int) -> tuple[Photos, Photos]:
        """Split into training photos and ``num_eval`` evenly spaced evaluation photos.

        Raises InputError if no training photo is left.
        """
        if num_eval < 0:
            raise InputError(f"--eval-images {num_eval} is negative")
        if num_eval >= len(self):
            raise InputError(f"--eval-images {num_eval} leaves none of {len(self)} photos for training: hold out fewer")
        eval_indices = [int((i + 0.5) * len(self) / num_eval) for i in range(num_eval)]
        return self.select([i for i in range(len(self)) if i not in set(eval_indices)]), self.select(eval_indices)


def read_photos(folder: Path, *, up: UpAxis = "z", max_size: int | None = None) -> Photos:
    """Read the photos of FOLDER/transforms.json (or transforms_train.json) and undistort them.

    Args:
        folder: Folder of the file and its photos.
        up: The file's upward axis; poses are turned to +Y up and keep the file's unit of length.
        max_size: Photos whose longer side exceeds so many pixels are downscaled.

    Returns:
        RGBA images of shape (b, h, w, 4), their cameras and their names.

    Raises:
        InputError: A file is missing or invalid; the message names it.

    Example:
        >>> photos = read_photos(Path("photos"))
        >>> photos.rgba.shape[-1], len(photos.cameras)
        (4, 6)
    """
    path = find_transforms_file(folder)
    transforms = _read_transforms(path)
    rgba, focal, principal_point, masked = read_frames(folder, path.name, transforms, max_size)
    frames = transforms["frames"]
    poses = [
        parse_rigid_transform(frame.get("transform_matrix"), f"{path.name}: frame {i}'s transform_matrix")
        for i, frame in enumerate(frames)
    ]
    rotation = torch.eye(4, dtype=torch.float64)
    rotation[:3, :3] = torch.tensor(UP_AXIS_ROTATION[up], dtype=torch.float64)
    pose = (rotation @ torch.from_numpy(np.stack(poses))).float()
    cameras = PinholeCameras(pose, focal, principal_point, rgba.shape[1], rgba.shape[2])
    return Photos(rgba, cameras, tuple(f["file_path"] for f in frames), masked)


def find_transforms_file(folder: Path) -> Path:
    """Return the transforms file of ``folder``. Raises InputError if there is none."""
    if not folder.is_dir():
        problem = "is a file" if folder.is_file() else "does not exist"
        raise InputError(f"{folder} {problem}. Give a folder with a transforms.json and its photos")
    for name in ("transforms.json", "transforms_train.json"):
        if (folder / name).is_file():
            return folder / name
    raise InputError(
        f"{folder} has no transforms.json (nor transforms_train.json). Convert COLMAP's poses with nerfstudio's "
        "ns-process-data or instant-ngp's colmap2nerf.py"
    )


def read_capture_json(path: Path, description: str) -> Any:
    """Read a JSON file of at most MAX_CAPTURE_JSON_BYTES. Raises InputError; ``description`` names the content."""
    try:
        if path.stat().st_size > MAX_CAPTURE_JSON_BYTES:
            raise InputError(f"{path} is larger than {MAX_CAPTURE_JSON_BYTES >> 20} MB, too large for a {description}")
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON: {' '.join(str(error).split())[:160]}") from None


def _read_transforms(path: Path) -> dict[str, Any]:
    """Read the file and check that its frames name their photos."""
    transforms = read_capture_json(path, "list of photos")
    frames = transforms.get("frames") if isinstance(transforms, dict) else None
    if not isinstance(frames, list) or not frames:
        raise InputError(f"{path} has no frames: 'frames' must contain one object per photo")
    if len(frames) > MAX_PHOTOS:
        raise InputError(f"{path} has {len(frames):,} frames; the limit is {MAX_PHOTOS:,}")
    for index, frame in enumerate(frames):
        if not isinstance(frame, dict) or not isinstance(frame.get("file_path"), str):
            raise InputError(f"{path}: frame {index} has no file_path")
    return transforms


def parse_rigid_transform(value: Any, label: str) -> Float[np.ndarray, "4 4"]:
    """Parse a camera-to-world matrix of three or four rows. Raises InputError; ``label`` names the matrix."""
    try:
        matrix = np.array(value, np.float64)
    except (ValueError, TypeError, OverflowError):
        matrix = np.zeros(0)
    if matrix.shape == (3, 4):
        matrix = np.concatenate([matrix, [[0.0, 0.0, 0.0, 1.0]]])
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise InputError(f"{label} is not four rows of four numbers")
    rotation = matrix[:3, :3]
    if not np.allclose(rotation.T @ rotation, np.eye(3), atol=1e-3) or np.linalg.det(rotation) < 0:
        raise InputError(
            f"{label} is not a rigid transform; expected a camera-to-world matrix with unit columns right, up, backward"
        )
    # orthonormalize: numbers of few digits are slightly off unit length
    left, _, right = np.linalg.svd(rotation)
    matrix[:3, :3] = left @ right
    return matrix


def write_photos(
    folder: Path, rgba: UInt8[np.ndarray, "b h w 4"], cameras: PinholeCameras, *, up: UpAxis = "z"
) -> Path:
    """Write FOLDER/transforms.json and FOLDER/images/*.png; the inverse of `read_photos`."""
    rotation = np.eye(4)
    rotation[:3, :3] = np.array(UP_AXIS_ROTATION[up]).T
    frames = []
    for i in range(len(cameras)):
        name = f"images/{i:04d}.png"
        write_photo(folder / name, rgba[i])
        pose = rotation @ cameras.camera_to_world[i].double().cpu().numpy()
        (fl_x, fl_y), (cx, cy) = cameras.focal[i].tolist(), cameras.principal_point[i].tolist()
        frames.append(
            {"file_path": name, "fl_x": fl_x, "fl_y": fl_y, "cx": cx, "cy": cy, "transform_matrix": pose.tolist()}
        )
    width, height = cameras.width, cameras.height
    angle = 2 * math.atan(0.5 * width / float(cameras.focal[0, 0]))
    path, model = folder / "transforms.json", {"camera_model": "OPENCV", "camera_angle_x": angle}
    files.write_json(path, {**model, "w": width, "h": height, "frames": frames})
    return path
