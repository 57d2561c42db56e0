"""Cameras along a path: named paths around an object, or the poses of a file.

Files are nerfstudio's ``camera_path.json`` and the ``transforms.json`` of nerfstudio, instant-ngp and NeRF's Blender
scenes; matrices are as in `capture`. Between keyframes, positions follow a cubic spline and rotations scipy's
RotationSpline, both continuous to the second derivative.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation, RotationSpline

from dreamfusion3d.cameras.capture import UP_AXIS_ROTATION, parse_rigid_transform, read_capture_json
from dreamfusion3d.cameras.orbit import ORBIT_DISTANCE, OrbitCameras, orbit_cameras
from dreamfusion3d.cameras.pinhole import PinholeCameras
from dreamfusion3d.cameras.undistort import first_photo_size, parse_camera_number, parse_lens
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.types import UpAxis

START_AZIMUTH_DEG = 30.0  # named paths begin at the three-quarter view
SPIRAL_ELEVATION_DEG = (5.0, 70.0)
SWING_AZIMUTH_DEG = 40.0  # to either side
DOLLY_DISTANCE_RATIO = 1.8  # initial over final distance of `dolly`
MAX_FRAMES = 20_000
MAX_ABS_VALUE = 1e6  # of coordinates and all other numbers in a file
FOV_RANGE_DEG = (1.0, 150.0)


@dataclass(frozen=True)
class CameraPath:
    """The keyframes of a file in its own units, turned to +Y up, and the video's size and frame rate."""

    camera_to_world: Float[np.ndarray, "n 4 4"]
    # per pose, over the image height: focal lengths, and the principal point's offset from the center
    intrinsics: Float[np.ndarray, "n 4"]
    image_size: tuple[int, int] | None  # width and height in pixels
    fps: float | None


def turntable_path(fraction: Float[np.ndarray, " n"], elevation_deg: float | int) -> OrbitCameras:
    """Orbit once at ``elevation_deg``."""
    return _orbit_default_fov(START_AZIMUTH_DEG + 360 * fraction, np.full_like(fraction, elevation_deg))


def spiral_path(fraction: Float[np.ndarray, " n"], elevation_deg: float | int) -> OrbitCameras:
    """Orbit twice while rising from near the ground to a view down into the object."""
    low, high = SPIRAL_ELEVATION_DEG
    return _orbit_default_fov(START_AZIMUTH_DEG + 720 * fraction, low + (high - low) * _smoothstep(fraction))


def swing_path(fraction: Float[np.ndarray, " n"], elevation_deg: float | int) -> OrbitCameras:
    """Swing to both sides of the front and back."""
    return _orbit_default_fov(SWING_AZIMUTH_DEG * np.sin(2 * np.pi * fraction), np.full_like(fraction, elevation_deg))


def dolly_path(fraction: Float[np.ndarray, " n"], elevation_deg: float | int) -> OrbitCameras:
    """Move straight towards the object."""
    cameras = _orbit_default_fov(np.full_like(fraction, START_AZIMUTH_DEG), np.full_like(fraction, elevation_deg))
    distance = ORBIT_DISTANCE * (DOLLY_DISTANCE_RATIO + (1 - DOLLY_DISTANCE_RATIO) * _smoothstep(fraction))
    return dataclasses.replace(cameras, distance=torch.from_numpy(distance).float())


# path, and whether it is closed
NAMED_PATHS: Mapping[str, tuple[Callable[..., OrbitCameras], bool]] = {
    "turntable": (turntable_path, True),
    "spiral": (spiral_path, False),
    "swing": (swing_path, True),
    "dolly": (dolly_path, False),
}


def named_path_cameras(
    name: str, num_frames: int, *, elevation_deg: float | int, fov_deg: float | int, width: int, height: int
) -> OrbitCameras:
    """Return cameras along a named path that look at the origin.

    Images are square with the shorter side of ``width`` x ``height``, and ``fov_deg`` is the field of view of that
    square. A closed path omits its last camera, so that the video loops.
    """
    path, closed = NAMED_PATHS[name]
    fraction = np.arange(num_frames) / num_frames if closed else np.linspace(0, 1, num_frames)
    cameras = path(fraction, elevation_deg)
    side = min(width, height)
    return dataclasses.replace(cameras, fov_deg=torch.full_like(cameras.fov_deg, fov_deg), height=side, width=side)


def expand_to_image_size(cameras: OrbitCameras, width: int, height: int) -> PinholeCameras:
    """Extend square images on two sides to ``width`` x ``height``, keeping the focal length."""
    principal_point = cameras.focal.new_tensor([width / 2, height / 2]).expand(len(cameras), 2)
    pinhole = PinholeCameras.from_orbit(cameras)
    return dataclasses.replace(pinhole, principal_point=principal_point, width=width, height=height)


def _orbit_default_fov(azimuth_deg: np.ndarray, elevation_deg: np.ndarray) -> OrbitCameras:
    return orbit_cameras(torch.from_numpy(azimuth_deg).float(), torch.from_numpy(elevation_deg).float())


def _smoothstep(t: np.ndarray) -> np.ndarray:
    """Ease from 0 to 1 with zero slope at both ends."""
    return t * t * (3 - 2 * t)


