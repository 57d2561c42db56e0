"""Photos and their cameras: reading inverts writing, and every error is one line."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import cv2
import imageio.v3 as iio
import numpy as np
import pytest
import torch

from dreamfusion3d.cameras.capture import Photos, read_photos, write_photos
from dreamfusion3d.cameras.normalize import MASKED_HALF_EXTENT, SceneTransform, estimate_scene_transform
from dreamfusion3d.cameras.orbit import orbit_cameras
from dreamfusion3d.cameras.pinhole import PinholeCameras
from dreamfusion3d.cli import main, report
from dreamfusion3d.core.config import ReconstructionConfig
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.evaluation.ground_truth import ground_truth_mesh
from dreamfusion3d.procedural.objects import default_spec, sample_objects_for_spec
from dreamfusion3d.procedural.posed_photos import render_photos

H, W = 12, 16


def cameras() -> Any:
    return orbit_cameras([0.0, 70.0, 200.0], torch.tensor([5.0, 30.0, 60.0]), height=H, width=W, distance=2.5)


def random_images(count: int = 3, height: int = H, width: int = W) -> np.ndarray:
    rgba = np.random.default_rng(0).integers(0, 256, (count, height, width, 4), dtype=np.uint8)
    rgba[:, 0, 0, 3] = 255
    return rgba


def all_rays(pinholes: PinholeCameras) -> tuple[torch.Tensor, torch.Tensor]:
    return pinholes.rays_through(torch.arange(len(pinholes) * pinholes.height * pinholes.width))


@pytest.mark.parametrize("up", ["y", "z"])
def test_read_photos_inverts_write_photos(up: Any, tmp_path: Path) -> None:
    rgba = random_images()
    write_photos(tmp_path, rgba, PinholeCameras.from_orbit(cameras()), up=up)
    photos = read_photos(tmp_path, up=up)
    assert np.array_equal(photos.rgba.numpy(), rgba) and photos.masked
    for read, truth in zip(all_rays(photos.cameras), cameras().rays(), strict=True):
        assert torch.allclose(read, truth.reshape(-1, 3), atol=2e-6)


def test_project_inverts_rays_through() -> None:
    pinholes = dataclasses.replace(
        PinholeCameras.from_orbit(cameras()),
        principal_point=torch.tensor([[7.0, 5.0]]).expand(3, 2),
        focal=torch.tensor([[20.0, 25.0]]).expand(3, 2),
    )
    origins, directions = all_rays(pinholes)
    points = (origins + 1.7 * directions).view(3, -1, 3)
    for i in range(3):
        uv = pinholes.project(points[i])[i, :, :2].view(H, W, 2)
        v, u = np.mgrid[:H, :W] + 0.5
        assert np.allclose(uv, np.stack([u, v], -1), atol=1e-4)


def test_write_photos_uses_blenders_axes(tmp_path: Path) -> None:
    """Blender's +Z up is our +Y, and its front -Y is our front +Z."""
    write_photos(tmp_path, random_images(1), PinholeCameras.from_orbit(orbit_cameras([0.0], 0.0, height=H, width=W)))
    pose = np.array(json.loads((tmp_path / "transforms.json").read_text())["frames"][0]["transform_matrix"])
    assert np.allclose(pose[:3, 3], [0, -2.9, 0], atol=1e-6)  # in front, on its horizon
    assert np.allclose(pose[:3, 1], [0, 0, 1], atol=1e-6)  # the image's up is its +Z


def edit_transforms(folder: Path, **changes: Any) -> None:
    path = folder / "transforms.json"
    tree = json.loads(path.read_text())
    for key, value in changes.items():
        holder = tree["frames"][1] if key.startswith("frame_") else tree
        holder[key.removeprefix("frame_")] = value
    path.write_text(json.dumps(tree))


def remove_intrinsics(folder: Path) -> None:
    """Leave only the file names and poses."""
    path = folder / "transforms.json"
    tree = json.loads(path.read_text())
    tree = {"frames": [{k: f[k] for k in ("file_path", "transform_matrix")} for f in tree["frames"]]}
    path.write_text(json.dumps(tree))


@pytest.mark.parametrize(
    "given",
    [
        {"camera_angle_x": 2 * np.arctan(0.5 * W / 30)},
        {"fl_x": 30.0},
        {"fl_x": 60.0, "w": 2 * W, "h": 2 * H},  # intrinsics of the images before they were halved
        {"fl_x": 60.0, "fl_y": 60.0, "cx": W, "cy": H, "w": 2 * W, "h": 2 * H},
    ],
)
def test_read_photos_accepts_all_forms_of_focal_length(given: dict[str, Any], tmp_path: Path) -> None:
    write_photos(tmp_path, random_images(), PinholeCameras.from_orbit(cameras()))
    remove_intrinsics(tmp_path)
    edit_transforms(tmp_path, **given)
    found = read_photos(tmp_path).cameras
    assert torch.allclose(found.focal, torch.tensor(30.0)), found.focal
    assert torch.allclose(found.principal_point, torch.tensor([W / 2, H / 2]))


