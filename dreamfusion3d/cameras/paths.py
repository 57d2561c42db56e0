"""Cameras along a path: round an object by name, or through the poses of a file.

Files are nerfstudio's ``camera_path.json`` and the ``transforms.json`` of nerfstudio, instant-ngp and
Blender's NeRF sets (their documentation; matrices as in `photos`). Between the poses of a file places
follow a cubic spline and turns scipy's RotationSpline, both smooth to the second derivative.
"""

from __future__ import annotations

import dataclasses
import json
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

from dreamfusion3d.cameras.capture import TURN, read_json, rigid
from dreamfusion3d.cameras.orbit import ORBIT_DISTANCE, ORBIT_FOV_DEG, Cameras, orbit
from dreamfusion3d.cameras.pinhole import Pinholes
from dreamfusion3d.cameras.undistort import first_size, pinhole_of
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.types import Up

FRONT_DEG = 30.0  # azimuth of the three-quarter view, where named paths begin
RISE_DEG = (5.0, 70.0)  # elevations of the spiral
SWING_DEG = 40.0  # to either side
FAR = 1.8  # distance at which `dolly` begins, over the one at which it ends
MOST_FRAMES = 20_000
FURTHEST = 1e6  # a file's coordinate, and any other of its numbers
FOVS_DEG = (1.0, 150.0)


@dataclass(frozen=True)
class FilePath:
    """The poses of a file, in its own world and turned to +Y up, and what else it says of the film."""

    camera_to_world: Float[np.ndarray, "n 4 4"]
    # of each pose, over the picture's height: focal lengths, and how far right and down the axis meets it
    lens: Float[np.ndarray, "n 4"]
    size: tuple[int, int] | None  # width and height in pixels
    fps: float | None


def turntable(share: Float[np.ndarray, " n"], elevation_deg: float | int) -> Cameras:
    """One turn as high as ``elevation_deg``."""
    return _round(FRONT_DEG + 360 * share, np.full_like(share, elevation_deg))


def spiral(share: Float[np.ndarray, " n"], elevation_deg: float | int) -> Cameras:
    """Two turns from near the ground up to where one looks down into the object."""
    low, high = RISE_DEG
    return _round(FRONT_DEG + 720 * share, low + (high - low) * _eased(share))


def swing(share: Float[np.ndarray, " n"], elevation_deg: float | int) -> Cameras:
    """To either side of the front and back to where it began."""
    return _round(SWING_DEG * np.sin(2 * np.pi * share), np.full_like(share, elevation_deg))


def dolly(share: Float[np.ndarray, " n"], elevation_deg: float | int) -> Cameras:
    """Straight towards the object."""
    cameras = _round(np.full_like(share, FRONT_DEG), np.full_like(share, elevation_deg))
    distance = ORBIT_DISTANCE * (FAR + (1 - FAR) * _eased(share))
    return dataclasses.replace(cameras, distance=torch.from_numpy(distance).float())


Along = Callable[[Float[np.ndarray, " n"], float | int], Cameras]
# the path, and whether its end is its beginning
NAMED: Mapping[str, tuple[Along, bool]] = {
    "turntable": (turntable, True), "spiral": (spiral, False),
    "swing": (swing, True), "dolly": (dolly, False),
}


def named_path(
    name: str, count: int, *, elevation_deg: float | int, fov_deg: float | int, width: int, height: int
) -> Cameras:
    """``count`` cameras that look at the origin, of square pictures as wide as the shorter side.

    ``fov_deg`` is the angle of that square. A path that ends where it began leaves the last camera out,
    so that a film of it loops.
    """
    path, closed = NAMED[name]
    share = np.arange(count) / count if closed else np.linspace(0, 1, count)
    cameras = path(share, elevation_deg)
    side = min(width, height)
    return dataclasses.replace(
        cameras, fov_deg=torch.full_like(cameras.fov_deg, fov_deg), height=side, width=side
    )


def widened(cameras: Cameras, width: int, height: int) -> Pinholes:
    """The same cameras with more to see on two sides, where the picture is no square."""
    middle = cameras.focal.new_tensor([width / 2, height / 2]).expand(len(cameras), 2)
    return dataclasses.replace(Pinholes.of(cameras), centre=middle, width=width, height=height)


def _round(azimuth_deg: np.ndarray, elevation_deg: np.ndarray) -> Cameras:
    return orbit(
        torch.from_numpy(azimuth_deg).float(), torch.from_numpy(elevation_deg).float(), fov_deg=ORBIT_FOV_DEG
    )


def _eased(share: np.ndarray) -> np.ndarray:
    """From 0 to 1, at rest at both ends."""
    return share * share * (3 - 2 * share)


