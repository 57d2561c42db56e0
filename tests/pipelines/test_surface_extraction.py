"""extract_surface: difficult fields give a closed mesh or a clear error; grids are refined near the surface."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dreamfusion3d.core.errors import EmptyFieldError, InputError
from dreamfusion3d.core.types import Mesh
from dreamfusion3d.mesh.clean import extract_solid
from dreamfusion3d.mesh.isosurface import log_ratio, sample_grid
from dreamfusion3d.mesh.quality import mesh_quality
from dreamfusion3d.mesh.refine import refine_grid
from dreamfusion3d.mesh.simplify import simplify, taubin_smooth
from dreamfusion3d.mesh.space_carving import dilate_ball, solidify
from dreamfusion3d.pipelines.surface_extraction import extract_surface, mesh_silhouette_iou
from tests.support.shapes import cup, grid_of, shell, sphere, torus

pytestmark = pytest.mark.usefixtures("small_renders")


def gray_field(density):
    """A gray field with a density of (n, 3) tensors."""
    return SimpleNamespace(density=density, albedo=lambda x: torch.full_like(x, 0.5))


def noise(x):
    """White noise that is a function of the place."""
    return 40 * ((torch.sin(x @ x.new_tensor([127.1, 311.7, 74.7])) * 43758.5453) % 1) ** 4


def soft(distance):
    return torch.clamp(10 * torch.exp(-distance / 0.03), max=500)


DIFFICULT_DENSITIES = {
    "noise": noise,
    "plane": lambda x: soft(x[:, 1] + 0.1 * x[:, 0]),
    "two bodies": lambda x: soft(
        torch.minimum((x - x.new_tensor([0.45, 0, 0])).norm(dim=1), (x + x.new_tensor([0.45, 0, 0])).norm(dim=1)) - 0.3
    ),
    "thin shell": lambda x: soft((x.norm(dim=1) - 0.6).abs() - 1 / 47),
    "solid cube": lambda x: torch.full_like(x[:, 0], 300.0),
    "small ball": lambda x: soft(x.norm(dim=1) - 0.05),
}


@pytest.mark.parametrize("name", DIFFICULT_DENSITIES)
def test_extract_surface_of_difficult_fields_is_closed(name):
    surface = extract_surface(gray_field(DIFFICULT_DENSITIES[name]), 48, torch.Generator().manual_seed(0))
    smoothed = taubin_smooth(Mesh(surface.vertices, surface.faces))
    for mesh in (Mesh(surface.vertices, surface.faces), smoothed, simplify(smoothed, 400)):
        report = mesh_quality(mesh)
        assert report.watertight and report.manifold and report.components == 1
        assert report.volume > 0
        assert np.abs(report.bounds).max() < 1 + 3 / 47
    assert 0 <= mesh_silhouette_iou(smoothed, surface.opacity) <= 1
    if name == "thin shell":
        # the inside is invisible, so the ball is solid; the shell alone would have half of this volume
        assert 4 / 3 * np.pi * 0.6**3 < report.volume < 4 / 3 * np.pi * 0.7**3


@pytest.mark.parametrize(
    "density, error, message",
    [
        (lambda x: torch.zeros_like(x[:, 0]), EmptyFieldError, "transparent in every view"),
        (lambda x: torch.full_like(x[:, 0], 1e-4), EmptyFieldError, "transparent in every view"),
        (lambda x: torch.where(x[:, 0] > 0, torch.nan, 1.0), InputError, "not finite"),
        (lambda x: torch.where(x.norm(dim=1) < 0.5, torch.inf, 0.0), InputError, "not finite"),
    ],
    ids=["empty", "faint", "nan", "infinite"],
)
def test_extract_surface_rejects_empty_and_non_finite_fields(density, error, message):
    with pytest.raises(error, match=message):
        extract_surface(gray_field(density), 48, torch.Generator().manual_seed(0))


def test_mesh_silhouette_iou_of_the_extracted_mesh():
    surface = extract_surface(gray_field(lambda x: soft(x.norm(dim=1) - 0.6)), 48, torch.Generator().manual_seed(0))
    whole = Mesh(surface.vertices, surface.faces)
    assert mesh_silhouette_iou(whole, surface.opacity) > 0.93
    assert mesh_silhouette_iou(Mesh(0.5 * whole.vertices, whole.faces), surface.opacity) < 0.4


def pin(p: np.ndarray) -> np.ndarray:
    """A ball with an antenna thinner than a coarse cell."""
    axis = np.maximum(np.hypot(p[:, 0] - 0.013, p[:, 2] - 0.01) - 0.02, np.abs(p[:, 1] - 0.4) - 0.4)
    return np.minimum(sphere(p, 0.4), axis)


@pytest.mark.parametrize("shape", [sphere, torus, pin])
def test_refine_grid_equals_the_full_grid(shape):
    queried = []

    def density(p: np.ndarray) -> np.ndarray:
        queried.append(len(p))
        return np.minimum(10 * np.exp(-shape(p) / 0.02), 1000).astype(np.float32)

    coarse, whole = sample_grid(density, 32), sample_grid(density, 101)
    queried.clear()
    refined = refine_grid(density, coarse, 10.0, 101)
    assert sum(queried) < 0.5 * 101**3
    np.testing.assert_array_equal(log_ratio(refined, 10.0), log_ratio(whole, 10.0))


def test_refine_grid_rejects_non_finite_density():
    coarse = sample_grid(lambda p: np.exp(-sphere(p) / 0.05), 16)
    with pytest.raises(InputError, match="not finite"):
        refine_grid(lambda p: np.full(len(p), np.nan), coarse, 1.0, 40)


@pytest.mark.parametrize("factor", [2, 3])
@pytest.mark.parametrize("shape, genus", [(shell, 0), (cup, 0), (torus, 1)])
def test_solidify_by_blocks_matches_by_samples(shape, genus, factor):
    grid = grid_of(shape, 64)
    exact = mesh_quality(extract_solid(solidify(grid, 0.0), 0.0))
    blocks = solidify(grid, 0.0, carving_resolution=64 // factor)
    assert (blocks >= grid).all() and np.array_equal(blocks[grid > 0], grid[grid > 0])
    report = mesh_quality(extract_solid(blocks, 0.0))
    assert report.genus == exact.genus == genus
    assert report.volume == pytest.approx(exact.volume, rel=0.02)


def test_dilate_ball_matches_the_euclidean_distance_transform():
    from scipy import ndimage

    mask = np.random.default_rng(0).random((20, 23, 17)) < 0.01
    true = ndimage.distance_transform_edt(~mask)
    for voxels in (0.5, 1.0, 2.9, 6.4):
        assert np.array_equal(dilate_ball(mask, voxels), true <= voxels)
    assert not dilate_ball(np.zeros((4, 4, 4), bool), 2.0).any()
