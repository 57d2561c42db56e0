"""BVH queries and self-intersections against brute force over all triangles."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from dreamfusion3d.core.types import Mesh
from dreamfusion3d.mesh.bvh import build_bvh, closest_points, intersect_lines, occluded_fraction
from dreamfusion3d.mesh.clean import extract_solid
from dreamfusion3d.mesh.intersections import self_intersections
from tests.support.shapes import grid_of, sphere, torus


@pytest.fixture(scope="module")
def ring() -> Mesh:
    return extract_solid(grid_of(torus, 20), 0.0)


def at(mesh: Mesh, hits, rows) -> np.ndarray:
    return np.einsum("nk,nkc->nc", hits.weights[rows], mesh.vertices[mesh.faces[hits.face[rows]]])


def test_closest_points_match_brute_force(ring):
    points = np.random.default_rng(0).uniform(-1, 1, (60, 3))
    hits = closest_points(build_bvh(ring), points)
    corners = ring.vertices[ring.faces]
    for n, point in enumerate(points):
        closest = trimesh.triangles.closest_point(corners, np.tile(point, (len(corners), 1)))
        assert hits.distance[n] == pytest.approx(np.linalg.norm(closest - point, axis=1).min(), abs=1e-12)
    np.testing.assert_allclose(np.linalg.norm(at(ring, hits, slice(None)) - points, axis=1), hits.distance)


def test_intersect_lines_finds_the_nearest_face_along_the_direction(ring):
    rng = np.random.default_rng(1)
    points = rng.uniform(-0.7, 0.7, (200, 3))
    directions = rng.normal(size=(200, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    hits = intersect_lines(build_bvh(ring), points, directions, 0.5)
    a, b, c = np.moveaxis(ring.vertices[ring.faces], 1, 0)
    normal = np.cross(b - a, c - a)
    assert 20 < (hits.face >= 0).sum() < 200
    for n, (p, d) in enumerate(zip(points, directions, strict=True)):
        with np.errstate(divide="ignore", invalid="ignore"):
            along = ((a - p) * normal).sum(1) / (normal @ d)
        x = p + along[:, None] * d
        sides = [(np.cross(v - u, x - u) * normal).sum(1) for u, v in ((a, b), (b, c), (c, a))]
        good = (np.minimum.reduce(sides) >= 0) & (normal @ d > 0) & (np.abs(along) < 0.5)
        if good.any():
            assert abs(hits.distance[n]) == pytest.approx(np.abs(along[good]).min(), abs=1e-9)
        else:
            assert hits.face[n] == -1
    found = np.flatnonzero(hits.face >= 0)
    expected = points[found] + hits.distance[found, None] * directions[found]
    np.testing.assert_allclose(at(ring, hits, found), expected, atol=1e-9)


def test_occluded_fraction_of_a_wall_is_half():
    wall = Mesh(np.array([[0.1, -50, -50], [0.1, 50, -50], [0.1, 0, 80.0]]), np.array([[0, 1, 2]]))
    spread = np.random.default_rng(2).normal(size=(4000, 3))
    spread[:, 2] = np.abs(spread[:, 2])
    spread /= np.linalg.norm(spread, axis=1, keepdims=True)
    up = np.array([[0.0, 0, 1], [1, 0, 0], [-1, 0, 0]])
    fraction = occluded_fraction(build_bvh(wall), np.zeros((3, 3)), up, spread, 10.0)
    assert fraction[0] == pytest.approx(0.5, abs=0.03)  # beside the wall, towards its end
    assert fraction[1] > 0.95 and fraction[2] == 0


def joined(*meshes: Mesh) -> Mesh:
    starts = np.cumsum([0, *(len(m.vertices) for m in meshes)])
    return Mesh(
        np.concatenate([m.vertices for m in meshes]),
        np.concatenate([m.faces + s for m, s in zip(meshes, starts, strict=False)]),
    )


def pierced(mesh: Mesh, i: int, j: int) -> bool:
    """Brute force: solve for the intersection of each edge with the other triangle."""
    for one, two in ((i, j), (j, i)):
        t = mesh.vertices[mesh.faces[one]]
        for k in range(3):
            p, q = mesh.vertices[mesh.faces[two][[k, (k + 1) % 3]]]
            m = np.stack([t[1] - t[0], t[2] - t[0], p - q], axis=1)
            if abs(np.linalg.det(m)) < 1e-18:
                continue
            u, v, w = np.linalg.solve(m, p - t[0])
            if min(u, v, 1 - u - v, w, 1 - w) > 1e-9:
                return True
    return False


def test_self_intersections_match_brute_force():
    ball = extract_solid(grid_of(lambda p: sphere(p, 0.5), 9), 0.0)
    two = joined(ball, Mesh(ball.vertices + (0.31, 0.17, 0.08), ball.faces))
    boxes = np.stack([two.vertices[two.faces].min(1), two.vertices[two.faces].max(1)])
    expected = [
        (i, j)
        for i in range(len(two.faces))
        for j in range(i + 1, len(two.faces))
        if not ((boxes[0][i] > boxes[1][j]) | (boxes[0][j] > boxes[1][i])).any()
        and len({*two.faces[i]} & {*two.faces[j]}) < 2
        and pierced(two, i, j)
    ]
    assert len(expected) > 20
    np.testing.assert_array_equal(self_intersections(two), expected)
    assert len(self_intersections(ball)) == 0


def test_self_intersections_include_faces_with_a_common_vertex():
    v = np.array([[0, 0, 0], [2, 0, 0], [0, 2, 0], [1, 0.5, 1], [0.5, 0.5, -1]], float)
    assert self_intersections(Mesh(v, np.array([[0, 1, 2], [0, 3, 4]]))).tolist() == [[0, 1]]
    assert len(self_intersections(Mesh(v, np.array([[0, 1, 2], [0, 1, 3]])))) == 0
    assert self_intersections(Mesh(np.zeros((0, 3)), np.zeros((0, 3), np.int64))).shape == (0, 2)
