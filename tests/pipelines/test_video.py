"""A finished run along a path: the same pictures by name and by file, in every kind of file."""

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
from dreamfusion3d.pipelines.video import parse_frame_size, render_video
from dreamfusion3d.rendering.mesh_renderer import render_mesh
from tests.pipelines.test_export import HEIGHT, contents, finished
from tests.support.shapes import textured_of, two_handles


@pytest.fixture(scope="module")
def pot() -> TexturedMesh:
    return textured_of(two_handles, 48)


@pytest.fixture
def run(pot: TexturedMesh, tmp_path: Path) -> Path:
    return finished(pot, tmp_path / "out" / "a_pot")


def frames_in(folder: Path) -> np.ndarray:
    return np.stack([imageio.imread(path) for path in sorted(folder.glob("*.png"))])


def poses_around(pot: TexturedMesh, folder: Path, **options: float) -> tuple[Path, PinholeCameras]:
    """A file of cameras round the asset as Blender has it: metres, +Z up, on its base; and the same cameras
    in the scene."""
    cameras = PinholeCameras.from_orbit(orbit_cameras([10.0, 120.0, 200.0], [5.0, 30.0, -10.0], height=32, width=48))
    low, high = pot.vertices.min(0), pot.vertices.max(0)
    scale = HEIGHT / float(high[1] - low[1])
    origin = torch.tensor([(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2])
    pose = cameras.camera_to_world.clone()
    pose[:, :3, 3] = (pose[:, :3, 3] - origin) * scale
    moved = PinholeCameras(pose, cameras.focal, cameras.principal_point, 32, 48)
    return write_photos(folder, np.zeros((3, 32, 48, 4), np.uint8), moved), cameras


def test_a_file_of_poses_sees_the_asset_from_there(pot: TexturedMesh, run: Path, tmp_path: Path) -> None:
    path, cameras = poses_around(pot, tmp_path / "poses")
    before = contents(run)
    out = render_video(run, str(path), out=tmp_path / "frames", background="black")
    found = frames_in(out).astype(int)
    wanted = (render_mesh(pot, cameras).rgb.numpy() * 255 + 0.5).astype(int)
    assert out == tmp_path / "frames" and found.shape == (3, 32, 48, 3)
    assert (abs(found - wanted) > 3).mean() < 0.01 and wanted.max() > 100
    assert contents(run) == before, "the run's own files stay as they are"
    keyed = render_video(run, str(path), out=tmp_path / "keyed", seconds=5, fps=1, background="black")
    assert np.array_equal(frames_in(keyed)[::2], frames_in(out)), "through the poses"


@pytest.mark.parametrize("fov", [20, 90])
@pytest.mark.parametrize("name", NAMED_PATHS)
def test_named_paths_fill_the_picture_and_cut_nothing_off(name: str, fov: float, run: Path, tmp_path: Path) -> None:
    out = render_video(
        run, name, out=tmp_path / name, seconds=1, fps=6, size=(96, 64), fov_deg=fov, background="transparent"
    )
    alpha = frames_in(out)[..., 3]
    assert alpha.shape == (6, 64, 96)
    edge = np.concatenate([alpha[:, 0], alpha[:, -1], alpha[:, :, 0], alpha[:, :, -1]], 1)
    assert not edge.any()
    rows, columns = ((alpha > 0).any(axis).sum(1) for axis in (2, 1))
    assert max(rows.max(), columns.max()) > 0.6 * 64
    assert name != "dolly" or (np.diff(rows) >= 0).all()


@pytest.mark.parametrize("fov", [5.0, 33.0, 105.0, 120.0])
@pytest.mark.parametrize("shape", [(1, 1, 1), (20, 1, 1), (1, 20, 1), (1, 1, 20)])
def test_whatever_the_lens_no_corner_is_cut_off(shape: tuple[int, int, int], fov: float) -> None:
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
            assert np.ptp(seen[..., :2].numpy(), axis=1).max() > 40, "and it fills some picture"


def test_what_is_left_when_work_is_gone_looks_the_same(run: Path, tmp_path: Path) -> None:
    kept = render_video(run, out=tmp_path / "kept", seconds=0.5, fps=4, size=(48, 48))
    (run / "work" / "textured.npz").unlink()
    left = render_video(run, out=tmp_path / "left", seconds=0.5, fps=4, size=(48, 48))
    difference = abs(frames_in(kept).astype(int) - frames_in(left))
    assert difference.mean() < 0.5 and frames_in(kept).std() > 10
    with pytest.raises(InputError, match="has no field"):
        render_video(run, source="field")


@pytest.mark.parametrize("show", ["albedo", "clay", "normals", "depth"])
def test_what_is_shown(show: str, pot: TexturedMesh, run: Path, tmp_path: Path) -> None:
    out = render_video(run, out=tmp_path / show, seconds=0.25, fps=4, size=(64, 64), channel=show)
    picture = frames_in(out)[0].astype(float) / 255
    plain = frames_in(render_video(run, out=tmp_path / "plain", seconds=0.25, fps=4, size=(64, 64)))[0]
    assert picture.shape == (64, 64, 3) and not np.array_equal(picture, plain / 255)
    inside = (
        frames_in(
            render_video(run, out=tmp_path / "cut", seconds=0.25, fps=4, size=(64, 64), background="transparent")
        )[0, ..., 3]
        == 255
    )
    values = picture[inside]
    if show in ("clay", "depth"):
        assert np.ptp(values, axis=1).max() < 0.01, "grey"
    if show == "normals":
        assert abs(np.linalg.norm(2 * values - 1, axis=1) - 1).mean() < 0.1
        assert np.array_equal(picture[0, 0], np.zeros(3)), "over black"


def test_depth_is_white_where_it_is_near(pot: TexturedMesh, run: Path, tmp_path: Path) -> None:
    path, cameras = poses_around(pot, tmp_path / "poses")
    seen = frames_in(render_video(run, str(path), out=tmp_path / "frames", channel="depth"))[..., 0] / 255
    picture = render_mesh(pot, cameras)
    solid = picture.opacity.numpy() == 1
    away = picture.depth.numpy()[solid]
    assert np.corrcoef(seen[solid], away)[0, 1] < -0.999, "one scale for all frames"
    assert seen[solid].min() < 0.2 and seen[solid].max() > 0.8
    assert not seen[picture.opacity.numpy() == 0].any()


def test_videos_and_animated_pictures(run: Path, tmp_path: Path) -> None:
    """A size that is no multiple of a codec's blocks, too."""
    options = {"seconds": 1.0, "fps": 5.0, "size": (70, 50)}
    video = render_video(run, **options)  # type: ignore[arg-type]
    assert video == run / "render" / "turntable.mp4"
    import cv2

    reader = cv2.VideoCapture(str(video))
    read = []
    while (got := reader.read())[0]:
        read.append(got[1][..., ::-1])
    assert len(read) == 5 and read[0].shape == (50, 70, 3) and reader.get(cv2.CAP_PROP_FPS) == 5
    frames = frames_in(render_video(run, out=tmp_path / "frames", **options))  # type: ignore[arg-type]
    assert abs(np.stack(read).astype(int) - frames).mean() < 6
    from PIL import Image, ImageSequence

    for kind in (".gif", ".webp"):
        with Image.open(render_video(run, out=tmp_path / f"x{kind}", **options)) as animated:  # type: ignore[arg-type]
            shown = [np.asarray(f.convert("RGB")) for f in ImageSequence.Iterator(animated)]
            assert animated.info["loop"] == 0 and animated.info["duration"] == 200
            assert animated.size == (70, 50)
        assert len(shown) == 5 and abs(np.stack(shown).astype(int) - frames).mean() < 6
    with Image.open(render_video(run, out=tmp_path / "t.webp", background="transparent", **options)) as cut:  # type: ignore[arg-type]
        assert cut.mode == "RGBA" and np.asarray(cut)[0, 0, 3] == 0
    assert not list(tmp_path.rglob("*.tmp*"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"path": "loop"}, "--path 'loop' is neither one of turntable, spiral, swing, dolly nor a file"),
        ({"path": "absent.json"}, "cannot read absent.json"),
        ({"source": "points"}, "--source"),
        ({"channel": "colour"}, "--channel"),
        ({"background": "red"}, "--background"),
        ({"out": "film.avi"}, "ends in .avi; .mp4, .gif, .webp or a folder"),
        ({"out": ".", "path": "absent.json"}, "cannot read absent.json"),
        ({"out": "out/a_pot/turntable.mp4"}, "is among the run's own files"),
        ({"out": "out/a_pot/work"}, "is among the run's own files"),
        ({"background": "transparent"}, "a transparent .mp4 is not written: name a folder"),
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
        ({"of": "field"}, "has no field"),
    ],
)
def test_bad_input_is_one_line(
    options: dict[str, object], said: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = contents(run)
    with pytest.raises(InputError, match=said) as raised:
        render_video(run, **options)  # type: ignore[arg-type]
    assert "\n" not in str(raised.value) and contents(run) == before


def test_names(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of what is shown; a folder may have a dot; a copy of a run under another name is one, too."""
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
    said = capsys.readouterr().err
    assert said.count("warning: ") == 2 and "--elevation is not for --path spiral" in said and "--up" in said


def test_a_full_disk_is_no_film(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV's writer goes on without a word."""
    import cv2

    class Silent:
        def __init__(self, path: str, *_: object) -> None:
            Path(path).write_bytes(b"half of it")

        def isOpened(self) -> bool:
            return True

        def write(self, _: object) -> None: ...

        def release(self) -> None: ...

        fourcc = staticmethod(lambda *_: 0)

    monkeypatch.setattr(cv2, "VideoWriter", Silent)
    with pytest.raises(InputError, match="cannot write to .*the video is incomplete"):
        render_video(run, seconds=0.5, fps=4, size=(32, 32))
    assert not list(run.glob("render/*"))


def test_an_interrupted_film_leaves_the_earlier_one(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dreamfusion3d.core.progress import QuietProgress

    class Stopped(QuietProgress):
        def step(self, done: int, total: int, note: str = "") -> None:
            if done == 3:
                raise KeyboardInterrupt

    options = {"seconds": 1, "fps": 4, "size": (32, 32)}
    render_video(run, out=tmp_path / "frames", **options)  # type: ignore[arg-type]
    before = contents(tmp_path / "frames")
    for out in ("frames", "new.mp4", "new.webp"):
        with pytest.raises(KeyboardInterrupt):
            render_video(run, out=tmp_path / out, channel="clay", progress=Stopped(), **options)  # type: ignore[arg-type]
    assert contents(tmp_path / "frames") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frames", "out"]


def test_frames_of_two_films_do_not_mix(run: Path, tmp_path: Path) -> None:
    short = {"fps": 4.0, "size": (16, 16), "out": tmp_path / "frames"}
    render_video(run, seconds=1, **short)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="holds frames of a longer video"):
        render_video(run, seconds=0.5, **short)  # type: ignore[arg-type]
    render_video(run, seconds=1, **short)  # type: ignore[arg-type]
    assert len(list((tmp_path / "frames").iterdir())) == 4


def test_command(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    arguments = ["render", str(run), "--path", "swing", "--seconds", "0.5", "--fps", "4", "--size", "48x32"]
    assert report.run_app(main.app, arguments) == 0
    said = capsys.readouterr()
    assert said.out == f"{run / 'render' / 'swing.mp4'}\n" and "render 2/2" in said.err
    assert report.run_app(main.app, [*arguments, "--size", "big"]) == 2
    wanted = "error: --size 'big' is no size in pixels; for example 720 or 1280x720\n"
    assert capsys.readouterr().err == wanted
    assert report.run_app(main.app, ["render", str(tmp_path)]) == 2
    capsys.readouterr()
    monkeypatch.setattr(LineProgress, "step", stopped)
    assert report.run_app(main.app, arguments) == 130
    assert capsys.readouterr().err.endswith("\nstopped; nothing was written\n")
    assert parse_frame_size("720") == (720, 720) and parse_frame_size("1280x720") == (1280, 720)
    assert json.loads((run / "asset.json").read_text())["prompt"] == "A pot"