def read_path(path: Path, *, up: Up, size: tuple[int, int] | None = None) -> FilePath:
    """The poses of a camera path's or a transforms file. ``up`` is the axis of the file that points up;
    ``size`` (width, height) is the picture's where the file says none.

    Raises InputError for anything amiss.
    """
    tree = read_json(path, "camera path")
    if not isinstance(tree, dict):
        raise InputError(f"{path} is not a camera path: it holds no JSON object")
    frames = tree.get("camera_path", tree.get("frames"))
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
        raise InputError(
            f"{path} has no poses: nerfstudio's camera_path.json ('camera_path') or a transforms.json "
            "('frames') is wanted"
        )
    if len(frames) > MOST_FRAMES:
        raise InputError(f"{path} lists {len(frames):,} poses; at most {MOST_FRAMES:,} are read")
    if (kind := str(tree.get("camera_type", "perspective")).lower()) != "perspective":
        raise InputError(f"{path}: camera_type {kind[:40]!r} is not known; perspective is")
    known = _size({**tree, **frames[0]}, path) or first_size(path.parent, frames)
    common = {key: value for key, value in tree.items() if key not in ("frames", "camera_path")}
    turn = np.eye(4)
    turn[:3, :3] = TURN[up]
    poses = np.stack([turn @ _pose(frame, i, path) for i, frame in enumerate(frames)])
    lens = np.stack([_lens({**common, **frame}, known or size, i, path) for i, frame in enumerate(frames)])
    rate, seconds = _number(tree, "fps", path), _number(tree, "seconds", path)
    return FilePath(poses, lens, known, len(frames) / seconds if rate is None and seconds else rate)


def _pose(frame: Mapping[str, Any], number: int, path: Path) -> Float[np.ndarray, "4 4"]:
    value = frame.get("camera_to_world", frame.get("transform_matrix"))
    if isinstance(value, list) and len(value) in (12, 16):  # nerfstudio's, row by row
        value = [value[i : i + 4] for i in range(0, len(value), 4)]
    pose = rigid(value, f"{path.name}: pose {number}")
    if np.abs(pose[:3, 3]).max() > FURTHEST:
        raise InputError(f"{path.name}: pose {number} stands further away than {FURTHEST:g}")
    return pose


def _size(tree: Mapping[str, Any], path: Path) -> tuple[int, int] | None:
    found = [_number(tree, a, path, 1.0) or _number(tree, b, path, 1.0) for a, b in
             (("render_width", "w"), ("render_height", "h"))]
    width, height = found
    return None if width is None or height is None else (int(width), int(height))


def _lens(
    values: Mapping[str, Any], known: tuple[int, int] | None, number: int, path: Path
) -> Float[np.ndarray, "4"]:
    where = f"{path.name}: pose {number}"
    size = _size(values, path) or known
    if (fov := _number(values, "fov", path)) is not None:  # of the height
        lens = np.array([1, 1, 0, 0]) * 0.5 / math.tan(math.radians(min(fov, 179.0)) / 2)
    else:
        if size is None and any(values.get(key) is not None for key in ("fl_x", "fl_y", "cx", "cy")):
            raise InputError(f"{where} has its lens in pixels, and nothing says of how many: give w and h")
        width, height = size or (2, 2)  # angles alone need none: the picture is a square
        focal, centre = pinhole_of(values, width, height, where)
        lens = np.concatenate([focal, centre - np.array([width, height]) / 2]) / height
    angle = math.degrees(2 * math.atan(0.5 / lens[1])) if fov is None else fov
    if not FOVS_DEG[0] <= angle <= FOVS_DEG[1] or not abs(lens).max() < FURTHEST:
        raise InputError(
            f"{where} sees {angle:.4g} degrees of height; "
            f"between {FOVS_DEG[0]:g} and {FOVS_DEG[1]:g} is possible"
        )
    return lens


def _number(tree: Mapping[str, Any], key: str, path: Path, least: float = 1e-6) -> float | None:
    value = tree.get(key)
    if value is None:
        return None
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not least <= value <= FURTHEST:
        raise InputError(
            f"{path.name}: {key} is {json.dumps(value)[:40]}; a number from {least:g} to {FURTHEST:g} is "
            "wanted"
        )
    return float(value)


def through(found: FilePath, count: int | None, width: int, height: int) -> Pinholes:
    """The poses of a file; with ``count`` so many along a smooth curve through them, evenly in time."""
    poses, lens = found.camera_to_world, found.lens
    if count is not None:
        poses, lens = _between(poses, lens, count)
    pixels = torch.from_numpy(lens * height).float()
    centre = pixels[:, 2:] + pixels.new_tensor([width / 2, height / 2])
    return Pinholes(torch.from_numpy(poses).float(), pixels[:, :2], centre, height, width)


def _between(poses: np.ndarray, lens: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    if len(poses) == 1:
        return np.repeat(poses, count, 0), np.repeat(lens, count, 0)
    known, asked = np.arange(len(poses)), np.linspace(0, len(poses) - 1, count)
    made = np.tile(np.eye(4), (count, 1, 1))
    made[:, :3, 3] = CubicSpline(known, poses[:, :3, 3], bc_type="natural")(asked)
    made[:, :3, :3] = RotationSpline(known, Rotation.from_matrix(poses[:, :3, :3]))(asked).as_matrix()
    # focal lengths by their logarithms: zooming looks even
    values = np.concatenate([np.log(lens[:, :2]), lens[:, 2:]], 1)
    values = np.stack([np.interp(asked, known, column) for column in values.T], 1)
    return made, np.concatenate([np.exp(values[:, :2]), values[:, 2:]], 1)