def test_read_photos_of_blender_scenes_without_suffixes(tmp_path: Path) -> None:
    write_photos(tmp_path, random_images(), PinholeCameras.from_orbit(cameras()))
    edit_transforms(tmp_path, frame_file_path="./images/0001")
    (tmp_path / "transforms.json").rename(tmp_path / "transforms_train.json")
    assert len(read_photos(tmp_path)) == 3


@pytest.mark.parametrize(
    ("model", "lens"),
    [
        ("OPENCV", {"k1": -0.3, "k2": 0.08, "p1": 0.002, "p2": -0.001}),
        ("OPENCV_FISHEYE", {"k1": 0.05, "k2": -0.02, "k3": 0.0, "k4": 0.0}),
    ],
)
def test_read_photos_undistorts(model: str, lens: dict[str, float], tmp_path: Path) -> None:
    """A dot rendered through the lens appears where the undistorted camera projects its point."""
    size, focal = 128, 110.0
    point = np.array([0.25, -0.2, 1.0])  # OpenCV's frame: +Y down, +Z ahead
    matrix = np.array([[focal, 0, size / 2 - 0.5], [0, focal, size / 2 - 0.5], [0, 0, 1]])
    project = cv2.fisheye.projectPoints if model == "OPENCV_FISHEYE" else cv2.projectPoints
    arguments = (point.reshape(1, 1, 3), np.zeros(3), np.zeros(3), matrix, np.array(list(lens.values())))
    u, v = project(*arguments)[0].reshape(2)
    row, column = np.mgrid[:size, :size]
    dot = np.exp(-((column - u) ** 2 + (row - v) ** 2) / (2 * 2.0**2))
    rgba = np.full((1, size, size, 4), 255, np.uint8)
    rgba[0, ..., :3] = (dot * 255).round()[..., None]
    ahead = PinholeCameras(torch.eye(4)[None], torch.full((1, 2), focal), torch.full((1, 2), size / 2), size, size)
    write_photos(tmp_path, rgba, ahead, up="y")
    edit_transforms(tmp_path, camera_model=model, **lens)
    photos = read_photos(tmp_path, up="y")
    seen = photos.cameras.project(torch.tensor([[0.25, 0.2, -1.0]]))[0, 0, :2].numpy() - 0.5
    bright = photos.rgba[0, ..., 0].double().numpy()
    found = np.array([(bright * column).sum(), (bright * row).sum()]) / bright.sum()
    assert np.abs(found - seen).max() < 0.3
    assert np.hypot(*(seen - (u, v))) > 1  # the distortion is visible


def test_read_photos_downscales_with_the_same_rays(tmp_path: Path) -> None:
    big = orbit_cameras([10.0], 20.0, height=4 * H, width=4 * W)
    rgba = np.full((1, 4 * H, 4 * W, 4), 200, np.uint8)
    write_photos(tmp_path, rgba, PinholeCameras.from_orbit(big))
    photos = read_photos(tmp_path, max_size=W)
    assert photos.rgba.shape == (1, H, W, 4) and (photos.rgba == 200).all()
    for read, truth in zip(all_rays(photos.cameras), big.resized(H, W).rays(), strict=True):
        assert torch.allclose(read, truth.reshape(-1, 3), atol=1e-5)


def test_photos_split_spreads_evaluation_photos() -> None:
    photos = Photos(
        torch.zeros(20, 8, 8, 4, dtype=torch.uint8),
        PinholeCameras.from_orbit(orbit_cameras([18.0 * i for i in range(20)], 0.0, height=8, width=8)),
        tuple(map(str, range(20))),
        True,
    )
    train, evaluation = photos.split(4)
    assert set(train.names) | set(evaluation.names) == set(photos.names) and len(train) == 16
    assert np.diff([int(n) for n in evaluation.names]).tolist() == [5, 5, 5]
    with pytest.raises(InputError, match="eval-images 20"):
        photos.split(20)


