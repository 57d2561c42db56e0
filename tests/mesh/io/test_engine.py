"""Levels of detail and collision bodies with the names that game engines recognize."""

from __future__ import annotations

import json
import sys
from importlib.machinery import ModuleSpec
from types import SimpleNamespace

import numpy as np
import pytest
import trimesh

from dreamfusion3d.core.errors import MissingExtraError
from dreamfusion3d.mesh.collision import HULL_DIRECTIONS, convex_decomposition, convex_hull
from dreamfusion3d.mesh.io.axes import scale_like, scale_to_height
from dreamfusion3d.mesh.io.engine import write_collision, write_lods
from dreamfusion3d.mesh.lods import lod_meshes, lod_texture_size, unwrap_and_bake
from dreamfusion3d.mesh.normal_map import build_high_poly
from dreamfusion3d.mesh.quality import mesh_quality
from tests.support.shapes import mesh_of, position_color, sphere, torus, two_handles


@pytest.fixture(scope="module")
def chain():
    return lod_meshes(mesh_of(two_handles, 40, 1200), 3)


def tree_in(path) -> dict:
    raw = path.read_bytes()
    return json.loads(raw[20 : 20 + int.from_bytes(raw[12:16], "little")])


def test_lod_meshes_halve_the_faces_and_keep_topology(chain):
    counts = [len(mesh.faces) for mesh in chain]
    assert len(chain) == 3 and counts[1] <= counts[0] // 2 and counts[2] <= counts[1] // 2
    for mesh in chain:
        report = mesh_quality(mesh)
        assert report.watertight and report.manifold and report.genus == 2


def test_lod_meshes_end_at_the_smallest_level():
    chain = lod_meshes(mesh_of(sphere, 24, 300), 8)
    assert 2 <= len(chain) < 8 and len(chain[-1].faces) >= 60
    assert [lod_texture_size(1024, i) for i in (0, 1, 5, 7)] == [1024, 512, 64, 64]
    assert lod_texture_size(32, 3) == 32


def test_write_lods_makes_nodes_of_one_file(chain, tmp_path):
    fine = build_high_poly(chain[0])
    levels = [unwrap_and_bake(m, position_color, fine, lod_texture_size(128, i)) for i, m in enumerate(chain)]
    placed = [scale_like(level, levels[0], 2.0) for level in levels]
    write_lods(placed, tmp_path / "pot_lods.glb", "pot")
    tree = tree_in(tmp_path / "pot_lods.glb")
    names = [f"pot_LOD{i}" for i in range(3)]
    root = tree["nodes"][tree["scenes"][0]["nodes"][0]]
    assert root["name"] == "pot" and len(tree["scenes"][0]["nodes"]) == 1
    assert [tree["nodes"][i]["name"] for i in root["children"]] == names
    for i in root["children"]:
        mesh = tree["meshes"][tree["nodes"][i]["mesh"]]
        assert mesh["name"] == tree["nodes"][i]["name"]
        attributes = mesh["primitives"][0]["attributes"]
        assert {"POSITION", "NORMAL", "TANGENT", "TEXCOORD_0"} == set(attributes)
        assert "normalTexture" in tree["materials"][mesh["primitives"][0]["material"]]
    scene = trimesh.load(tmp_path / "pot_lods.glb")
    boxes = np.stack([scene.geometry[name].bounds for name in names])
    assert np.ptp(boxes, axis=0).max() < 0.1  # no level jumps
    assert scene.extents[1] == pytest.approx(2.0, rel=0.02)


@pytest.mark.parametrize("shape", [sphere, torus, two_handles])
def test_convex_hull_is_convex_closed_and_small(shape):
    mesh = mesh_of(shape, 32)
    hull = convex_hull(mesh)
    report, true = mesh_quality(hull), trimesh.convex.convex_hull(mesh.vertices)
    assert report.watertight and report.manifold and report.genus == 0
    assert report.faces <= 2 * HULL_DIRECTIONS and report.vertices <= HULL_DIRECTIONS
    assert 0.85 * true.volume < report.volume <= true.volume * (1 + 1e-9)
    a, b, c = np.moveaxis(hull.vertices[hull.faces], 1, 0)
    normal = np.cross(b - a, c - a)
    height = (normal[:, None] * (hull.vertices[None] - a[:, None])).sum(2)
    assert height.max() < 1e-9  # no corner lies beyond a face


@pytest.mark.parametrize("style, name", [("unreal", "UCX_pot_00"), ("godot", "pot_00-convcolonly")])
def test_write_collision_uses_engine_names(chain, style, name, tmp_path):
    textured = scale_to_height(
        unwrap_and_bake(chain[2], position_color, build_high_poly(chain[0]), 64, normal_map=False)
    )
    body = scale_like(convex_hull(chain[0]), textured)
    write_collision(textured, [body], tmp_path / "pot.glb", "pot", style)
    tree = tree_in(tmp_path / "pot.glb")
    assert [node["name"] for node in tree["nodes"]] == ["pot", name]
    assert tree["scenes"][0]["nodes"] == [0, 1]
    assert len(tree["materials"]) == 1 and "material" not in tree["meshes"][1]["primitives"][0]


def test_convex_decomposition_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "coacd", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'dreamfusion3d\[collision\]'"):
        convex_decomposition(mesh_of(sphere, 16))


def test_convex_decomposition_returns_hulls(monkeypatch):
    mesh = mesh_of(torus, 24)
    halves = [mesh.vertices[mesh.vertices[:, 0] * side > 0] for side in (1, -1)]
    fake = SimpleNamespace(
        __spec__=ModuleSpec("coacd", None),
        set_log_level=lambda level: None,
        Mesh=lambda v, f: (v, f),
        run_coacd=lambda mesh, **options: [(half, np.zeros((0, 3))) for half in halves],
    )
    monkeypatch.setitem(sys.modules, "coacd", fake)
    parts = convex_decomposition(mesh)
    assert len(parts) == 2 and all(mesh_quality(part).watertight for part in parts)
