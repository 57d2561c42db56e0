"""What no camera sees and no ball fits into is filled; the rest is kept as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from dreamfusion3d.cameras.orbit import ORBIT_ELEVATION_DEG
from dreamfusion3d.evaluation.ground_truth import TRUE_GRID_BOUND, ground_truth_grid
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
from dreamfusion3d.procedural.objects import sample_objects
from tests.support.shapes import grid_of, torus

RESOLUTION = 64  # of grid_of
FINE = 128  # as many as an asset of standard quality has


def radius(p: np.ndarray) -> np.ndarray:
    return np.linalg.norm(p, axis=1)


def shell(p: np.ndarray) -> np.ndarray:
    """A hollow sphere with a narrow hole at the bottom, where no camera looks."""
    wall = np.maximum(radius(p) - 0.6, 0.45 - radius(p))
    hole = np.where(p[:, 1] < 0, np.hypot(p[:, 0], p[:, 2]) - 0.1, 1.0)
    return np.maximum(wall, -hole)


def cup(p: np.ndarray) -> np.ndarray:
    """An upright open cylinder with a floor."""
    r = np.hypot(p[:, 0], p[:, 2])
    solid = np.maximum(r - 0.45, np.abs(p[:, 1]) - 0.4)
    cavity = np.maximum(r - 0.35, -0.3 - p[:, 1])
    return np.maximum(solid, -cavity)


def at(x: float, y: float, z: float) -> tuple[int, int, int]:
    i, j, k = (round((c + 1) / 2 * (RESOLUTION - 1)) for c in (x, y, z))
    return i, j, k


def test_a_hollow_body_becomes_solid():
    grid = grid_of(shell)
    filled = solidify(grid, 0.0)
    centre = at(0, 0, 0)
    assert grid[centre] < 0 < filled[centre]
    # without it the hole makes the inside a part of the surface
    assert mesh_quality(extract_solid(grid, 0.0)).volume < 0.7
    report = mesh_quality(extract_solid(filled, 0.0))
    assert report.components == 1 and report.genus == 0
    assert report.volume == pytest.approx(4 / 3 * np.pi * 0.6**3, rel=0.03)


def test_the_outside_is_kept_to_the_sample():
    grid = grid_of(shell)
    filled = solidify(grid, 0.0)
    r = np.linalg.norm(np.stack(np.meshgrid(*[np.linspace(-1, 1, RESOLUTION)] * 3, indexing="ij")), axis=0)
    y = np.linspace(-1, 1, RESOLUTION)[None, :, None]
    outside = (r > 0.6) & (y > -0.4)
    assert np.array_equal(filled[outside], grid[outside])
    assert (filled >= grid).all() and np.array_equal(filled[grid > 0], grid[grid > 0])


def test_an_open_cup_keeps_its_cavity():
    filled = solidify(grid_of(cup), 0.0)
    assert filled[at(0, 0.3, 0)] < 0 and filled[at(0, 0, 0)] < 0 and filled[at(0, -0.2, 0)] < 0
    assert filled[at(0, -0.36, 0)] > 0
    before, after = (mesh_quality(extract_solid(g, 0.0)) for g in (grid_of(cup), filled))
    assert after.genus == 0 and after.volume == pytest.approx(before.volume, rel=0.03)


def jug(neck: float):
    """A hollow ball, open at the top by a neck of that inner radius."""

    def at_points(p: np.ndarray) -> np.ndarray:
        around = np.hypot(p[:, 0], p[:, 2])
        body = np.minimum(radius(p) - 0.6, np.maximum(around - neck - 0.1, np.abs(p[:, 1] - 0.6) - 0.2))
        cavity = np.minimum(radius(p) - 0.5, np.maximum(around - neck, -p[:, 1]))
        return np.maximum(body, -cavity)

    return at_points


@pytest.mark.parametrize("upright", [True, False])
def test_a_jug_is_empty_behind_its_neck_and_not_from_below(upright):
    """Its belly lies beside what any camera sees through the mouth."""
    way = np.array([1, 1 if upright else -1, 1])
    grid = grid_of(lambda p: jug(0.12)(p * way))
    shoulder, filled = at(0.38, 0.1 * way[1], 0), solidify(grid, 0.0)
    assert grid[shoulder] < 0 and (filled[shoulder] < 0) == upright
    report = mesh_quality(extract_solid(filled, 0.0))
    assert report.genus == 0 and report.components == 1
    if upright:
        assert report.volume == pytest.approx(mesh_quality(extract_solid(grid, 0.0)).volume, rel=0.05)


def test_what_is_reached_is_what_a_ball_covers():
    """Two rooms and a corridor, from the first room's seen corner; and none from below."""
    inside = np.ones((20, 20, 20), bool)
    inside[2:9, 2:18, 2:9] = inside[2:9, 2:18, 11:18] = False
    seen = np.zeros_like(inside)
    seen[3:6, 10:18, 3:6] = True
    apart = reachable_samples(inside, seen, 2.0)
    assert apart[3:8, 6:16, 3:8].all() and not apart[:, :, 11:].any()
    inside[3:8, 4:10, 9:11] = False
    joined = reachable_samples(inside, seen, 1.5)
    assert joined[3:8, 4:16, 12:17].all() and not joined[inside].any()
    inside[3:8, :4, 12:17] = False  # open below, and nothing of it seen
    below = reachable_samples(inside, seen & False, 1.5)
    assert not below.any()


