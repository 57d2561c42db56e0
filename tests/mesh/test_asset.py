"""From a mesh to files: simplify, unwrap, bake, export."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace

import fast_simplification
import numpy as np
import pytest
import trimesh

from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.types import Mesh
from dreamfusion3d.mesh import simplify as simplify_module
from dreamfusion3d.mesh.bake import bake_albedo
from dreamfusion3d.mesh.clean import extract_solid
from dreamfusion3d.mesh.edge_collapse import collapse_edges
from dreamfusion3d.mesh.io.axes import scale_to_height
from dreamfusion3d.mesh.io.gltf import write_glb, write_gltf
from dreamfusion3d.mesh.io.obj import write_obj
from dreamfusion3d.mesh.quality import mesh_quality
from dreamfusion3d.mesh.rasterize import uv_overlap_counts
from dreamfusion3d.mesh.simplify import simplify, taubin_smooth
from dreamfusion3d.mesh.tangents import vertex_normals, vertex_tangents
from dreamfusion3d.mesh.unwrap import unwrap
from tests.support.shapes import GENUS, grid_of, mesh_of, position_color, sphere, textured_of, torus, two_handles


@pytest.fixture(scope="module")
def textured():
    return textured_of(two_handles)


@pytest.mark.parametrize("shape", GENUS)
@pytest.mark.parametrize("faces", [4000, 600])
def test_simplify_keeps_topology_and_budget(shape, faces):
    mesh = mesh_of(shape, faces=faces)
    report = mesh_quality(mesh)
    assert report.watertight and report.manifold
    assert report.genus == GENUS[shape]
    assert report.faces <= faces
    assert report.degenerate_faces == 0


@pytest.mark.parametrize("shape", GENUS)
def test_collapse_edges_keeps_topology_to_the_last_face(shape):
    """With a target of 0, it stops where the next collapse would close a handle."""
    mesh = extract_solid(grid_of(shape, 32), 0.0)
    for target in (500, 0):
        report = mesh_quality(collapse_edges(mesh, target))
        assert report.watertight and report.manifold and report.genus == GENUS[shape]
        assert report.degenerate_faces == 0
        assert report.faces <= 500
    assert mesh_quality(collapse_edges(mesh, 500)).volume == pytest.approx(mesh_quality(mesh).volume, rel=0.02)


def test_collapse_edges_leaves_locked_vertices():
    mesh = mesh_of(torus)
    locked = mesh.vertices[:, 0] > 0
    kept = {tuple(v) for v in collapse_edges(mesh, 500, locked).vertices}
    assert all(tuple(v) in kept for v in mesh.vertices[locked])
    assert len(kept) < locked.sum() + (~locked).sum() / 2


def test_collapse_edges_is_as_accurate_as_fast_simplification():
    mesh = extract_solid(grid_of(sphere), 0.0)

    def error(simplified: Mesh) -> float:
        return np.abs(np.linalg.norm(simplified.vertices[simplified.faces].mean(1), axis=1) - 0.6).mean()

    assert error(collapse_edges(mesh, 1000)) < 1.2 * error(simplify(mesh, 1000))


@pytest.mark.parametrize("presimplified", ["sound", "torn"])
def test_simplify_presimplifies_before_collapse_edges(presimplified, monkeypatch):
    """If fast-simplification fails at the budget, the result is as good as with edge collapse alone."""
    mesh, budget, starts = extract_solid(grid_of(torus, 48), 0.0), 500, []
    assert len(mesh.faces) > 8 * budget
    fast = fast_simplification.simplify

    def fails(vertices: np.ndarray, faces: np.ndarray, target_count: int) -> tuple[np.ndarray, np.ndarray]:
        if target_count == budget:
            return vertices, faces
        vertices, faces = fast(vertices, faces, target_count=target_count)
        return vertices, faces if presimplified == "sound" else faces[1:]

    def slow(mesh: Mesh, target: int, locked: np.ndarray) -> Mesh:
        starts.append(len(mesh.faces))
        return collapse_edges(mesh, target, locked)

    monkeypatch.setattr(fast_simplification, "simplify", fails)
    monkeypatch.setattr(simplify_module, "collapse_edges", slow)
    found, twin = simplify(mesh, budget), collapse_edges(mesh, budget)
    report = mesh_quality(found)
    assert report.manifold and report.genus == 1 and report.faces <= budget
    assert starts == ([4 * budget] if presimplified == "sound" else [len(mesh.faces)])
    assert report.volume == pytest.approx(mesh_quality(twin).volume, rel=0.01)


def test_simplify_never_returns_a_broken_mesh():
    """A sponge cannot be reduced to any number of faces; the result is watertight nevertheless."""
    noise = np.random.default_rng(1).normal(size=(20, 20, 20)).astype(np.float32)
    sponge = extract_solid(noise, 0.2)
    before, after = mesh_quality(sponge), mesh_quality(simplify(sponge, 200))
    assert after.watertight and after.manifold
    assert after.euler_number == before.euler_number
    assert after.faces < before.faces


def test_taubin_smooth_keeps_volume_and_removes_steps():
    # a binary grid: the worst stairs
    grid = (np.linalg.norm(np.stack(np.meshgrid(*[np.linspace(-1, 1, 48)] * 3)), axis=0) < 0.6) * 1.0
    stairs = extract_solid(grid.astype(np.float32), 0.5)
    smooth = taubin_smooth(stairs, 10)
    assert mesh_quality(smooth).volume == pytest.approx(mesh_quality(stairs).volume, rel=0.02)
    spread = [np.linalg.norm(m.vertices, axis=1).std() for m in (stairs, smooth)]
    assert spread[1] < 0.6 * spread[0]


def test_mesh_quality_detects_open_and_pinched_meshes():
    mesh = mesh_of(sphere, faces=500)
    assert not mesh_quality(Mesh(mesh.vertices, mesh.faces[1:])).watertight
    flipped = mesh.faces.copy()
    flipped[0] = flipped[0, ::-1]
    assert not mesh_quality(Mesh(mesh.vertices, flipped)).watertight
    tetrahedron = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])
    corners = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    pinched = Mesh(
        np.concatenate([corners, -corners[1:]]),
        np.concatenate([tetrahedron, np.array([0, 4, 5, 6])[tetrahedron][:, ::-1]]),
    )
    report = mesh_quality(pinched)
    assert report.watertight and not report.manifold and report.genus is None
    json.dumps(asdict(report), allow_nan=False)


def test_vertex_normals_point_outwards():
    mesh = extract_solid(grid_of(sphere), 0.0)
    radial = mesh.vertices / np.linalg.norm(mesh.vertices, axis=1, keepdims=True)
    assert (vertex_normals(mesh) * radial).sum(1).min() > 0.99


@pytest.mark.parametrize("limit, method", [(120.0, "xatlas"), (0.01, "projection")])
@pytest.mark.parametrize("shape", [sphere, two_handles])
def test_unwrap_has_no_overlap(shape, limit, method):
    mesh = mesh_of(shape)
    atlas = unwrap(mesh, 256, 2, timeout_s=limit)
    assert atlas.method == method
    assert atlas.reason == ("xatlas did not finish within 0.01 s" if method == "projection" else "")
    np.testing.assert_array_equal(atlas.vmapping[atlas.faces], mesh.faces)
    assert atlas.uv.min() >= 0 and atlas.uv.max() <= 1
    (ax, ay), (bx, by) = (np.diff(atlas.uv[atlas.faces], axis=1).astype(float)).transpose(1, 2, 0)
    assert (ax * by - ay * bx > 0).mean() > 0.999  # no chart is mirrored
    counts = uv_overlap_counts(atlas.uv, atlas.faces, 1024)
    assert (counts > 1).sum() <= 1e-3 * (counts > 0).sum()
    assert (counts > 0).mean() > 0.2


@pytest.mark.parametrize("size", [100, 257])
def test_bake_albedo_shows_no_background_in_mip_levels(size):
    """The texture has the requested size, and no mip level averages in a color from outside the charts."""
    textured = bake_albedo(mesh_of(two_handles, faces=600), lambda p: 0.5 + 0.1 * np.sign(p), size, supersample=2)
    level = textured.texture.astype(float) / 255
    assert level.shape == (size, size, 3)
    while min(level.shape[:2]) > 1:
        assert level.min() > 0.395 and level.max() < 0.605
        height, width = (n // 2 * 2 for n in level.shape[:2])
        level = level[:height, :width].reshape(height // 2, 2, width // 2, 2, 3).mean((1, 3))


def test_bake_albedo_padding_protects_mip_levels():
    size, mesh = 256, mesh_of(sphere)
    textured = bake_albedo(mesh, position_color, size, padding=4)
    rng = np.random.default_rng(0)
    faces = textured.faces[rng.integers(len(textured.faces), size=3000)]
    weights = rng.dirichlet((1, 1, 1), 3000)
    expected = position_color(np.einsum("nk,nkc->nc", weights, textured.vertices[faces]))
    u, v = np.einsum("nk,nkc->nc", weights, textured.uv[faces]).T
    level = textured.texture.astype(float) / 255
    for mip in (1, 2):
        level = level.reshape(len(level) // 2, 2, len(level) // 2, 2, 3).mean((1, 3))
        sampled = level[((1 - v) * len(level)).astype(int), (u * len(level)).astype(int)]
        assert np.percentile(np.abs(sampled - expected), 99) < 0.02 * 2**mip


def test_project_charts_cuts_a_folded_chart():
    """A helical ramp faces up everywhere: projected as one chart it overlaps itself."""
    turns, steps = 3, 120
    angle = np.linspace(0, 2 * np.pi * turns, steps)
    rim = np.stack([np.cos(angle), angle / 20, np.sin(angle)], 1)
    vertices = np.concatenate([rim, rim * (0.4, 1, 0.4)])
    i = np.arange(steps - 1)
    faces = np.concatenate([np.stack([i, i + steps, i + 1], 1), np.stack([i + 1, i + steps, i + steps + 1], 1)])
    atlas = unwrap(Mesh(vertices, faces), 256, 2, timeout_s=0.01)
    assert atlas.method == "projection"
    assert uv_overlap_counts(atlas.uv, atlas.faces, 256).max() == 1


@pytest.mark.parametrize("limit", [120.0, 0.01])
def test_bake_albedo_stores_the_color_of_each_position(limit):
    mesh = mesh_of(sphere)
    size = 256
    atlas = unwrap(mesh, size, 4, timeout_s=limit)
    textured = bake_albedo(mesh, position_color, size, uv_atlas=atlas)
    assert textured.texture.shape == (size, size, 3)
    rng = np.random.default_rng(0)
    faces = textured.faces[rng.integers(len(textured.faces), size=2000)]
    weights = rng.dirichlet((1, 1, 1), 2000)
    positions = np.einsum("nk,nkc->nc", weights, textured.vertices[faces])
    uv = np.einsum("nk,nkc->nc", weights, textured.uv[faces])
    row = np.clip(((1 - uv[:, 1]) * size).astype(int), 0, size - 1)
    col = np.clip((uv[:, 0] * size).astype(int), 0, size - 1)
    error = np.abs(textured.texture[row, col] / 255 - position_color(positions))
    assert error.max() < 0.03  # a texel is about 0.01 of the sphere wide
    # no texel is left empty: background would bleed over the seams
    assert textured.texture.min() > 0


def test_bake_albedo_supersampling_changes_little():
    mesh = mesh_of(torus, faces=1000)
    atlas = unwrap(mesh, 128, 2)
    one, two = (bake_albedo(mesh, position_color, 128, supersample=s, uv_atlas=atlas) for s in (1, 2))
    assert np.abs(one.texture.astype(int) - two.texture).mean() < 2


def test_scale_to_height_stands_on_the_ground(textured):
    scaled = scale_to_height(textured, 2.5)
    low, high = scaled.vertices.min(0), scaled.vertices.max(0)
    assert low[1] == pytest.approx(0, abs=1e-6)
    assert high[1] == pytest.approx(2.5, rel=1e-5)
    assert (low + high)[[0, 2]] == pytest.approx([0, 0], abs=1e-5)
    with pytest.raises(InputError, match="height"):
        scale_to_height(textured, 0.0)


def test_write_glb_round_trip(textured, tmp_path):
    scaled = scale_to_height(textured, 1.5)
    written = write_glb(scaled, tmp_path / "two.glb", "two", {"prompt": "a pot", "seed": 3})
    assert written == [tmp_path / "two.glb"]
    scene = trimesh.load(tmp_path / "two.glb")
    assert list(scene.geometry) == ["two"]
    mesh = scene.geometry["two"]
    np.testing.assert_allclose(scene.bounds, [scaled.vertices.min(0), scaled.vertices.max(0)], atol=1e-6)
    assert scene.extents[1] == pytest.approx(1.5, rel=1e-5)
    material = mesh.visual.material
    assert material.metallicFactor == 0 and material.roughnessFactor == pytest.approx(0.8)
    assert material.baseColorFactor is None or (np.asarray(material.baseColorFactor) == 255).all()
    np.testing.assert_array_equal(np.asarray(material.baseColorTexture.convert("RGB")), scaled.texture)
    np.testing.assert_allclose(mesh.visual.uv, scaled.uv, atol=1e-6)
    raw = (tmp_path / "two.glb").read_bytes()
    tree = json.loads(raw[20 : 20 + int.from_bytes(raw[12:16], "little")])
    assert tree["nodes"] == [{"name": "two", "mesh": 0, "extras": {"prompt": "a pot", "seed": 3}}]
    assert tree["materials"][0]["name"] == "two" and not tree["materials"][0].get("doubleSided")


def test_write_obj_round_trip(textured, tmp_path):
    scaled = scale_to_height(textured, 1.5)
    written = write_obj(scaled, tmp_path / "two.obj", "two")
    assert sorted(p.name for p in written) == ["two.mtl", "two.obj", "two.png"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["two.mtl", "two.obj", "two.png"]
    mesh = trimesh.load(tmp_path / "two.obj", process=False)
    np.testing.assert_allclose(mesh.bounds, [scaled.vertices.min(0), scaled.vertices.max(0)], atol=1e-6)
    assert len(mesh.faces) == len(scaled.faces)
    assert "map_Kd two.png" in (tmp_path / "two.mtl").read_text()
    assert "Kd 1.0" in (tmp_path / "two.mtl").read_text()


def test_write_obj_and_write_gltf_share_the_normal_map(textured, tmp_path):
    detailed = replace(scale_to_height(textured, 1.5), normal_map=textured.texture[::-1].copy())
    detailed = replace(detailed, tangents=vertex_tangents(detailed))
    written = write_obj(detailed, tmp_path / "two.obj", "two")
    assert "norm two_normal.png" in (tmp_path / "two.mtl").read_text().splitlines()
    write_gltf(detailed, tmp_path / "other" / "two.gltf", "two")
    for name in ("two.png", "two_normal.png"):
        assert tmp_path / name in written
        assert (tmp_path / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def test_export_is_deterministic(tmp_path):
    digests = []
    for run in ("a", "b"):
        textured = scale_to_height(bake_albedo(mesh_of(torus), position_color, 128))
        write_glb(textured, tmp_path / run / "t.glb", "t", {"seed": 1})
        write_obj(textured, tmp_path / run / "t.obj", "t")
        written = sorted((tmp_path / run).iterdir())
        digests.append([hashlib.sha256(path.read_bytes()).hexdigest() for path in written])
    assert digests[0] == digests[1]
