"""Hidden cavities and cracks are filled; everything else stays unchanged."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from dreamfusion3d.cameras.orbit import ORBIT_ELEVATION_DEG
from dreamfusion3d.evaluation.ground_truth import GROUND_TRUTH_BOUND, ground_truth_grid
from dreamfusion3d.mesh.clean import extract_solid
from dreamfusion3d.mesh.quality import mesh_quality
from dreamfusion3d.mesh.space_carving import (
    GAP_RADIUS,
    carving_cameras,
    close_gaps,
    reachable_samples,
    solidify,
    visible_samples,
)
from dreamfusion3d.procedural.categories import CATEGORIES
from dreamfusion3d.procedural.objects import sample_objects
from tests.support.shapes import cup, grid_of, radius, shell, torus

RESOLUTION = 64  # of grid_of
FINE = 128  # as at standard quality


def at(x: float, y: float, z: float) -> tuple[int, int, int]:
    i, j, k = (round((c + 1) / 2 * (RESOLUTION - 1)) for c in (x, y, z))
    return i, j, k


def test_solidify_fills_a_hollow_body():
    grid = grid_of(shell)
    filled = solidify(grid, 0.0)
    center = at(0, 0, 0)
    assert grid[center] < 0 < filled[center]
    # otherwise the hole makes the inside part of the surface
    assert mesh_quality(extract_solid(grid, 0.0)).volume < 0.7
    report = mesh_quality(extract_solid(filled, 0.0))
    assert report.components == 1 and report.genus == 0
    assert report.volume == pytest.approx(4 / 3 * np.pi * 0.6**3, rel=0.03)


def test_solidify_keeps_the_outside():
    grid = grid_of(shell)
    filled = solidify(grid, 0.0)
    r = np.linalg.norm(np.stack(np.meshgrid(*[np.linspace(-1, 1, RESOLUTION)] * 3, indexing="ij")), axis=0)
    y = np.linspace(-1, 1, RESOLUTION)[None, :, None]
    outside = (r > 0.6) & (y > -0.4)
    assert np.array_equal(filled[outside], grid[outside])
    assert (filled >= grid).all() and np.array_equal(filled[grid > 0], grid[grid > 0])


def test_solidify_keeps_the_cavity_of_a_cup():
    filled = solidify(grid_of(cup), 0.0)
    assert filled[at(0, 0.3, 0)] < 0 and filled[at(0, 0, 0)] < 0 and filled[at(0, -0.2, 0)] < 0
    assert filled[at(0, -0.36, 0)] > 0
    before, after = (mesh_quality(extract_solid(g, 0.0)) for g in (grid_of(cup), filled))
    assert after.genus == 0 and after.volume == pytest.approx(before.volume, rel=0.03)


def jug(neck: float):
    """A hollow ball with an open neck of the given inner radius at the top."""

    def at_points(p: np.ndarray) -> np.ndarray:
        around = np.hypot(p[:, 0], p[:, 2])
        body = np.minimum(radius(p) - 0.6, np.maximum(around - neck - 0.1, np.abs(p[:, 1] - 0.6) - 0.2))
        cavity = np.minimum(radius(p) - 0.5, np.maximum(around - neck, -p[:, 1]))
        return np.maximum(body, -cavity)

    return at_points


@pytest.mark.parametrize("upright", [True, False])
def test_solidify_keeps_a_jug_empty_unless_it_opens_below(upright):
    """Cameras cannot see all of the belly through the opening."""
    flip = np.array([1, 1 if upright else -1, 1])
    grid = grid_of(lambda p: jug(0.12)(p * flip))
    shoulder, filled = at(0.38, 0.1 * flip[1], 0), solidify(grid, 0.0)
    assert grid[shoulder] < 0 and (filled[shoulder] < 0) == upright
    report = mesh_quality(extract_solid(filled, 0.0))
    assert report.genus == 0 and report.components == 1
    if upright:
        assert report.volume == pytest.approx(mesh_quality(extract_solid(grid, 0.0)).volume, rel=0.05)


def test_reachable_samples_are_covered_by_a_ball():
    """Two rooms and a corridor: reached from the visible corner of the first room, but not from below."""
    inside = np.ones((20, 20, 20), bool)
    inside[2:9, 2:18, 2:9] = inside[2:9, 2:18, 11:18] = False
    visible = np.zeros_like(inside)
    visible[3:6, 10:18, 3:6] = True
    separate = reachable_samples(inside, visible, 2.0)
    assert separate[3:8, 6:16, 3:8].all() and not separate[:, :, 11:].any()
    inside[3:8, 4:10, 9:11] = False
    joined = reachable_samples(inside, visible, 1.5)
    assert joined[3:8, 4:16, 12:17].all() and not joined[inside].any()
    inside[3:8, :4, 12:17] = False  # open below, and nothing of it is visible
    below = reachable_samples(inside, visible & False, 1.5)
    assert not below.any()


def test_solidify_keeps_the_hole_of_a_torus():
    grid = grid_of(torus)
    filled = solidify(grid, 0.0)
    report = mesh_quality(extract_solid(filled, 0.0))
    assert report.genus == 1 and report.components == 1
    assert report.volume == pytest.approx(mesh_quality(extract_solid(grid, 0.0)).volume, rel=0.02)


def test_visible_samples_exclude_sealed_bubbles():
    grid = grid_of(lambda p: np.maximum(radius(p) - 0.6, 0.3 - radius(p)))
    visible = visible_samples(grid, 0.0, 1.0, carving_cameras())
    empty = grid <= 0
    assert not visible[at(0, 0, 0)]
    labels, count = ndimage.label(empty)
    assert count == 2
    outside = labels == labels[0, 0, 0]
    # only the free space directly below a ball is hidden
    assert visible[outside].mean() > 0.98 and not visible[empty & ~outside].any()


def test_solidify_keeps_an_empty_grid():
    grid = np.full((16, 16, 16), -1.0, np.float32)
    assert np.array_equal(solidify(grid, 0.0), grid)


def test_carving_cameras_cover_the_training_elevations():
    cameras = carving_cameras()
    assert len(set(cameras.azimuth_deg.tolist())) == len(cameras)
    assert cameras.elevation_deg.min() == 0 and cameras.elevation_deg.max() >= ORBIT_ELEVATION_DEG[1]


def cracked(width: float):
    """A cup whose wall has an upright slit on one side."""

    def at_points(p: np.ndarray) -> np.ndarray:
        slit = np.maximum(np.abs(p[:, 2]) - width / 2, np.maximum(-p[:, 0], np.abs(p[:, 1]) - 0.15))
        return np.maximum(cup(p), -slit)

    return at_points


def test_close_gaps_closes_a_crack_and_keeps_a_hole():
    for width, genus in ((GAP_RADIUS, 0), (2 * GAP_RADIUS + 0.12, 1)):
        grid = grid_of(cracked(width), FINE)
        assert mesh_quality(extract_solid(grid, 0.0)).genus == 1
        closed = close_gaps(grid, 0.0)
        assert mesh_quality(extract_solid(closed, 0.0)).genus == genus
        assert (closed >= grid).all() and np.array_equal(closed[grid > 0], grid[grid > 0])
    middle, above = FINE // 2, round(1.1 / 2 * (FINE - 1))
    assert closed[middle, above, middle] < 0  # the cavity


def test_close_gaps_matches_binary_closing():
    rough = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(24, 24, 24)), 1.5)
    rough[0, 0, 0] = 1.0  # nothing wraps around or is filled from outside at the border
    voxels = 2.5
    closed = close_gaps(rough, 0.05, bound=23 / 2, radius=voxels)  # one voxel per unit
    reach = np.indices((5, 5, 5)) - 2
    ball = (reach**2).sum(0) <= voxels**2
    twin = ndimage.binary_closing(np.pad(rough > 0.05, 6), ball)[6:-6, 6:-6, 6:-6]
    assert (twin != (rough > 0.05)).sum() > 100
    assert np.array_equal(closed > 0.05, twin)


@pytest.mark.parametrize(("category", "handles"), [("teapot", 1), ("vase", 2), ("chair", 0)])
def test_solidify_keeps_the_topology_of_objects(category, handles):
    style = CATEGORIES[category].style_names[0]
    objects = sample_objects(category, handles, "small", 2, style=style, generator=torch.Generator().manual_seed(3))
    for i in range(2):
        solid = solidify(ground_truth_grid(objects, i, 96), 0.0, GROUND_TRUTH_BOUND)
        assert mesh_quality(extract_solid(solid, 0.0, GROUND_TRUTH_BOUND)).genus == objects.category.expected_genus(
            handles
        )
