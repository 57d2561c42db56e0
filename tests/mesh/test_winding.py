"""Generalized winding numbers: laws, and the plain sum over all faces."""

from __future__ import annotations

import numpy as np
import trimesh

from dreamfusion3d.core.types import Mesh
from dreamfusion3d.mesh.winding import winding_numbers


def plain_winding_numbers(mesh: Mesh, points: np.ndarray) -> np.ndarray:
    """The sum of all solid angles."""
    a, b, c = (mesh.vertices[mesh.faces[:, k]] - points[:, None] for k in range(3))
    la, lb, lc = (np.linalg.norm(x, axis=-1) for x in (a, b, c))
    dot = [(x * y).sum(-1) for x, y in ((a, b), (b, c), (c, a))]
    volume = (a * np.cross(b, c)).sum(-1)
    return 2 * np.arctan2(volume, la * lb * lc + dot[0] * lc + dot[1] * la + dot[2] * lb).sum(1) / (4 * np.pi)


def sphere() -> Mesh:
    mesh = trimesh.creation.icosphere(3)
    return Mesh(np.asarray(mesh.vertices), np.asarray(mesh.faces))


def random_points(count: int = 400) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1.5, 1.5, (count, 3))


def test_a_closed_mesh_winds_once_around_its_inside():
    points = random_points()
    radius = np.linalg.norm(points, axis=1)
    numbers = winding_numbers(sphere(), points)
    assert abs(numbers[radius < 0.95] - 1).max() < 0.05 and abs(numbers[radius > 1.05]).max() < 0.05


def test_the_hierarchy_agrees_with_the_plain_sum():
    mesh = sphere()
    for part in (mesh, Mesh(mesh.vertices, mesh.faces[:700]), Mesh(mesh.vertices, mesh.faces[:1])):
        points = random_points()
        np.testing.assert_allclose(winding_numbers(part, points), plain_winding_numbers(part, points), atol=0.03)


def test_overlapping_solids_add_up_and_reversed_faces_count_backwards():
    mesh = sphere()
    center = np.zeros((1, 3))
    twice = Mesh(mesh.vertices, np.concatenate([mesh.faces, mesh.faces]))
    backwards = Mesh(mesh.vertices, mesh.faces[:, ::-1])
    assert round(float(winding_numbers(twice, center)[0]), 1) == 2
    assert round(float(winding_numbers(backwards, center)[0]), 1) == -1


def test_nothing_winds_around_nothing():
    assert winding_numbers(Mesh(np.zeros((0, 3)), np.zeros((0, 3), int)), random_points(5)).tolist() == [0] * 5
