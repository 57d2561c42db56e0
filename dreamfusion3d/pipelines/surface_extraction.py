"""From a trained field to its surface: the one place where field, renderer and mesher meet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.cameras.orbit import Cameras, orbit
from dreamfusion3d.core.types import Field, Mesh
from dreamfusion3d.mesh.bridge_components import joined
from dreamfusion3d.mesh.clean import smooth_grid, solid_mesh
from dreamfusion3d.mesh.isolevel import OPAQUE, choose_level
from dreamfusion3d.mesh.isosurface import log_ratio, sample_grid
from dreamfusion3d.mesh.refine import refine_grid
from dreamfusion3d.mesh.space_carving import solidify
from dreamfusion3d.rendering.mesh_renderer import render_silhouettes
from dreamfusion3d.rendering.occupancy_grid import Occupancy
from dreamfusion3d.rendering.volume import RenderSettings, render

VIEWS = 24  # whose silhouettes decide where the surface is
VIEW_SIZE = 64  # pixels
COARSE = 128  # samples a side on which the level is chosen
OCCUPANCY_SWEEPS = 4  # looks at random points of every cell


@dataclass(frozen=True)
class Surface:
    """The extracted mesh and how it was found."""

    vertices: np.ndarray
    faces: np.ndarray
    level: np.ndarray
    silhouette_iou: np.ndarray  # of the level, on the grid
    opacity: np.ndarray  # the field's, VIEWS x VIEW_SIZE x VIEW_SIZE


def surface_of(field: Field, resolution: int, generator: torch.Generator) -> Surface:
    """Marching cubes at the level whose silhouettes are the field's own; one solid.

    Above COARSE samples a side the level is chosen on a grid of that size, and the fine one asks
    the field near its surface alone. At 512 a process held 3 GB at most for a prop of usual size.
    """
    cameras, opacity = field_opacity(field, generator)
    density = numpy_of(field.density, generator.device)
    grid = sample_grid(density, min(resolution, COARSE))
    rough = choose_level(grid, cameras, opacity)
    if resolution > COARSE:
        grid = refine_grid(density, grid, rough.level, resolution)
    grid = smooth_grid(log_ratio(grid, rough.level), 0.0)
    # smoothing takes from thin parts what another level gives back
    choice = choose_level(np.exp(grid), cameras, opacity)
    grid = joined(grid - np.float32(np.log(choice.level)), 0.0)
    mesh = solid_mesh(solidify(grid, 0.0), 0.0)
    level = np.array(rough.level * choice.level)
    return Surface(mesh.vertices, mesh.faces, level, np.array(choice.iou), opacity)


def mesh_silhouette_iou(mesh: Mesh, opacity: Float[np.ndarray, "v h w"]) -> float:
    """Mean IoU of the mesh's silhouettes with the field's, by `field_opacity`'s cameras."""
    covered = opacity > OPAQUE
    drawn = render_silhouettes(mesh, silhouette_cameras())
    union, shared = (drawn | covered).sum((1, 2)), (drawn & covered).sum((1, 2))
    return float(np.mean(np.where(union > 0, shared / np.maximum(union, 1), 1.0)))


def silhouette_cameras() -> Cameras:
    """VIEWS all around, at three heights."""
    azimuths = [360.0 * i / VIEWS for i in range(VIEWS)]
    elevations = [(-10.0, 15.0, 40.0)[i % 3] for i in range(VIEWS)]
    return orbit(azimuths, torch.tensor(elevations), height=VIEW_SIZE, width=VIEW_SIZE)


@torch.no_grad()
def field_opacity(field: Field, generator: torch.Generator) -> tuple[Cameras, Float[np.ndarray, "v h w"]]:
    """The field's opacity from VIEWS cameras around it."""
    device = generator.device
    cameras = silhouette_cameras()
    # built anew, because the optimisation's own grid is not kept in the field's file
    occupancy = Occupancy(device=device)
    for sweep in range(OCCUPANCY_SWEEPS):
        occupancy.update(field.density, generator=generator, step=sweep)
    settings = RenderSettings(shading="albedo")  # no normals: only the opacity is asked for
    pictures = []
    for view in range(VIEWS):  # one at a time bounds the memory
        one = cameras.select(torch.tensor([view])).to(device)
        picture = render(field, one, occupancy=occupancy, generator=generator, settings=settings)
        pictures.append(picture.opacity.cpu())
    return cameras, torch.cat(pictures).numpy()


def numpy_of(
    function: Callable[[Tensor], Tensor], device: torch.device
) -> Callable[[np.ndarray], np.ndarray]:
    """A field's function for the mesh side, which knows no torch."""

    def call(points: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return function(torch.from_numpy(points).float().to(device)).cpu().numpy()

    return call
