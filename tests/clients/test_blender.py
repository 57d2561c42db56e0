"""The files as an artist finds them in Blender: one object, textured, standing on the floor, in metres."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dreamfusion3d.core.config import FormatName
from dreamfusion3d.mesh.io import fbx
from dreamfusion3d.mesh.io.axes import CoordinateFrame
from dreamfusion3d.pipelines.video import render_video
from tests.support.client_asset import EXTRAS, HEIGHT, NAME, SIZE, TEXTURE, ball, clay_ball
from tests.support.client_reports import blender_report
from tests.support.pipelines import write_finished_run
from tests.support.shapes import textured_of, two_handles

pytestmark = pytest.mark.clients

# Blender's up is +Z and its front -Y: glTF (x, y, z) arrives as (x, -z, y)
BLENDER_SIZE = [SIZE[0], SIZE[2], SIZE[1]]


def stands_in_metres(report: dict) -> None:
    # in the world: OBJ's and FBX's importers turn the object, not its vertices
    size = np.subtract(report["high"], report["low"])
    np.testing.assert_allclose(size, BLENDER_SIZE, rtol=0.02)
    assert report["low"][2] == pytest.approx(0, abs=1e-4)
    assert report["high"][2] == pytest.approx(HEIGHT, rel=1e-3)
    for axis in (0, 1):
        assert report["low"][axis] == pytest.approx(-report["high"][axis], abs=0.02)


def shows_its_colours(picture: np.ndarray) -> None:
    """The frame from the front: filled as an ellipse is, and coloured by place as the asset is."""
    solid = picture[..., 3] > 128
    rows, columns = np.flatnonzero(solid.any(1)), np.flatnonzero(solid.any(0))
    assert np.ptp(columns) + 1 == pytest.approx(2 * (np.ptp(rows) + 1), abs=3)
    assert solid.sum() == pytest.approx(np.pi / 4 * np.ptp(rows) * np.ptp(columns), rel=0.1)
    rgb, middle = picture[..., :3], [int(np.median(rows)), int(np.median(columns))]
    left, right = rgb[middle[0], columns[[8, -8]]]
    top, bottom = rgb[rows[[3, -4]], middle[1]]
    # red grows to +X, which is right as one faces the front, green to the top; the light dims them alike
    assert right[0] > left[0] + 60 and top[1] > bottom[1] + 60
    # the front end has the most blue: 0.5 + 0.7 * 0.6, in full and even light
    assert rgb[middle[0], middle[1], 2] > 200


def test_the_glb_opens(tmp_path: Path) -> None:
    report = blender_report(clay_ball(tmp_path))
    assert report["objects"] == [[NAME, "MESH", None]]
    stands_in_metres(report)
    np.testing.assert_allclose(report["dimensions"], BLENDER_SIZE, rtol=0.02)  # as the sidebar shows them
    assert len(report["uv_layers"]) == 1 and report["materials"] == [NAME]
    assert report["material"]["base_colour_image"] == NAME and report["material"]["output_linked"]
    assert report["material"]["metallic"] == 0
    assert report["material"]["roughness"] == pytest.approx(0.8, abs=1e-3)
    side = [TEXTURE, TEXTURE]
    assert sorted(report["images"]) == [
        [NAME, side, True, "sRGB"],
        [f"{NAME}_normal", side, True, "Non-Color"],
        [f"{NAME}_occlusion", side, True, "Non-Color"],
    ]
    assert report["properties"] == EXTRAS
    shows_its_colours(report["picture"])


def test_the_gltf_folder_opens(tmp_path: Path) -> None:
    report = blender_report(clay_ball(tmp_path, "gltf"))
    assert report["objects"] == [[NAME, "MESH", None]]
    stands_in_metres(report)
    assert sorted(i[1::2] for i in report["images"]) == [
        [[TEXTURE, TEXTURE], "Non-Color"],
        [[TEXTURE, TEXTURE], "Non-Color"],
        [[TEXTURE, TEXTURE], "sRGB"],
    ]
    shows_its_colours(report["picture"])


def test_the_obj_opens(tmp_path: Path) -> None:
    report = blender_report(clay_ball(tmp_path, "obj"))
    assert report["objects"] == [[NAME, "MESH", None]]
    stands_in_metres(report)
    assert len(report["uv_layers"]) == 1 and report["materials"] == [NAME]
    assert report["material"]["base_colour_from"] == "TEX_IMAGE"
    assert report["images"] == [[f"{NAME}.png", [TEXTURE, TEXTURE], False, "sRGB"]]
    shows_its_colours(report["picture"])


@pytest.mark.parametrize(
    "frame", [CoordinateFrame("y", "cm"), CoordinateFrame("y", "m"), CoordinateFrame("z", "cm")], ids=str
)
def test_the_fbx_opens_alike_in_every_frame(frame: CoordinateFrame, tmp_path: Path) -> None:
    if fbx.find_blender() is None:
        pytest.skip("blender is not on PATH")
    report = blender_report(clay_ball(tmp_path, "fbx", frame))
    assert report["objects"] == [[NAME, "MESH", None]]
    stands_in_metres(report)
    assert len(report["uv_layers"]) == 1 and report["materials"] == [NAME]
    assert report["faces"] == len(ball().faces)
    assert report["material"]["base_colour_from"] == "TEX_IMAGE" and report["material"]["metallic"] == 0
    assert report["material"]["roughness"] == pytest.approx(0.8, abs=1e-3)
    # Blender's FBX has a normal map and no occlusion
    assert sorted(i[1:] for i in report["images"]) == [
        [[TEXTURE, TEXTURE], True, "Non-Color"],
        [[TEXTURE, TEXTURE], True, "sRGB"],
    ]
    assert report["properties"]["prompt"] == "a clay ball" and report["properties"]["seed"] == 7
    shows_its_colours(report["picture"])


@pytest.mark.parametrize("kind", ["ply", "stl"])
def test_bare_geometry_opens_upright(kind: FormatName, tmp_path: Path) -> None:
    """Blender's importers of these turn and scale nothing: +Z up and metres is what they take."""
    report = blender_report(clay_ball(tmp_path, kind, CoordinateFrame("z", "m")))
    stands_in_metres(report)
    assert report["faces"] == len(ball().faces)
    # closed: V - E + F = 2 and 3 F = 2 E
    assert report["vertices"] == report["faces"] / 2 + 2
    assert report["colours"] == ([["Col", "CORNER"]] if kind == "ply" else [])


