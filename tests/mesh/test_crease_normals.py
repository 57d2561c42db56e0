"""Normals are split at sharp edges and shared across smooth ones."""

from __future__ import annotations

from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import trimesh

from dreamfusion3d.mesh.crease_normals import CREASE_ANGLE_DEG, crease_normals
from dreamfusion3d.mesh.io.load import read_mesh
from dreamfusion3d.mesh.user_mesh import ensure_uvs, uv_problem

BOX = trimesh.creation.box()


def crumpled(seed: int) -> trimesh.Trimesh:
    """Edges of all angles, a boundary, an edge with three faces and a face without area."""
    rng = np.random.default_rng(seed)
    ball = trimesh.creation.icosphere(2)
    vertices = ball.vertices * (1 + 0.12 * rng.random((len(ball.vertices), 1)))
    faces = [*ball.faces[: -len(ball.faces) // 5], [0, 12, 100], [5, 5, 60]]
    return trimesh.Trimesh(vertices, faces, process=False)


def slow_fans(mesh: trimesh.Trimesh) -> list[set[int]]:
    """Corners that share a normal, by a graph walk that follows the definition edge by edge."""
    edges: dict[tuple[int, int], list[int]] = {}
    for number, face in enumerate(mesh.faces):
        for k in range(3):
            edges.setdefault(tuple(sorted((int(face[k]), int(face[(k + 1) % 3])))), []).append(number)
    walk = nx.Graph()
    walk.add_nodes_from(range(3 * len(mesh.faces)))
    for (v, w), around in edges.items():
        if v == w or len(around) != 2:
            continue
        a, b = around
        cosine = np.clip(mesh.face_normals[a] @ mesh.face_normals[b], -1, 1)
        if np.degrees(np.arccos(cosine)) <= CREASE_ANGLE_DEG:
            for vertex in (v, w):
                corners = [3 * face + list(mesh.faces[face]).index(vertex) for face in (a, b)]
                walk.add_edge(*corners)
    return [set(found) for found in nx.connected_components(walk)]


@pytest.mark.parametrize("seed", range(3))
def test_crease_normals_match_a_slow_walk(seed: int) -> None:
    mesh = crumpled(seed)
    found = crease_normals(mesh)
    assert found is not None
    normals, corners = found
    flat = corners.reshape(-1)
    fans = [set(np.flatnonzero(flat == label)) for label in range(len(normals))]
    expected = slow_fans(mesh)
    assert sorted(map(sorted, fans)) == sorted(map(sorted, expected))
    assert len({len(fan) for fan in fans}) > 3, "sharp and soft ones alike"
    for label, fan in enumerate(fans):
        total = sum(mesh.face_normals[c // 3] * mesh.face_angles[c // 3, c % 3] for c in fan)
        if (length := np.linalg.norm(total)) > 1e-9:
            np.testing.assert_allclose(normals[label], total / length, atol=1e-6)


def test_crease_normals_keep_a_box_flat_and_a_ball_smooth(tmp_path: Path) -> None:
    for suffix in ("obj", "glb"):
        BOX.export(tmp_path / f"box.{suffix}", include_normals=False)
        box = read_mesh(tmp_path / f"box.{suffix}")
        assert len(box.vertices) == 8, "those of the file"
        atlas = ensure_uvs(box, 128)
        corners = BOX.vertices.astype(np.float32)[BOX.faces]
        np.testing.assert_array_equal(atlas.vertices[atlas.faces], corners)
        flat = np.repeat(BOX.face_normals[:, None], 3, 1)
        np.testing.assert_allclose(atlas.normals[atlas.faces], flat, atol=1e-6)
    ball = trimesh.creation.icosphere(3)
    assert crease_normals(ball) is None
    can = trimesh.creation.cylinder(1.0, 1.0, sections=32)
    normals, which = crease_normals(can) or (None, None)
    assert normals is not None and which is not None
    for face in range(len(can.faces)):
        for vertex, normal in zip(can.vertices[can.faces[face]], normals[which[face]], strict=True):
            cap = abs(can.face_normals[face][2]) > 0.9
            true = np.sign(vertex) * [0, 0, 1] if cap else vertex * [1, 1, 0]
            assert normal @ true > 0.99, "a cap's normals are its axis, a side's point outwards"


def test_read_mesh_keeps_the_normals_of_the_file(tmp_path: Path) -> None:
    BOX.export(tmp_path / "round.glb", include_normals=True)
    mesh = read_mesh(tmp_path / "round.glb")
    assert mesh.corners is None
    np.testing.assert_allclose(mesh.normals, BOX.vertex_normals, atol=1e-6)


def test_ensure_uvs_orients_parts_and_mirrors(tmp_path: Path) -> None:
    scene = trimesh.Scene()
    scene.add_geometry(BOX, node_name="a", transform=trimesh.transformations.translation_matrix([3, 0, 0]))
    scene.add_geometry(trimesh.creation.icosphere(2), node_name="b")
    scene.add_geometry(BOX, node_name="c", transform=np.diag([-1.0, 2, 1, 1]))
    (tmp_path / "a.glb").write_bytes(trimesh.exchange.gltf.export_glb(scene, include_normals=False))
    mesh = read_mesh(tmp_path / "a.glb")
    atlas = ensure_uvs(mesh, 256)
    real = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).face_normals
    facing = (atlas.normals[atlas.faces] * real[:, None]).sum(-1)
    assert facing.min() > 0.95, "outwards, and within a ball's own roundness of each face"


def test_crease_normals_hide_seams_and_double_sides(tmp_path: Path) -> None:
    """Vertices at one position share a normal; the two sides of a sheet do not."""
    ball = trimesh.creation.icosphere(2)
    split = trimesh.Trimesh(
        ball.vertices[ball.faces].reshape(-1, 3), np.arange(ball.faces.size).reshape(-1, 3), process=False
    )
    normals, which = crease_normals(split) or (None, None)
    assert normals is not None and which is not None
    np.testing.assert_allclose(normals[which], ball.vertex_normals[ball.faces], atol=1e-6)
    line = np.linspace(-1, 1, 9)
    x, z = (part.reshape(-1) for part in np.meshgrid(line, line))
    cells = [9 * i + j for i in range(8) for j in range(8)]
    front = np.array([f for a in cells for f in ([a, a + 9, a + 1], [a + 1, a + 9, a + 10])])
    sheet = trimesh.Trimesh(np.stack([x, 0.2 * x**2, z], 1), front, process=False)
    positions, faces = np.concatenate([sheet.vertices] * 2), np.concatenate([front, front[:, ::-1] + 81])
    both = trimesh.Trimesh(positions, faces, process=False)
    normals, which = crease_normals(both) or (None, None)
    assert normals is not None and which is not None
    expected = sheet.vertex_normals[sheet.faces]
    np.testing.assert_allclose(normals[which], np.concatenate([expected, -expected[:, ::-1]]), atol=1e-6)


OBJ = """v 0 0 0
v 1 0 0
v 1 1 0
v 0 1 0
v 2 0 0
v 2 1 0
vt 0.05 0.05
vt 0.4 0.05
vt 0.4 0.4
vt 0.05 0.4
vt 0.55 0.55
vt 0.95 0.55
vt 0.95 0.95
vt 0.55 0.95
vn 0 0 1
vn 0.6 0 0.8
f 1/1/1 2/2/1 3/3/1
f 1/1/1 3/3/1 4/4/1
f 2/5/2 5/6/2 6/7/2
f 2/5/2 6/7/2 3/8/2
"""


def test_read_mesh_splits_the_corners_of_an_obj(tmp_path: Path) -> None:
    """Blender writes a flat-shaded cube like this: one position, three normals."""
    (tmp_path / "a.obj").write_text(OBJ)
    mesh = read_mesh(tmp_path / "a.obj")
    assert mesh.uv is not None and mesh.corners is None
    square = np.array([[0.05, 0.05], [0.4, 0.05], [0.4, 0.4], [0.05, 0.05], [0.4, 0.4], [0.05, 0.4]])
    other = np.array([[0.55, 0.55], [0.95, 0.55], [0.95, 0.95], [0.55, 0.55], [0.95, 0.95], [0.55, 0.95]])
    np.testing.assert_allclose(mesh.uv[mesh.faces].reshape(-1, 2), np.concatenate([square, other]), atol=1e-6)
    sides = np.repeat([[0, 0, 1], [0.6, 0, 0.8]], 6, 0)
    np.testing.assert_allclose(mesh.normals[mesh.faces].reshape(-1, 3), sides, atol=1e-6)
    assert uv_problem(mesh, 128) is None


def test_ensure_uvs_keeps_uvs_at_creases(tmp_path: Path) -> None:
    """The top view of a roof is a valid atlas; its ridge is one line there."""
    positions = np.array([[x, 0.9 - 1.5 * abs(x - 0.5), z] for z in (0.0, 1.0) for x in (0.0, 0.5, 1.0)])
    faces = np.array([[0, 3, 1], [1, 3, 4], [1, 4, 2], [2, 4, 5]])
    uv = 0.05 + 0.9 * positions[:, [0, 2]]
    roof = trimesh.Trimesh(positions, faces, process=False, visual=trimesh.visual.TextureVisuals(uv=uv))
    roof.export(tmp_path / "roof.glb", include_normals=False)
    mesh = read_mesh(tmp_path / "roof.glb")
    assert len(mesh.vertices) == 6 and mesh.corners is not None and mesh.uv is not None
    atlas = ensure_uvs(mesh, 128)
    assert len(atlas.vertices) == 8, "the ridge's two are there for each side"
    np.testing.assert_array_equal(atlas.uv[atlas.faces], mesh.uv[mesh.faces])
    np.testing.assert_array_equal(atlas.vertices[atlas.faces], mesh.vertices[mesh.faces])
    np.testing.assert_allclose(atlas.normals[atlas.faces], roof.face_normals[:, None].repeat(3, 1), atol=1e-6)
