"""Voxel grids of meshes and of ground-truth objects."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dreamfusion3d.evaluation.ground_truth import (
    GROUND_TRUTH_BOUND,
    colored_ground_truth_mesh,
    ground_truth_grid,
    ground_truth_voxels,
)
from dreamfusion3d.evaluation.voxels import FRAME_HALF_EXTENT, normalize_mesh, solid_voxels, voxel_centers, voxel_iou
from dreamfusion3d.procedural.objects import ObjectSpec, sample_objects_for_spec
from tests.support.shapes import mesh_of, sphere, torus


@pytest.mark.parametrize("shape", [lambda p: sphere(p, 0.6), torus])
def test_solid_voxels_are_the_inside_of_the_mesh(shape):
    mesh = mesh_of(shape, 80, 20_000)
    line = voxel_centers(32)
    scale = np.ptp(mesh.vertices, axis=0).max() / (2 * FRAME_HALF_EXTENT)
    center = (mesh.vertices.min(0) + mesh.vertices.max(0)) / 2
    grid = np.stack(np.meshgrid(line, line, line, indexing="ij"), -1).reshape(-1, 3) * scale + center
    inside = (shape(grid) < 0).reshape(32, 32, 32)
    # a voxel within a cell of the surface may fall either way
    assert np.count_nonzero(solid_voxels(normalize_mesh(mesh), 32) != inside) < 0.02 * inside.sum()


def test_voxel_iou():
    a, b = np.zeros((2, 2, 2), bool), np.zeros((2, 2, 2), bool)
    assert voxel_iou(a, b) == 0
    a[0] = b[:, 0] = True
    assert voxel_iou(a, b) == pytest.approx(2 / 6) and voxel_iou(a, a) == 1


def test_ground_truth_voxels_match_those_of_the_mesh():
    objects = sample_objects_for_spec(ObjectSpec("mug", count=1), 1, generator=torch.Generator().manual_seed(0))
    from_mesh = solid_voxels(normalize_mesh(colored_ground_truth_mesh(objects, 0, ObjectSpec("mug", count=1))))
    assert voxel_iou(from_mesh, ground_truth_voxels(objects, 0)) > 0.8, "walls are three voxels thick"


@pytest.mark.parametrize(("category", "count"), [("chair", 4), ("cactus", 0)])
def test_ground_truth_grid_equals_the_distance_near_the_surface(category: str, count: int):
    """Every sample is queried the slow way; the fast grid skips blocks far from the surface."""
    spec, size = ObjectSpec(category, count=count), 54
    objects = sample_objects_for_spec(spec, 1, generator=torch.Generator().manual_seed(0))
    line = torch.linspace(-GROUND_TRUTH_BOUND, GROUND_TRUTH_BOUND, size)
    points = torch.cartesian_prod(line, line, line)
    expected = -objects.distance(points, torch.zeros(len(points), dtype=torch.int64)).view((size,) * 3).numpy()
    grid = ground_truth_grid(objects, 0, size)
    near = np.abs(expected) < 2 * float(line[1] - line[0])
    np.testing.assert_array_equal(grid > 0, expected > 0)
    np.testing.assert_allclose(grid[near], expected[near], atol=1e-6)
    assert np.count_nonzero(grid != expected) > 0.3 * grid.size
