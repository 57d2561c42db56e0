"""Extract the surface of a trained field, at the density level whose silhouettes match the field's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.cameras.orbit import OrbitCameras, orbit_cameras
from dreamfusion3d.core.types import Field, Mesh, SolidField
from dreamfusion3d.mesh.bridge_components import bridge_components
from dreamfusion3d.mesh.clean import extract_solid, smooth_grid
from dreamfusion3d.mesh.isolevel import OPACITY_THRESHOLD, choose_isolevel
from dreamfusion3d.mesh.isosurface import log_ratio, marching_cubes, sample_grid
from dreamfusion3d.mesh.refine import SATURATED, refine_grid
from dreamfusion3d.mesh.space_carving import solidify
from dreamfusion3d.pipelines.feature_vertices import fit_vertices
from dreamfusion3d.rendering.chunked import render_field_chunked
from dreamfusion3d.rendering.mesh_renderer import render_silhouettes
from dreamfusion3d.rendering.occupancy_grid import OccupancyGrid
from dreamfusion3d.rendering.volume import RenderSettings

SILHOUETTE_VIEWS = 24  # their silhouettes decide where the surface is
SILHOUETTE_SIZE = 64  # pixels
COARSE_RESOLUTION = 128  # samples per axis of the grid on which the level is chosen
SOLID_COARSE_RESOLUTION = 48  # samples per axis at which a signed distance is sampled everywhere
SOLID_MIN_FRACTION = 0.002  # of the largest component's samples: a distance has smaller parts, and less noise
DISTANCE_RANGE = 1.8  # a cell that holds a surface is no farther from it, in cells: its diagonal and a margin
SILHOUETTE_GRID_RESOLUTION = 48  # cells per axis of the occupancy grid of the silhouette views


@dataclass(frozen=True)
class ExtractedSurface:
    """The extracted mesh, its level, and the silhouettes that decided it."""

    vertices: np.ndarray
    faces: np.ndarray
    level: np.ndarray
    silhouette_iou: np.ndarray  # between the grid at this level and the field
    opacity: np.ndarray  # of the field, (SILHOUETTE_VIEWS, SILHOUETTE_SIZE, SILHOUETTE_SIZE)


def extract_surface(field: Field, resolution: int, generator: torch.Generator) -> ExtractedSurface:
    """Extract one watertight surface: marching cubes at the level whose silhouettes match the field's.

    Above 128 samples per axis the level is chosen on a grid of 128, and the fine grid queries the field only near its
    surface. A resolution of 512 takes about 3 GB for an object of usual size.

    Args:
        field: Density over [-1, 1]^3.
        resolution: Samples per axis.
        generator: Source of the ray jitter; its device is the field's.

    Returns:
        Vertices in scene units, faces, the density level, and how well its silhouettes match.

    Raises:
        EmptyFieldError: The field is empty.

    Example:
        >>> surface = extract_surface(field, 24, torch.Generator().manual_seed(0))
        >>> surface.vertices.shape[1], bool(surface.level > 0)
        (3, True)
    """
    cameras, opacity = render_field_opacity(field, generator)
    density = as_numpy_function(field.density, generator.device)
    grid = sample_grid(density, min(resolution, COARSE_RESOLUTION))
    coarse_choice = choose_isolevel(grid, cameras, opacity)
    if resolution > COARSE_RESOLUTION:
        grid = refine_grid(density, grid, coarse_choice.level, resolution)
    grid = smooth_grid(log_ratio(grid, coarse_choice.level), 0.0)
    # smoothing thins thin parts; another level makes up for it
    choice = choose_isolevel(np.exp(grid), cameras, opacity)
    grid = bridge_components(grid - np.float32(np.log(choice.level)), 0.0)
    mesh = extract_solid(solidify(grid, 0.0), 0.0)
    level = np.array(coarse_choice.level * choice.level)
    return ExtractedSurface(mesh.vertices, mesh.faces, level, np.array(choice.iou), opacity)


def extract_solid_surface(field: SolidField, resolution: int, device: torch.device) -> ExtractedSurface:
    """Extract the zero level of a signed distance, with its edges (see `fit_vertices`).

    The distance is sampled on a coarse grid, and finely only near the surface.

    Raises:
        EmptyFieldError: The distance is positive everywhere.
    """
    coarse_resolution = min(resolution, SOLID_COARSE_RESOLUTION)
    unit, fine_cell = DISTANCE_RANGE / SATURATED * 2 / (coarse_resolution - 1), 2 / (resolution - 1)

    def density(points: np.ndarray) -> np.ndarray:
        """Grow exponentially with the depth, by e^SATURATED over the range where `refine_grid` looks closer."""
        return np.exp(np.clip(-distance(points) / unit, -8, 8))

    distance = as_numpy_function(field.distance, device)
    grid = sample_grid(density, coarse_resolution)
    if resolution > coarse_resolution:
        grid = refine_grid(density, grid, 1.0, resolution)
    grid = np.log(grid)
    whole = marching_cubes(unit * grid, 0.0)
    # so that no part near the others is lost as a floater
    grid = bridge_components(grid, 0.0, min_fraction=SOLID_MIN_FRACTION)
    extracted = extract_solid(unit * grid, 0.0)
    mesh = fit_vertices(extracted, field.distance, fine_cell, device)
    shown, kept, fitted = (render_silhouettes(m, silhouette_cameras()) for m in (whole, extracted, mesh))
    opacity = (fitted | (shown & ~kept)).astype(np.float32)
    iou = mesh_silhouette_iou(mesh, opacity)
    return ExtractedSurface(mesh.vertices, mesh.faces, np.array(0.0), np.array(iou), opacity)


def mesh_silhouette_iou(mesh: Mesh, opacity: Float[np.ndarray, "v h w"]) -> float:
    """Return the mean IoU between silhouettes of the mesh and the field's ``opacity``, see `render_field_opacity`."""
    field_mask = opacity > OPACITY_THRESHOLD
    mesh_mask = render_silhouettes(mesh, silhouette_cameras())
    union, intersection = (mesh_mask | field_mask).sum((1, 2)), (mesh_mask & field_mask).sum((1, 2))
    return float(np.mean(np.where(union > 0, intersection / np.maximum(union, 1), 1.0)))