def read_camera_path(path: Path, *, up: UpAxis, default_size: tuple[int, int] | None = None) -> CameraPath:
    """Read the keyframes of a camera_path.json or transforms.json file whose upward axis is ``up``.

    ``default_size`` is the image size (width, height) if the file has none. Raises InputError that names the pose.
    """
    data = read_capture_json(path, "camera path")
    if not isinstance(data, dict):
        raise InputError(f"{path} is not a camera path: it contains no JSON object")
    frames = data.get("camera_path", data.get("frames"))
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
        raise InputError(
            f"{path} has no poses. Give nerfstudio's camera_path.json (key 'camera_path') or a transforms.json "
            "(key 'frames')"
        )
    if len(frames) > MAX_FRAMES:
        raise InputError(f"{path} lists {len(frames):,} poses; the limit is {MAX_FRAMES:,}")
    if (camera_type := str(data.get("camera_type", "perspective")).lower()) != "perspective":
        raise InputError(f"{path}: camera_type {camera_type[:40]!r} is not supported; only perspective is")
    image_size = _parse_image_size({**data, **frames[0]}, path) or first_photo_size(path.parent, frames)
    rotation = np.eye(4)
    rotation[:3, :3] = UP_AXIS_ROTATION[up]
    poses = np.stack([rotation @ _parse_pose(frame, i, path) for i, frame in enumerate(frames)])
    size = image_size or default_size
    intrinsics = np.stack([_parse_intrinsics({**data, **frame}, size, i, path) for i, frame in enumerate(frames)])
    fps, seconds = _parse_positive(data, "fps", path), _parse_positive(data, "seconds", path)
    return CameraPath(poses, intrinsics, image_size, len(frames) / seconds if fps is None and seconds else fps)


def _parse_pose(frame: Mapping[str, Any], index: int, path: Path) -> Float[np.ndarray, "4 4"]:
    value = frame.get("camera_to_world", frame.get("transform_matrix"))
    if isinstance(value, list) and len(value) in (12, 16):  # nerfstudio's flat rows
        value = [value[i : i + 4] for i in range(0, len(value), 4)]
    pose = parse_rigid_transform(value, f"{path.name}: pose {index}")
    if np.abs(pose[:3, 3]).max() > MAX_ABS_VALUE:
        raise InputError(f"{path.name}: pose {index} is further than {MAX_ABS_VALUE:g} from the origin")
    return pose


def _parse_image_size(values: Mapping[str, Any], path: Path) -> tuple[int, int] | None:
    width, height = (
        _parse_positive(values, a, path, 1.0) or _parse_positive(values, b, path, 1.0)
        for a, b in (("render_width", "w"), ("render_height", "h"))
    )
    return None if width is None or height is None else (int(width), int(height))


def _parse_intrinsics(
    values: Mapping[str, Any], image_size: tuple[int, int] | None, index: int, path: Path
) -> Float[np.ndarray, "4"]:
    label = f"{path.name}: pose {index}"
    size = _parse_image_size(values, path) or image_size
    if (fov := _parse_positive(values, "fov", path)) is not None:  # vertical
        intrinsics = np.array([1, 1, 0, 0]) * 0.5 / math.tan(math.radians(min(fov, 179.0)) / 2)
    else:
        if size is None and any(values.get(key) is not None for key in ("fl_x", "fl_y", "cx", "cy")):
            raise InputError(f"{label} gives its intrinsics in pixels without the image size. Give w and h")
        width, height = size or (2, 2)  # a field of view needs no size: the image is square
        focal, principal_point, _ = parse_lens(values, width, height, label)
        intrinsics = np.concatenate([focal, principal_point - np.array([width, height]) / 2]) / height
    angle = math.degrees(2 * math.atan(0.5 / intrinsics[1])) if fov is None else fov
    if not FOV_RANGE_DEG[0] <= angle <= FOV_RANGE_DEG[1] or not abs(intrinsics).max() < MAX_ABS_VALUE:
        raise InputError(
            f"{label} has a vertical field of view of {angle:.4g} degrees; "
            f"it must be between {FOV_RANGE_DEG[0]:g} and {FOV_RANGE_DEG[1]:g}"
        )
    return intrinsics


def _parse_positive(values: Mapping[str, Any], key: str, path: Path, minimum: float = 1e-6) -> float | None:
    return parse_camera_number(values, key, path.name, minimum, MAX_ABS_VALUE)


def interpolate_camera_path(camera_path: CameraPath, num_frames: int | None, width: int, height: int) -> PinholeCameras:
    """Return the keyframes' cameras, or ``num_frames`` cameras evenly in time along a smooth curve through them."""
    poses, intrinsics = camera_path.camera_to_world, camera_path.intrinsics
    if num_frames is not None:
        poses, intrinsics = _interpolate_poses(poses, intrinsics, num_frames)
    pixels = torch.from_numpy(intrinsics * height).float()
    principal_point = pixels[:, 2:] + pixels.new_tensor([width / 2, height / 2])
    return PinholeCameras(torch.from_numpy(poses).float(), pixels[:, :2], principal_point, height, width)


def _interpolate_poses(poses: np.ndarray, intrinsics: np.ndarray, num_frames: int) -> tuple[np.ndarray, np.ndarray]:
    if len(poses) == 1:
        return np.repeat(poses, num_frames, 0), np.repeat(intrinsics, num_frames, 0)
    key_times, times = np.arange(len(poses)), np.linspace(0, len(poses) - 1, num_frames)
    interpolated = np.tile(np.eye(4), (num_frames, 1, 1))
    interpolated[:, :3, 3] = CubicSpline(key_times, poses[:, :3, 3], bc_type="natural")(times)
    interpolated[:, :3, :3] = RotationSpline(key_times, Rotation.from_matrix(poses[:, :3, :3]))(times).as_matrix()
    # interpolate log focal lengths: zooms look uniform
    values = np.concatenate([np.log(intrinsics[:, :2]), intrinsics[:, 2:]], 1)
    values = np.stack([np.interp(times, key_times, column) for column in values.T], 1)
    return interpolated, np.concatenate([np.exp(values[:, :2]), values[:, 2:]], 1)
