"""render_video: named paths and pose files, channels, file types, errors."""

from __future__ import annotations

import json
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
import torch

from dreamfusion3d.cameras.capture import write_photos
from dreamfusion3d.cameras.orbit import orbit_cameras
from dreamfusion3d.cameras.paths import NAMED_PATHS, expand_to_image_size, named_path_cameras
from dreamfusion3d.cameras.pinhole import PinholeCameras
from dreamfusion3d.cli import main, report
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.progress import LineProgress
from dreamfusion3d.core.types import TexturedMesh
from dreamfusion3d.pipelines.framing import framing_transform
from dreamfusion3d.pipelines.video import render_video
from dreamfusion3d.pipelines.video_options import parse_frame_size
from dreamfusion3d.rendering.mesh_renderer import render_mesh
from tests.support.pipelines import FINISHED_RUN_HEIGHT, folder_contents, write_finished_run
from tests.support.shapes import textured_of, two_handles


@pytest.fixture(scope="module")
def pot() -> TexturedMesh:
    return textured_of(two_handles, 48)


@pytest.fixture
def run(pot: TexturedMesh, tmp_path: Path) -> Path:
    return write_finished_run(pot, tmp_path / "out" / "a_pot")


def read_frames(folder: Path) -> np.ndarray:
    return np.stack([imageio.imread(path) for path in sorted(folder.glob("*.png"))])


def write_poses(pot: TexturedMesh, folder: Path, **options: float) -> tuple[Path, PinholeCameras]:
    """Write cameras around the asset in Blender's world (meters, +Z up, standing at 0); return them in scene units."""
    cameras = PinholeCameras.from_orbit(orbit_cameras([10.0, 120.0, 200.0], [5.0, 30.0, -10.0], height=32, width=48))
    low, high = pot.vertices.min(0), pot.vertices.max(0)
    scale = FINISHED_RUN_HEIGHT / float(high[1] - low[1])
    origin = torch.tensor([(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2])
    pose = cameras.camera_to_world.clone()
    pose[:, :3, 3] = (pose[:, :3, 3] - origin) * scale
    moved = PinholeCameras(pose, cameras.focal, cameras.principal_point, 32, 48)
    return write_photos(folder, np.zeros((3, 32, 48, 4), np.uint8), moved), cameras


def test_render_video_pose_file_matches_render_mesh(pot: TexturedMesh, run: Path, tmp_path: Path) -> None:
    path, cameras = write_poses(pot, tmp_path / "poses")
    before = folder_contents(run)
    out = render_video(run, str(path), out=tmp_path / "frames", background="black")
    frames = read_frames(out).astype(int)
    expected = (render_mesh(pot, cameras).rgb.numpy() * 255 + 0.5).astype(int)
    assert out == tmp_path / "frames" and frames.shape == (3, 32, 48, 3)
    assert (abs(frames - expected) > 3).mean() < 0.01 and expected.max() > 100
    assert folder_contents(run) == before, "the run's own files stay as they are"
    interpolated = render_video(run, str(path), out=tmp_path / "interpolated", seconds=5, fps=1, background="black")
    assert np.array_equal(read_frames(interpolated)[::2], read_frames(out)), "interpolates between the poses"


@pytest.mark.parametrize("fov", [20, 90])
@pytest.mark.parametrize("name", NAMED_PATHS)
def test_render_video_named_paths_fill_the_frame_and_crop_nothing(
    name: str, fov: float, run: Path, tmp_path: Path
) -> None:
    out = render_video(
        run, name, out=tmp_path / name, seconds=1, fps=6, size=(96, 64), fov_deg=fov, background="transparent"
    )
    alpha = read_frames(out)[..., 3]
    assert alpha.shape == (6, 64, 96)
    edge = np.concatenate([alpha[:, 0], alpha[:, -1], alpha[:, :, 0], alpha[:, :, -1]], 1)
    assert not edge.any()
    rows, columns = ((alpha > 0).any(axis).sum(1) for axis in (2, 1))
    assert max(rows.max(), columns.max()) > 0.6 * 64
    assert name != "dolly" or (np.diff(rows) >= 0).all()


@pytest.mark.parametrize("fov", [5.0, 33.0, 105.0, 120.0])
@pytest.mark.parametrize("shape", [(1, 1, 1), (20, 1, 1), (1, 20, 1), (1, 1, 20)])
def test_framing_transform_crops_no_corner(shape: tuple[int, int, int], fov: float) -> None:
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], np.float32) * shape + 7
    mesh = TexturedMesh(
        corners.astype(np.float32),
        np.zeros((0, 3), int),
        np.zeros((8, 3), np.float32),
        np.zeros((8, 2), np.float32),
        np.zeros((2, 2, 3), np.uint8),
    )
    for name in NAMED_PATHS:
        for elevation in (-80, 20, 80):
            square = named_path_cameras(name, 24, elevation_deg=elevation, fov_deg=fov, width=100, height=100)
            cameras = framing_transform(mesh, square).apply_to_cameras(expand_to_image_size(square, 100, 100))
            seen = cameras.project(torch.from_numpy(mesh.vertices))
            assert (seen[..., 2] > 0).all() and ((seen[..., :2] > 0) & (seen[..., :2] < 100)).all()
            assert np.ptp(seen[..., :2].numpy(), axis=1).max() > 40, "the mesh fills some frame"


