"""Cameras along named paths, from files, and interpolated between keyframes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dreamfusion3d.cameras.capture import UP_AXIS_ROTATION, read_photos, write_photos
from dreamfusion3d.cameras.orbit import orbit_cameras
from dreamfusion3d.cameras.paths import (
    NAMED_PATHS,
    expand_to_image_size,
    interpolate_camera_path,
    named_path_cameras,
    read_camera_path,
)
from dreamfusion3d.cameras.pinhole import PinholeCameras
from dreamfusion3d.core.errors import InputError


def write_tree(path: Path, tree: Any) -> Path:
    path.write_text(json.dumps(tree), encoding="utf-8")
    return path


def orbit_poses(count: int = 5) -> np.ndarray:
    cameras = orbit_cameras([20.0 * i for i in range(count)], [5.0 * i for i in range(count)])
    return cameras.camera_to_world.double().numpy()


def to_file_axes(poses: np.ndarray, up: str) -> np.ndarray:
    turn = np.eye(4)
    turn[:3, :3] = np.array(UP_AXIS_ROTATION[up]).T
    return turn @ poses


@pytest.mark.parametrize("name", NAMED_PATHS)
def test_named_path_cameras_look_at_the_object_and_loop(name: str) -> None:
    cameras = named_path_cameras(name, 48, elevation_deg=20, fov_deg=40, width=64, height=32)
    assert len(cameras) == 48 and cameras.height == cameras.width == 32
    middle = cameras.project(torch.zeros(1, 3))[:, 0]
    assert torch.allclose(middle[:, :2], torch.tensor(16.0), atol=1e-3)
    places = cameras.camera_to_world[:, :3, 3]
    steps = (places.roll(-1, 0) - places).norm(dim=-1)
    if NAMED_PATHS[name][1]:
        assert steps[-1] < 1.5 * steps[:-1].max(), "from the last to the first as between any two"
    else:
        assert steps[-1] > 3 * steps[:-1].max()
    assert len(named_path_cameras(name, 1, elevation_deg=0, fov_deg=40, width=32, height=32)) == 1


def test_expand_to_image_size_keeps_the_center() -> None:
    square = named_path_cameras("turntable", 3, elevation_deg=20, fov_deg=40, width=64, height=32)
    wide = expand_to_image_size(square, 64, 32)
    points = torch.randn(10, 3, generator=torch.Generator().manual_seed(0)) * 0.3
    assert torch.allclose(wide.project(points), square.project(points) + torch.tensor([16.0, 0.0, 0.0]), atol=1e-3)


@pytest.mark.parametrize("up", ["y", "z"])
@pytest.mark.parametrize("form", ["nerfstudio", "rows", "flat12"])
def test_read_camera_path_of_both_file_types(up: str, form: str, tmp_path: Path) -> None:
    poses = orbit_poses()
    for_file = to_file_axes(poses, up)
    if form == "nerfstudio":
        tree: dict[str, Any] = {
            "camera_type": "perspective",
            "render_width": 80,
            "render_height": 40,
            "fps": 12,
            "seconds": 2.5,
            "camera_path": [{"camera_to_world": p.flatten().tolist(), "fov": 50.0} for p in for_file],
        }
    else:
        cut = {"rows": lambda p: p.tolist(), "flat12": lambda p: p[:3].flatten().tolist()}[form]
        focal = 20 / math.tan(math.radians(25))
        tree = {
            "fl_x": focal,
            "fl_y": focal,
            "w": 80,
            "h": 40,
            "frames": [{"transform_matrix": cut(p), "file_path": "x"} for p in for_file],
        }
    found = read_camera_path(write_tree(tmp_path / "path.json", tree), up=up)  # type: ignore[arg-type]
    assert np.allclose(found.camera_to_world, poses, atol=1e-6) and found.image_size == (80, 40)
    assert np.allclose(found.intrinsics, [*[0.5 / math.tan(math.radians(25))] * 2, 0, 0])
    assert found.fps == (12 if form == "nerfstudio" else None)
    cameras = interpolate_camera_path(found, None, 80, 40)
    assert isinstance(cameras, PinholeCameras) and len(cameras) == 5
    assert torch.allclose(cameras.focal, torch.tensor(20 / math.tan(math.radians(25))).float())
    double = interpolate_camera_path(found, None, 160, 80)
    assert torch.allclose(double.focal, 2 * cameras.focal), "a larger image shows the same"


@pytest.mark.parametrize("has_size", [True, False])
def test_camera_angle_x_is_horizontal(has_size: bool, tmp_path: Path) -> None:
    """Of the file's image size, or else of the requested one."""
    tree = {"camera_angle_x": math.radians(60), "frames": [{"transform_matrix": np.eye(4).tolist()}]}
    path = write_tree(tmp_path / "path.json", {**tree, "w": 200, "h": 100} if has_size else tree)
    found = read_camera_path(path, up="y", default_size=None if has_size else (200, 100))
    focal = float(interpolate_camera_path(found, None, 200, 100).focal[0, 0])
    assert focal == pytest.approx(100 / math.tan(math.radians(30)))