def test_estimate_scene_transform_is_invariant_to_the_files_frame() -> None:
    """Moved and scaled cameras of the same photos get the same normalized poses."""
    spec = default_spec("mushroom")
    objects = sample_objects_for_spec(spec, 1, generator=torch.Generator().manual_seed(0))
    azimuths = [60.0 * i for i in range(6)]
    orbit = orbit_cameras(azimuths, torch.tensor([0.0, 30, 60] * 2), height=48, width=48)
    photos = render_photos(objects, 0, spec, orbit)
    moved = SceneTransform(3.0, (5.0, -2.0, 40.0)).apply_to_photos(photos)
    one, two = (
        estimate_scene_transform(p, ReconstructionConfig()).apply_to_photos(p).cameras.camera_to_world
        for p in (photos, moved)
    )
    assert torch.allclose(one, two, atol=2e-3)
    truth = ground_truth_mesh(objects, 0, 48).vertices
    placed = truth * estimate_scene_transform(photos, ReconstructionConfig()).scale + np.array(
        estimate_scene_transform(photos, ReconstructionConfig()).offset
    )
    assert np.ptp(placed, axis=0).max() / 2 == pytest.approx(MASKED_HALF_EXTENT, rel=0.1)
    assert np.abs(placed.min(0) + placed.max(0)).max() / 2 < 0.06
    again = estimate_scene_transform(
        estimate_scene_transform(photos, ReconstructionConfig()).apply_to_photos(photos), ReconstructionConfig()
    )
    assert again.scale == pytest.approx(1, abs=0.05) and max(map(abs, again.offset)) < 0.05 * MASKED_HALF_EXTENT
    given = ReconstructionConfig(scale=2.0, offset=(1.0, 0.0, 0.0))
    assert estimate_scene_transform(photos, given) == SceneTransform(2.0, (1.0, 0.0, 0.0))


def damage(folder: Path, how: str) -> None:
    images = folder / "images"
    match how:
        case "absent":
            (images / "0001.png").unlink()
        case "size":
            iio.imwrite(images / "0001.png", np.zeros((H, W + 1, 4), np.uint8))
        case "picture":
            (images / "0001.png").write_bytes(b"no image")
        case "alpha":
            iio.imwrite(images / "0001.png", np.zeros((H, W, 3), np.uint8))
        case "empty":
            for path in images.iterdir():
                iio.imwrite(path, np.zeros((H, W, 4), np.uint8))
        case "json":
            (folder / "transforms.json").write_text("{")
        case "nested":
            (folder / "transforms.json").write_text("[" * 100_000)
        case "none":
            (folder / "transforms.json").unlink()
        case "frames":
            (folder / "transforms.json").write_text('{"frames": []}')
        case "focal":
            remove_intrinsics(folder)
        case "matrix":
            edit_transforms(folder, frame_transform_matrix=[[1, 2], [3, 4]])
        case "shear":
            edit_transforms(folder, frame_transform_matrix=np.diag([1, 2, 1, 1.0]).tolist())
        case "outside":
            edit_transforms(folder, frame_file_path="../outside.png")
            iio.imwrite(folder.parent / "outside.png", np.zeros((H, W, 4), np.uint8))
        case "lens":
            edit_transforms(folder, camera_model="FULL_OPENCV")
        case "number":
            edit_transforms(folder, frame_fl_x="wide")
        case "parallel":
            path = folder / "transforms.json"
            tree = json.loads(path.read_text())
            for frame in tree["frames"]:
                frame["transform_matrix"] = np.eye(4).tolist()
            path.write_text(json.dumps(tree))


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("absent", "'images/0001.png'"),
        ("size", "17 x 12"),
        ("picture", "not a readable image"),
        ("alpha", "no alpha channel"),
        ("empty", "nothing to fit"),
        ("json", "not valid JSON"),
        ("nested", "not valid JSON"),
        ("none", "ns-process-data"),
        ("frames", "has no frames"),
        ("focal", "camera_angle_x"),
        ("matrix", "frame 1's transform_matrix"),
        ("shear", "not a rigid transform"),
        ("outside", "outside of"),
        ("lens", "FULL_OPENCV"),
        ("number", "fl_x is"),
        ("parallel", "--scale"),
    ],
)
def test_reconstruct_reports_bad_folders_in_one_line(
    how: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "photos", tmp_path / "out"
    write_photos(folder, random_images(), PinholeCameras.from_orbit(cameras()))
    damage(folder, how)
    assert report.run_app(main.app, ["reconstruct", str(folder), "--out", str(out)]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and len(captured.err.splitlines()) == 1
    assert captured.err.startswith("error: ") and words in captured.err
    assert not out.exists() or not list(out.rglob("*"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--eval-images", "3"], "--eval-images 3"),
        (["--eval-images", "-1"], "--eval-images -1"),
        (["--up", "x"], "--up 'x'"),
        (["--offset", "1,0,0"], "reconstruction.scale"),
        (["--offset", "1,0"], "--offset needs 3"),
        (["--scale", "-1"], "--scale -1"),
        (["--semantic-encoder", "clip"], "--clip-model"),
        (["--quality", "ultra"], "draft"),
        (["--prompt", "a mug", "--name", "b"], "--name"),
        (["--prompt", "a quixnar"], "quixnar"),
        (["--set", "mesh.refine_steps=5"], "--prompt"),
    ],
)
def test_reconstruct_reports_bad_options_in_one_line(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "photos", tmp_path / "out"
    write_photos(folder, random_images(), PinholeCameras.from_orbit(cameras()))
    assert report.run_app(main.app, ["reconstruct", str(folder), "--out", str(out), *arguments]) == 2
    captured = capsys.readouterr()
    errors = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert captured.out == "" and len(errors) == 1 and words in errors[0]
    assert not out.exists() or not list(out.rglob("*.*"))