def test_render_video_of_the_glb_alone_looks_the_same(run: Path, tmp_path: Path) -> None:
    with_work = render_video(run, out=tmp_path / "with_work", seconds=0.5, fps=4, size=(48, 48))
    (run / "work" / "textured.npz").unlink()
    glb_only = render_video(run, out=tmp_path / "glb_only", seconds=0.5, fps=4, size=(48, 48))
    difference = abs(read_frames(with_work).astype(int) - read_frames(glb_only))
    assert difference.mean() < 0.5 and read_frames(with_work).std() > 10
    with pytest.raises(InputError, match="has no field"):
        render_video(run, source="field")


@pytest.mark.parametrize("channel", ["albedo", "clay", "normals", "depth"])
def test_render_video_channels(channel: str, pot: TexturedMesh, run: Path, tmp_path: Path) -> None:
    out = render_video(run, out=tmp_path / channel, seconds=0.25, fps=4, size=(64, 64), channel=channel)
    image = read_frames(out)[0].astype(float) / 255
    plain = read_frames(render_video(run, out=tmp_path / "plain", seconds=0.25, fps=4, size=(64, 64)))[0]
    assert image.shape == (64, 64, 3) and not np.array_equal(image, plain / 255)
    inside = (
        read_frames(
            render_video(
                run, out=tmp_path / "transparent", seconds=0.25, fps=4, size=(64, 64), background="transparent"
            )
        )[0, ..., 3]
        == 255
    )
    values = image[inside]
    if channel in ("clay", "depth"):
        assert np.ptp(values, axis=1).max() < 0.01, "grey"
    if channel == "normals":
        assert abs(np.linalg.norm(2 * values - 1, axis=1) - 1).mean() < 0.1
        assert np.array_equal(image[0, 0], np.zeros(3)), "over black"


def test_render_video_depth_is_white_where_it_is_near(pot: TexturedMesh, run: Path, tmp_path: Path) -> None:
    path, cameras = write_poses(pot, tmp_path / "poses")
    seen = read_frames(render_video(run, str(path), out=tmp_path / "frames", channel="depth"))[..., 0] / 255
    image = render_mesh(pot, cameras)
    solid = image.opacity.numpy() == 1
    distance = image.depth.numpy()[solid]
    assert np.corrcoef(seen[solid], distance)[0, 1] < -0.999, "one scale for all frames"
    assert seen[solid].min() < 0.2 and seen[solid].max() > 0.8
    assert not seen[image.opacity.numpy() == 0].any()