def test_a_torus_keeps_its_hole():
    grid = grid_of(torus)
    filled = solidify(grid, 0.0)
    report = mesh_quality(extract_solid(filled, 0.0))
    assert report.genus == 1 and report.components == 1
    assert report.volume == pytest.approx(mesh_quality(extract_solid(grid, 0.0)).volume, rel=0.02)


def test_sealed_bubbles_are_not_seen():
    grid = grid_of(lambda p: np.maximum(radius(p) - 0.6, 0.3 - radius(p)))
    seen = visible_samples(grid, 0.0, 1.0, carving_cameras())
    empty = grid <= 0
    assert not seen[at(0, 0, 0)]
    labels, count = ndimage.label(empty)
    assert count == 2
    outside = labels == labels[0, 0, 0]
    # of the free space around a ball only what lies right below it is hidden
    assert seen[outside].mean() > 0.98 and not seen[empty & ~outside].any()


def test_emptiness_stays_empty():
    grid = np.full((16, 16, 16), -1.0, np.float32)
    assert np.array_equal(solidify(grid, 0.0), grid)


def test_cameras_look_from_everywhere_the_optimisation_does():
    cameras = carving_cameras()
    assert len(set(cameras.azimuth_deg.tolist())) == len(cameras)
    assert cameras.elevation_deg.min() == 0 and cameras.elevation_deg.max() >= ORBIT_ELEVATION_DEG[1]


def cracked(width: float):
    """A cup whose wall has an upright slit on one side."""

    def at_points(p: np.ndarray) -> np.ndarray:
        slit = np.maximum(np.abs(p[:, 2]) - width / 2, np.maximum(-p[:, 0], np.abs(p[:, 1]) - 0.15))
        return np.maximum(cup(p), -slit)

    return at_points


def test_a_crack_through_a_wall_is_closed_and_a_hole_is_not():
    for width, genus in ((GAP_RADIUS, 0), (2 * GAP_RADIUS + 0.12, 1)):
        grid = grid_of(cracked(width), FINE)
        assert mesh_quality(extract_solid(grid, 0.0)).genus == 1
        closed = close_gaps(grid, 0.0)
        assert mesh_quality(extract_solid(closed, 0.0)).genus == genus
        assert (closed >= grid).all() and np.array_equal(closed[grid > 0], grid[grid > 0])
    middle, above = FINE // 2, round(1.1 / 2 * (FINE - 1))
    assert closed[middle, above, middle] < 0  # the cavity


def test_closing_is_a_dilation_and_an_erosion_by_a_ball():
    rough = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(24, 24, 24)), 1.5)
    rough[0, 0, 0] = 1.0  # at the border nothing wraps around or is filled from outside
    voxels = 2.5
    closed = close_gaps(rough, 0.05, bound=23 / 2, radius=voxels)  # a voxel a unit
    reach = np.indices((5, 5, 5)) - 2
    ball = (reach**2).sum(0) <= voxels**2
    twin = ndimage.binary_closing(np.pad(rough > 0.05, 6), ball)[6:-6, 6:-6, 6:-6]
    assert (twin != (rough > 0.05)).sum() > 100
    assert np.array_equal(closed > 0.05, twin)


@pytest.mark.parametrize(("kind", "handles"), [("teapot", 1), ("vase", 2), ("chair", 0)])
def test_closing_and_carving_keep_the_topology_of_true_props(kind, handles):
    props = sample_objects(kind, handles, "small", 2, generator=torch.Generator().manual_seed(3))
    for i in range(2):
        solid = solidify(ground_truth_grid(props, i, 96), 0.0, TRUE_GRID_BOUND)
        assert mesh_quality(extract_solid(solid, 0.0, TRUE_GRID_BOUND)).genus == props.category.expected_genus(handles)
