"""Marching cubes, the choice of the level, and the cleaning of the grid."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from dreamfusion3d.cameras.orbit import orbit_cameras
from dreamfusion3d.core.errors import EmptyFieldError, InputError
from dreamfusion3d.mesh.clean import clean_grid, extract_solid, smooth_grid
from dreamfusion3d.mesh.isolevel import choose_isolevel
from dreamfusion3d.mesh.isosurface import log_ratio, marching_cubes, sample_grid
from dreamfusion3d.mesh.quality import mesh_quality
from dreamfusion3d.rendering.mesh_renderer import render_silhouettes
from tests.support.shapes import GENUS, grid_of, sphere, torus


def cameras(size: int = 64):
    return orbit_cameras(
        [15.0 * i for i in range(24)], [(-10.0, 15.0, 40.0)[i % 3] for i in range(24)], height=size, width=size
    )


def soft_density(p: np.ndarray) -> np.ndarray:
    """A field's sphere of radius 0.6: exponential in the distance, 10 at the surface, at most 1000."""
    return np.minimum(10 * np.exp(-sphere(p) / 0.02), 1000).astype(np.float32)


@pytest.mark.parametrize("shape", GENUS)
def test_extract_solid_keeps_topology(shape):
    report = mesh_quality(extract_solid(grid_of(shape), 0.0))
    assert report.watertight and report.manifold
    assert report.components == 1
    assert report.genus == GENUS[shape]
    assert report.euler_number == 2 - 2 * GENUS[shape]
    assert report.volume > 0
    assert report.degenerate_faces == 0


@pytest.mark.parametrize("sign", [1, -1])
def test_marching_cubes_radius_and_winding(sign):
    grid = sign * grid_of(sphere)
    mesh = marching_cubes(grid, 0.0) if sign == 1 else marching_cubes(-grid, 0.0)
    voxel = 2 / 63
    assert np.abs(np.linalg.norm(mesh.vertices, axis=1) - 0.6).max() < 0.1 * voxel
    assert mesh_quality(mesh).volume == pytest.approx(4 / 3 * np.pi * 0.6**3, rel=0.01)


def test_marching_cubes_scales_with_bound():
    grid = sample_grid(lambda p: -sphere(p, 1.2), 64, bound=2.0)
    mesh = marching_cubes(grid, 0.0, bound=2.0)
    assert np.linalg.norm(mesh.vertices, axis=1).mean() == pytest.approx(1.2, abs=0.01)


def test_extract_solid_closes_at_the_bound():
    report = mesh_quality(extract_solid(grid_of(lambda p: sphere(p, 1.2)), 0.0))
    assert report.watertight and report.genus == 0
    assert np.abs(report.bounds).max() <= 1 + 2 / 63


def test_extract_solid_removes_floaters_and_voids():
    def dirty(p):
        shell = np.maximum(sphere(p), -sphere(p, 0.3))
        return np.minimum(shell, sphere(p, 0.1, (0.85, 0.85, 0.85)))

    assert mesh_quality(marching_cubes(grid_of(dirty), 0.0)).components == 3
    mesh = extract_solid(grid_of(dirty), 0.0)
    report = mesh_quality(mesh)
    assert (report.components, report.euler_number) == (1, 2)
    clean = extract_solid(grid_of(sphere), 0.0)
    # what stays keeps its sub-voxel surface, to the bit
    np.testing.assert_array_equal(np.unique(mesh.vertices, axis=0), np.unique(clean.vertices, axis=0))


@pytest.mark.parametrize("seed", range(3))
def test_clean_grid_makes_any_grid_a_manifold(seed):
    """White noise holds every ambiguous case of marching cubes."""
    noise = np.random.default_rng(seed).normal(size=(24, 24, 24)).astype(np.float32)
    report = mesh_quality(marching_cubes(clean_grid(noise, 0.1), 0.1))
    assert report.watertight and report.manifold
    assert report.components == 1 and report.volume > 0


def test_choose_isolevel_of_a_known_field():
    grid = sample_grid(soft_density, 96)
    truth = render_silhouettes(extract_solid(grid_of(sphere, 96), 0.0), cameras())
    choice = choose_isolevel(grid, cameras(), truth.astype(np.float32))
    assert choice.iou > 0.97
    mesh = extract_solid(log_ratio(grid, choice.level), 0.0)
    assert np.linalg.norm(mesh.vertices, axis=1).mean() == pytest.approx(0.6, abs=2 / 95)
    assert choice.level in [level for level, _ in choice.candidates]


def test_choose_isolevel_matches_rendered_silhouettes():
    """The shortcut against its obvious twin: mesh each level, draw it, compare."""
    grid, views = sample_grid(soft_density, 64), cameras(48)
    opacity = render_silhouettes(marching_cubes(grid, 100.0), views)
    choice = choose_isolevel(grid, views, opacity.astype(np.float32))
    drawn = render_silhouettes(marching_cubes(grid, choice.level), views)
    assert (drawn & opacity).sum() / (drawn | opacity).sum() > 0.97


@pytest.mark.parametrize("value", [0.0, 5.0])
def test_choose_isolevel_and_clean_grid_reject_a_transparent_field(value):
    views = cameras(16)
    grid = np.full((16, 16, 16), value, np.float32)
    with pytest.raises(EmptyFieldError, match="run again"):
        choose_isolevel(grid, views, np.zeros((24, 16, 16), np.float32))
    with pytest.raises(EmptyFieldError, match="run again"):
        clean_grid(grid, 10.0)


def test_choose_isolevel_rejects_zero_density():
    with pytest.raises(EmptyFieldError, match="zero"):
        choose_isolevel(np.zeros((16, 16, 16), np.float32), cameras(16), np.ones((24, 16, 16), np.float32))


def test_sample_grid_rejects_values_that_are_not_finite():
    with pytest.raises(InputError, match="not finite"):
        sample_grid(lambda p: np.full(len(p), np.nan, np.float32), 8)


def test_log_ratio_keeps_the_surface_and_removes_steps():
    grid = sample_grid(soft_density, 64)
    logs = log_ratio(grid, 10.0)
    np.testing.assert_array_equal(logs > 0, grid > 10.0)
    radius = np.linalg.norm(marching_cubes(smooth_grid(logs, 0.0), 0.0).vertices, axis=1)
    assert radius.mean() == pytest.approx(0.6, abs=0.01)
    assert radius.std() < 0.002
    # the same surface without the logarithm is a staircase
    raw = np.linalg.norm(marching_cubes(grid, 10.0).vertices, axis=1)
    assert raw.std() > 2 * radius.std()


def test_extract_solid_is_deterministic():
    noisy = grid_of(torus) + 0.05 * ndimage.gaussian_filter(
        np.random.default_rng(0).normal(size=(64, 64, 64)).astype(np.float32), 1
    )
    one, two = extract_solid(noisy, 0.0), extract_solid(noisy.copy(), 0.0)
    assert one.vertices.tobytes() == two.vertices.tobytes()
    assert one.faces.tobytes() == two.faces.tobytes()
