"""Files in every format are read back as the mesh that was written: same size, axes and colors."""

from __future__ import annotations

import json
import os
import re
import sys
import typing
import zipfile
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import trimesh

from dreamfusion3d.core.config import FormatName
from dreamfusion3d.core.errors import InputError, MissingExtraError
from dreamfusion3d.core.types import TexturedMesh
from dreamfusion3d.mesh.io import fbx
from dreamfusion3d.mesh.io.axes import CoordinateFrame, rotate_up_axis, scale_to_height, to_frame
from dreamfusion3d.mesh.io.formats import FORMATS, asset_extras, check_formats, resolve_frame, write_asset
from dreamfusion3d.mesh.io.gltf import GLTF_FRAME, read_glb, read_glb_chunks, write_glb, write_gltf
from dreamfusion3d.mesh.io.ply_stl import sample_vertex_colors
from dreamfusion3d.mesh.tangents import vertex_tangents
from tests.support.shapes import position_color, textured_of, two_handles

HEIGHT = 1.5
EXTRAS = asset_extras('a "pot" <é>', 2**40, "embedded")
BUILT_IN = [name for name in FORMATS if name not in ("usdz", "fbx")]  # need no extra
FRAMES = [CoordinateFrame("y", "m"), CoordinateFrame("z", "cm"), CoordinateFrame("z", "mm")]


@pytest.fixture(scope="module")
def pot() -> TexturedMesh:
    """No two sides look alike: twice as wide as deep."""
    return scale_to_height(textured_of(two_handles, 128), HEIGHT)


def test_formats_match_the_config() -> None:
    assert tuple(FORMATS) == typing.get_args(FormatName)


def test_rotate_up_axis_keeps_handedness() -> None:
    axes = rotate_up_axis(np.eye(3), "z")
    assert np.linalg.det(axes) == pytest.approx(1)
    np.testing.assert_array_equal(axes[1], [0, 0, 1])  # up
    np.testing.assert_array_equal(axes[2], [0, -1, 0])  # the front, as Blender has it


@pytest.mark.parametrize("frame", FRAMES, ids=str)
@pytest.mark.parametrize("format_name", ["obj", "ply", "stl"])
def test_write_asset_uses_the_frame(
    format_name: FormatName, frame: CoordinateFrame, pot: TexturedMesh, tmp_path: Path
) -> None:
    write_asset(format_name, pot, tmp_path / f"pot.{format_name}", "pot", EXTRAS, frame)
    mesh = trimesh.load(tmp_path / f"pot.{format_name}", process=False)
    expected = rotate_up_axis(pot.vertices, frame.up) / frame.meters_per_unit
    close = 1e-5 / frame.meters_per_unit
    np.testing.assert_allclose(mesh.bounds, [expected.min(0), expected.max(0)], rtol=1e-5, atol=close)
    up = 1 if frame.up == "y" else 2
    assert mesh.bounds[:, up] == pytest.approx([0, HEIGHT / frame.meters_per_unit], abs=close)
    # outward: a mirrored axis would turn the mesh inside out
    mesh.merge_vertices(merge_tex=True, merge_norm=True)
    assert mesh.volume > 0 and len(mesh.faces) == len(pot.faces)


def test_to_frame_rotates_normals(pot: TexturedMesh) -> None:
    before, after = (
        trimesh.Trimesh(m.vertices, m.faces, process=False).face_normals
        for m in (pot, to_frame(pot, CoordinateFrame("z", "cm")))
    )
    np.testing.assert_allclose(after, rotate_up_axis(before, "z"), atol=1e-3)
    np.testing.assert_array_equal(to_frame(pot, CoordinateFrame("z", "cm")).normals, rotate_up_axis(pot.normals, "z"))


def test_scale_to_height_with_center_pivot(pot: TexturedMesh) -> None:
    centered = scale_to_height(pot, 2.0, "center")
    low, high = centered.vertices.min(0), centered.vertices.max(0)
    np.testing.assert_allclose(low + high, 0, atol=1e-5)
    assert high[1] - low[1] == pytest.approx(2.0, rel=1e-5)