def test_render_video_writes_mp4_gif_and_webp(run: Path, tmp_path: Path) -> None:
    """Also a size that is not a multiple of a codec's blocks."""
    options = {"seconds": 1.0, "fps": 5.0, "size": (70, 50)}
    video = render_video(run, **options)  # type: ignore[arg-type]
    assert video == run / "render" / "turntable.mp4"
    import cv2

    reader = cv2.VideoCapture(str(video))
    read = []
    while (got := reader.read())[0]:
        read.append(got[1][..., ::-1])
    assert len(read) == 5 and read[0].shape == (50, 70, 3) and reader.get(cv2.CAP_PROP_FPS) == 5
    frames = read_frames(render_video(run, out=tmp_path / "frames", **options))  # type: ignore[arg-type]
    assert abs(np.stack(read).astype(int) - frames).mean() < 6
    from PIL import Image, ImageSequence

    for suffix in (".gif", ".webp"):
        with Image.open(render_video(run, out=tmp_path / f"x{suffix}", **options)) as animated:  # type: ignore[arg-type]
            shown = [np.asarray(f.convert("RGB")) for f in ImageSequence.Iterator(animated)]
            assert animated.info["loop"] == 0 and animated.info["duration"] == 200
            assert animated.size == (70, 50)
        assert len(shown) == 5 and abs(np.stack(shown).astype(int) - frames).mean() < 6
    with Image.open(render_video(run, out=tmp_path / "t.webp", background="transparent", **options)) as transparent:  # type: ignore[arg-type]
        assert transparent.mode == "RGBA" and np.asarray(transparent)[0, 0, 3] == 0
    assert not list(tmp_path.rglob("*.tmp*"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "loop"}, "--path 'loop' is neither one of turntable, spiral, swing, dolly nor a file"),
        ({"path": "absent.json"}, "cannot read absent.json"),
        ({"source": "points"}, "--source"),
        ({"channel": "colour"}, "--channel"),
        ({"background": "red"}, "--background"),
        ({"out": "video.avi"}, "ends in .avi; supported are .mp4, .gif, .webp or a folder"),
        ({"out": ".", "path": "absent.json"}, "cannot read absent.json"),
        ({"out": "out/a_pot/turntable.mp4"}, "is among the run's own files"),
        ({"out": "out/a_pot/work"}, "is among the run's own files"),
        ({"background": "transparent"}, "a .mp4 cannot be transparent: choose a folder"),
        ({"out": "x.gif", "fps": 60.0}, "--fps 60 is not between 0.1 and 50"),
        ({"out": "x.webp", "seconds": 100.0, "size": (2000, 2000)}, "too many for a .webp"),
        ({"device": "banana"}, "device 'banana'"),
        ({"fps": 0}, "--fps 0"),
        ({"seconds": 0.0}, "--seconds 0 is not between"),
        ({"seconds": 1e9}, "--seconds"),
        ({"fps": 500.0}, "--fps 500"),
        ({"size": (8, 700)}, "--size 8x700"),
        ({"elevation_deg": 90.0}, "--elevation 90"),
        ({"fov_deg": 1.0}, "--fov 1"),
        ({"source": "field"}, "has no field"),
    ],
)
def test_render_video_rejects_bad_options(
    options: dict[str, object], message: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = folder_contents(run)
    with pytest.raises(InputError, match=message) as raised:
        render_video(run, **options)  # type: ignore[arg-type]
    assert "\n" not in str(raised.value) and folder_contents(run) == before


def test_render_video_output_names(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The channel is part of the name; a folder may contain a dot; a run may have been renamed."""
    options = {"seconds": 0.25, "fps": 4, "size": (16, 16)}
    assert render_video(run, channel="depth", **options).name == "turntable_depth.mp4"  # type: ignore[arg-type]
    assert render_video(run, out=tmp_path / "shot.v001", **options).is_dir()  # type: ignore[arg-type]
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(InputError, match="folder.mp4 is a folder"):
        render_video(run, out=tmp_path / "folder.mp4", **options)  # type: ignore[arg-type]
    copied = run.rename(run.with_name("copied"))
    (copied / "work" / "textured.npz").unlink()
    assert render_video(copied, **options).exists()  # type: ignore[arg-type]
    capsys.readouterr()
    render_video(copied, "spiral", elevation_deg=5, up="y", **options)  # type: ignore[arg-type]
    warnings = capsys.readouterr().err
    assert (
        warnings.count("warning: ") == 2
        and "--elevation has no effect on --path spiral" in warnings
        and "--up" in warnings
    )


def test_render_video_detects_an_incomplete_video(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV's writer ignores a full disk."""
    import cv2

    class IncompleteWriter:
        def __init__(self, path: str, *_: object) -> None:
            Path(path).write_bytes(b"incomplete")

        def isOpened(self) -> bool:
            return True

        def write(self, _: object) -> None: ...

        def release(self) -> None: ...

        fourcc = staticmethod(lambda *_: 0)

    monkeypatch.setattr(cv2, "VideoWriter", IncompleteWriter)
    with pytest.raises(InputError, match="cannot write to .*the video is incomplete"):
        render_video(run, seconds=0.5, fps=4, size=(32, 32))
    assert not list(run.glob("render/*"))


def test_render_video_interrupted_keeps_the_earlier_frames(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dreamfusion3d.core.progress import QuietProgress

    class Stopped(QuietProgress):
        def step(self, done: int, total: int, note: str = "") -> None:
            if done == 3:
                raise KeyboardInterrupt

    options = {"seconds": 1, "fps": 4, "size": (32, 32)}
    render_video(run, out=tmp_path / "frames", **options)  # type: ignore[arg-type]
    before = folder_contents(tmp_path / "frames")
    for out in ("frames", "new.mp4", "new.webp"):
        with pytest.raises(KeyboardInterrupt):
            render_video(run, out=tmp_path / out, channel="clay", progress=Stopped(), **options)  # type: ignore[arg-type]
    assert folder_contents(tmp_path / "frames") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frames", "out"]


def test_render_video_does_not_mix_frames_of_two_videos(run: Path, tmp_path: Path) -> None:
    short = {"fps": 4.0, "size": (16, 16), "out": tmp_path / "frames"}
    render_video(run, seconds=1, **short)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="holds frames of a longer video"):
        render_video(run, seconds=0.5, **short)  # type: ignore[arg-type]
    render_video(run, seconds=1, **short)  # type: ignore[arg-type]
    assert len(list((tmp_path / "frames").iterdir())) == 4


def test_render_command(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    arguments = ["render", str(run), "--path", "swing", "--seconds", "0.5", "--fps", "4", "--size", "48x32"]
    assert report.run_app(main.app, arguments) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{run / 'render' / 'swing.mp4'}\n" and "render 2/2" in captured.err
    assert report.run_app(main.app, [*arguments, "--size", "big"]) == 2
    assert capsys.readouterr().err == "error: --size 'big' is not a size in pixels, e.g. 720 or 1280x720\n"
    assert report.run_app(main.app, ["render", str(tmp_path)]) == 2
    capsys.readouterr()
    monkeypatch.setattr(LineProgress, "step", stopped)
    assert report.run_app(main.app, arguments) == 130
    assert capsys.readouterr().err.endswith("\nstopped; nothing was written\n")
    assert parse_frame_size("720") == (720, 720) and parse_frame_size("1280x720") == (1280, 720)
    assert json.loads((run / "asset.json").read_text())["prompt"] == "A pot"