KEYS: dict[str, dict[str, Any]] = {
    "both focal lengths and a principal point": {"fl_x": 54.0, "fl_y": 70.0, "cx": 30.0, "cy": 13.0, "w": 48, "h": 32},
    "the photo's own size": {"fl_x": 54.0},
    "of another size": {"fl_x": 108.0, "cx": 40.0, "cy": 30.0, "w": 96, "h": 64},
    "an angle alone": {"camera_angle_x": 0.8},
    "a vertical angle alone": {"camera_angle_y": 0.7},
    "a distorted lens": {"fl_x": 54.0, "w": 48, "h": 32, "camera_model": "OPENCV", "k1": 0.1, "p1": 0.01},
    "a fisheye": {"fl_x": 40.0, "w": 48, "h": 32, "camera_model": "OPENCV_FISHEYE", "k1": 0.05},
}


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("of_frames", [False, True])
def test_read_camera_path_of_transforms_matches_read_photos(name: str, of_frames: bool, tmp_path: Path) -> None:
    """The same focal lengths and principal points, after undistortion too."""
    cameras = PinholeCameras.from_orbit(orbit_cameras([0.0, 50.0], 10.0, height=32, width=48))
    path = write_photos(tmp_path, np.full((2, 32, 48, 4), 255, np.uint8), cameras)
    tree = {"frames": json.loads(path.read_text())["frames"]}
    for frame in tree["frames"]:
        for key in ("fl_x", "fl_y", "cx", "cy"):
            del frame[key]
        frame.update(KEYS[name] if of_frames else {})
    write_tree(path, tree if of_frames else {**tree, **KEYS[name]})
    expected = read_photos(tmp_path).cameras
    found = read_camera_path(path, up="z")
    assert found.image_size in ((48, 32), (KEYS[name].get("w"), KEYS[name].get("h")))
    actual = interpolate_camera_path(found, None, 48, 32)
    for part in ("camera_to_world", "focal", "principal_point"):
        assert torch.allclose(getattr(actual, part), getattr(expected, part), atol=1e-3), part


def test_interpolate_camera_path_is_smooth_and_passes_through_keyframes(tmp_path: Path) -> None:
    poses = orbit_poses(4)
    frames = [
        {"camera_to_world": p.flatten().tolist(), "fov": fov} for p, fov in zip(poses, (20, 30, 40, 60), strict=True)
    ]
    found = read_camera_path(write_tree(tmp_path / "path.json", {"camera_path": frames}), up="y")
    cameras = interpolate_camera_path(found, 31, 64, 64)
    assert torch.allclose(cameras.camera_to_world[::10], torch.from_numpy(poses).float(), atol=1e-5)
    assert np.allclose(cameras.focal[::10], 64 * found.intrinsics[:, :2])
    turned = cameras.camera_to_world[:, :3, :3]
    assert torch.allclose(turned @ turned.mT, torch.eye(3), atol=1e-5), "rotations only"
    places = cameras.camera_to_world[:, :3, 3].double()
    bends = places.diff(dim=0).diff(dim=0).norm(dim=-1)
    assert bends.max() < 0.02 * (places[-1] - places[0]).norm(), "no corner at a keyframe"
    still = interpolate_camera_path(
        read_camera_path(write_tree(tmp_path / "one.json", {"camera_path": frames[:1]}), up="y"), 3, 64, 64
    )
    assert len(still) == 3 and (still.camera_to_world == still.camera_to_world[:1]).all()


EYE = np.eye(4).tolist()


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ([], "contains no JSON object"),
        ({}, "has no poses"),
        ({"frames": []}, "has no poses"),
        ({"frames": [3]}, "has no poses"),
        ({"frames": [{}]}, "pose 0 is not four rows"),
        ({"camera_path": [{"camera_to_world": [1.0] * 16}]}, "pose 0 is not a rigid transform"),
        ({"frames": [{"transform_matrix": EYE}]}, "pose 0 has no focal length"),
        ({"frames": [{"transform_matrix": EYE, "fov": 40}], "fps": -1}, "fps is -1; expected a number from"),
        ({"frames": [{"transform_matrix": EYE, "fov": 40}], "fps": True}, "fps is true"),
        ({"frames": [{"transform_matrix": EYE, "fov": 40}], "fps": 10**400}, "fps is 1000"),
        ({"frames": [{"transform_matrix": EYE}], "w": 0.5, "h": 4}, "w is 0.5"),
        ({"frames": [{"transform_matrix": [[1, 0, 0, 1e9], [0, 1, 0, 0], [0, 0, 1, 0]]}]}, "is further than"),
        ({"frames": [{"transform_matrix": EYE, "fov": 200}]}, "pose 0 has a vertical field of view of 200 degrees"),
        ({"frames": [{"transform_matrix": EYE}], "camera_angle_x": 4}, "pose 0 has no focal length"),
        ({"frames": [{"transform_matrix": EYE, "fl_x": 50}]}, "pose 0 gives its intrinsics in pixels"),
        ({"frames": [{"transform_matrix": EYE}], "camera_type": "fisheye"}, "camera_type 'fisheye'"),
        ({"frames": [{"transform_matrix": EYE}] * 20_001}, "20,001 poses; the limit"),
    ],
)
def test_read_camera_path_reports_invalid_files(tree: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        read_camera_path(write_tree(tmp_path / "path.json", tree), up="y")


@pytest.mark.parametrize("content", ["{", "\x00", "[" * 100_000])
def test_read_camera_path_reports_invalid_json(content: str, tmp_path: Path) -> None:
    (tmp_path / "path.json").write_text(content)
    with pytest.raises(InputError, match="is not valid JSON"):
        read_camera_path(tmp_path / "path.json", up="y")
    with pytest.raises(InputError, match="cannot read"):
        read_camera_path(tmp_path / "absent.json", up="y")