def test_write_ply_is_closed_and_colored(pot: TexturedMesh, tmp_path: Path) -> None:
    write_asset("ply", pot, tmp_path / "pot.ply", "pot", EXTRAS)
    mesh = trimesh.load(tmp_path / "pot.ply", process=False)
    assert mesh.is_watertight and mesh.euler_number == -2
    # the color that was baked at a position is the color of the vertex there, in sRGB bytes
    bare = textured_of(two_handles, 128)
    low, high = bare.vertices.min(0), bare.vertices.max(0)
    scale = (high[1] - low[1]) / HEIGHT
    positions = mesh.vertices * scale + [(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2]
    error = np.abs(mesh.visual.vertex_colors[:, :3] / 255 - position_color(positions))
    assert error.max() < 0.05
    words = (tmp_path / "pot.ply").read_bytes().partition(b"end_header")[0].decode("ascii")
    assert words.startswith("ply\nformat binary_little_endian 1.0\ncomment ")
    assert json.loads(re.findall("comment prompt: (.*)", words)[0]) == 'a "pot" <é>'
    assert "comment frame: +Y up, m" in words and "github" not in words


def test_sample_vertex_colors_by_hand() -> None:
    texture = np.array([[[0, 0, 0], [100, 0, 0]], [[0, 200, 0], [100, 200, 0]]], np.uint8)
    uv = np.array([[0.25, 0.75], [0.75, 0.25], [0.5, 0.5], [0.0, 1.0]])
    mesh = TexturedMesh(np.zeros((4, 3)), np.array([[0, 1, 2]]), np.zeros((4, 3)), uv, texture)
    expected = [[0, 0, 0], [100, 200, 0], [50, 100, 0], [0, 0, 0]]
    np.testing.assert_array_equal(sample_vertex_colors(mesh), expected)


def test_write_stl_is_closed_and_binary(pot: TexturedMesh, tmp_path: Path) -> None:
    write_asset("stl", pot, tmp_path / "pot.stl", "p" * 64, EXTRAS)
    raw = (tmp_path / "pot.stl").read_bytes()
    assert raw[:80].startswith(b"dreamfusion3d ppp") and b"+Z up, mm" in raw[:80]
    assert len(raw) == 84 + 50 * len(pot.faces)
    mesh = trimesh.load(tmp_path / "pot.stl")  # merges equal corners
    assert mesh.is_watertight and mesh.extents[2] == pytest.approx(1000 * HEIGHT, rel=1e-5)


def test_write_3mf_is_closed_textured_and_has_its_unit(pot: TexturedMesh, tmp_path: Path) -> None:
    write_asset("3mf", pot, tmp_path / "pot.3mf", "pot", EXTRAS, CoordinateFrame("z", "cm"))
    core = "{http://schemas.microsoft.com/3dmanufacturing/core/2015/02}"
    material = "{http://schemas.microsoft.com/3dmanufacturing/material/2015/02}"
    with zipfile.ZipFile(tmp_path / "pot.3mf") as archive:
        assert archive.testzip() is None and archive.namelist()[0] == "[Content_Types].xml"
        model = ElementTree.fromstring(archive.read("3D/3dmodel.model"))
    assert model.attrib["unit"] == "centimeter"
    points = np.array([[float(v.attrib[a]) for a in "xyz"] for v in model.iter(f"{core}vertex")])
    faces = np.array([[int(t.attrib[a]) for a in ("v1", "v2", "v3")] for t in model.iter(f"{core}triangle")])
    mesh = trimesh.Trimesh(points, faces, process=False)
    assert mesh.is_watertight and mesh.volume > 0
    assert mesh.bounds[:, 2] == pytest.approx([0, 100 * HEIGHT], abs=1e-3)
    uv = np.array([[float(v.attrib[a]) for a in "uv"] for v in model.iter(f"{material}tex2coord")])
    colors = [[int(t.attrib[a]) for a in ("p1", "p2", "p3")] for t in model.iter(f"{core}triangle")]
    np.testing.assert_allclose(uv[np.array(colors)], pot.uv[pot.faces], atol=1e-6)
    metadata = {m.attrib["name"]: m.text for m in model.iter(f"{core}metadata")}
    assert metadata["Description"] == 'a "pot" <é>' and metadata["d:seed"] == str(2**40)
    assert metadata["Application"] == "dreamfusion3d" and "no rights" in str(metadata["LicenseTerms"])


def test_write_gltf_matches_write_glb(pot: TexturedMesh, tmp_path: Path) -> None:
    write_glb(pot, tmp_path / "pot.glb", "pot", EXTRAS)
    written = write_gltf(pot, tmp_path / "x" / "pot_a1b2c3.gltf", "pot", EXTRAS)
    assert [p.name for p in written] == [f"pot_a1b2c3.{format_name}" for format_name in ("gltf", "bin", "png")]
    scene = trimesh.load(written[0])
    mesh, other = scene.geometry["pot"], read_glb(tmp_path / "pot.glb")
    np.testing.assert_array_equal(mesh.vertices, other.vertices)
    np.testing.assert_array_equal(mesh.faces, other.faces)
    np.testing.assert_array_equal(mesh.visual.uv, other.uv)
    np.testing.assert_array_equal(mesh.vertex_normals, other.normals)
    np.testing.assert_array_equal(np.asarray(mesh.visual.material.baseColorTexture), other.texture)
    tree, (inside, _) = (json.loads(written[0].read_text()), read_glb_chunks((tmp_path / "pot.glb").read_bytes()))
    assert tree["nodes"] == inside["nodes"] and tree["nodes"][0]["extras"] == EXTRAS
    assert tree["asset"] == inside["asset"] and tree["asset"]["copyright"] == EXTRAS["license"]
    assert tree["buffers"] == [{"uri": "pot_a1b2c3.bin", "byteLength": written[1].stat().st_size}]


def test_write_obj_and_write_gltf_share_the_texture(pot: TexturedMesh, tmp_path: Path) -> None:
    paths = [
        write_asset(format_name, pot, tmp_path / format_name / f"pot.{format_name}", "pot", EXTRAS)
        for format_name in ("obj", "gltf")
    ]
    images = [next(p for p in some if p.suffix == ".png").read_bytes() for some in paths]
    assert images[0] == images[1]


def test_read_glb_inverts_write_glb(pot: TexturedMesh, tmp_path: Path) -> None:
    write_glb(pot, tmp_path / "pot.glb", "pot", EXTRAS)
    read = read_glb(tmp_path / "pot.glb")
    for name in ("vertices", "faces", "texture"):
        np.testing.assert_array_equal(getattr(read, name), getattr(pot, name))
    for name in ("normals", "uv"):
        np.testing.assert_allclose(getattr(read, name), getattr(pot, name), atol=1e-6)
    assert read.normal_map is None and read.tangents is None and read.occlusion is None


def test_read_glb_keeps_maps_and_tangents(pot: TexturedMesh, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    flat = replace(
        pot,
        vertices=pot.vertices.astype(np.float32),
        uv=pot.uv.astype(np.float32),
        normals=pot.normals.astype(np.float32),
    )
    detailed = replace(
        flat,
        tangents=vertex_tangents(flat),
        normal_map=generator.integers(0, 256, pot.texture.shape, np.uint8),
        occlusion=generator.integers(0, 256, pot.texture.shape[:2], np.uint8),
    )
    write_glb(detailed, tmp_path / "pot.glb", "pot", EXTRAS)
    read = read_glb(tmp_path / "pot.glb")
    np.testing.assert_array_equal(read.normal_map, detailed.normal_map)
    np.testing.assert_array_equal(read.occlusion, detailed.occlusion)
    np.testing.assert_allclose(read.tangents, detailed.tangents, atol=1e-3)


@pytest.mark.parametrize("format_name", BUILT_IN)
def test_write_asset_is_deterministic(format_name: FormatName, pot: TexturedMesh, tmp_path: Path) -> None:
    runs = []
    for run in ("a", "b"):
        written = write_asset(format_name, pot, tmp_path / run / f"pot.{format_name}", "pot", EXTRAS)
        assert sorted(written) == sorted((tmp_path / run).iterdir())
        assert written[0] == tmp_path / run / f"pot.{format_name}"
        runs.append([p.read_bytes() for p in written])
    assert runs[0] == runs[1]


def test_resolve_frame_respects_fixed_formats() -> None:
    assert resolve_frame("obj", "z", "cm") == CoordinateFrame("z", "cm")
    assert resolve_frame("stl") == CoordinateFrame("z", "mm") and resolve_frame("stl", units="m") == CoordinateFrame(
        "z", "m"
    )
    assert resolve_frame("glb", "z", "cm") == GLTF_FRAME
    with pytest.raises(ValueError, match=r"\+Y up, m"):
        write_glb(textured_of(two_handles, 64), Path("never.glb"), "never", {}, CoordinateFrame("z", "m"))


def test_check_formats_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pxr", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'dreamfusion3d\[usd\]'"):
        check_formats(["glb", "usdz"])
    monkeypatch.delenv(fbx.BLENDER_VARIABLE, raising=False)
    monkeypatch.setenv("PATH", os.devnull)
    with pytest.raises(InputError, match="Blender is not on PATH"):
        check_formats(["fbx"])
    monkeypatch.setenv(fbx.BLENDER_VARIABLE, "/nowhere/blender")
    with pytest.raises(InputError, match="DREAMFUSION3D_BLENDER=/nowhere/blender is not a program"):
        check_formats(["fbx"])
    check_formats(BUILT_IN)


@pytest.mark.skipif(os.name == "nt", reason="a shell script stands in for Blender")
@pytest.mark.parametrize(
    "script, message", [("echo 'Error: no such operator' >&2; exit 3", "no such operator"), ("exit 1", "exit code 1")]
)
def test_write_fbx_reports_a_failing_blender(
    script: str, message: str, pot: TexturedMesh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "blender"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv(fbx.BLENDER_VARIABLE, str(program))
    with pytest.raises(InputError, match=message):
        write_asset("fbx", pot, tmp_path / "out" / "pot.fbx", "pot", EXTRAS)
    assert not (tmp_path / "out").exists()