def silhouette_cameras() -> OrbitCameras:
    """Return cameras all around the object at three elevations."""
    azimuths = [360.0 * i / SILHOUETTE_VIEWS for i in range(SILHOUETTE_VIEWS)]
    elevations = [(-10.0, 15.0, 40.0)[i % 3] for i in range(SILHOUETTE_VIEWS)]
    return orbit_cameras(azimuths, torch.tensor(elevations), height=SILHOUETTE_SIZE, width=SILHOUETTE_SIZE)


def render_field_opacity(field: Field, generator: torch.Generator) -> tuple[OrbitCameras, Float[np.ndarray, "v h w"]]:
    """Render the field's opacity from the silhouette cameras; return both."""
    cameras = silhouette_cameras()
    # built again, because the grid of the training is not saved with the field
    occupancy = OccupancyGrid.from_field(field.density, SILHOUETTE_GRID_RESOLUTION, generator)
    render, _ = render_field_chunked(
        field,
        cameras.to(generator.device),
        occupancy=occupancy,
        generator=generator,
        settings=RenderSettings(shading="albedo"),  # the opacity needs no normals
        rays_per_chunk=SILHOUETTE_SIZE**2,
    )
    return cameras, render.opacity.cpu().numpy()


def as_numpy_function(function: Callable[[Tensor], Tensor], device: torch.device) -> Callable[[np.ndarray], np.ndarray]:
    """Wrap a function of a field for the mesh package, which does not use torch."""

    def evaluate(points: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return function(torch.from_numpy(points).float().to(device)).cpu().numpy()

    return evaluate