def test_a_camera_of_blenders_films_what_blender_sees(tmp_path: Path) -> None:
    """An asset as it is imported, a camera on a rig, and the example's path of it: the same outlines."""
    program = fbx.find_blender()
    if program is None:
        pytest.skip(f"blender is not on PATH, and {fbx.BLENDER_VARIABLE} names none")
    run = write_finished_run(textured_of(two_handles, 48), tmp_path / "out" / "a_pot")
    shot, path, drawn = tmp_path / "shot.blend", tmp_path / "shot.json", tmp_path / "drawn"
    example = Path(__file__).parents[2] / "examples" / "blender" / "camera_path.py"
    scene = [str(Path(__file__).with_name("blender_shot.py")), "--"]
    scene += [str(run / "a_pot.glb"), str(shot), str(drawn)]
    for arguments in (
        ["--factory-startup", "--python", *scene],
        [str(shot), "--python", str(example), "--", str(path)],
    ):
        done = subprocess.run(
            [program, "-b", "--python-exit-code", "3", *arguments],
            env=fbx.blender_environment(),
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    out = render_video(run, str(path), out=tmp_path / "frames", background="transparent")
    ours, theirs = (
        np.stack([np.asarray(Image.open(p))[..., 3] > 127 for p in sorted(folder.glob("*.png"))])
        for folder in (out, drawn)
    )
    assert ours.shape == theirs.shape == (5, 80, 120)
    both, either = (ours & theirs).sum((1, 2)), (ours | theirs).sum((1, 2))
    assert both.min() > 300 and (both / either).min() > 0.95, both / either
