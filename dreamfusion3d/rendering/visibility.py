"""Density of a field in places that the renders of a step do not show."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dreamfusion3d.cameras.protocol import RayCameras
from dreamfusion3d.core.types import Field
from dreamfusion3d.rendering.occupancy_grid import OccupancyGrid, dilate_cells
from dreamfusion3d.rendering.volume import SampleAux

VISIBLE_SAMPLE_WEIGHT = 0.01  # compositing weight above which a sample is visible
SAMPLES_PER_CHUNK = (1 << 15, 1 << 20)  # on a CPU, on CUDA: small enough not to set a step's peak memory


def hidden_density(
    field: Field,
    occupancy: OccupancyGrid,
    cameras: RayCameras,
    aux: SampleAux,
    count: int,
    *,
    generator: torch.Generator,
) -> Float[Tensor, " {count}"]:
    """Return the density at random points of occupied cells that the step's views do not see.

    No image constrains what it does not show: a jug stays full to the brim, because its surface can only be
    carved from outside. Once empty, its far wall shows through the first thin spot of its mouth, and that is the
    image the prior asks for. Cells next to a visible one are left alone, or thin parts would be eroded from within.

    ``aux`` holds the samples of the step's render of ``cameras``. All densities are zero if no occupied cell is hidden.
    """
    device = generator.device
    hidden = occupancy.binary & ~dilate_cells(_visible_cells(occupancy, cameras, aux))
    # drawn by rank among the hidden cells: the host would have to wait for the size of a list of them
    cumulative = hidden.flatten().cumsum(0)
    draw = torch.rand(count, generator=generator, device=device)
    rank = (draw * cumulative[-1]).long() + 1  # the product may round up to the number of cells
    cells = torch.searchsorted(cumulative, torch.minimum(rank, cumulative[-1])).clamp(max=len(cumulative) - 1)
    jitter = torch.rand(count, 3, generator=generator, device=device)
    density = field.density((occupancy.cell_corners(cells) + jitter) * (2 / occupancy.resolution) - 1)
    return torch.where(cumulative[-1] > 0, density, 0.0)


def _visible_cells(occupancy: OccupancyGrid, cameras: RayCameras, aux: SampleAux) -> Bool[Tensor, "x y z"]:
    """Mark the cells that hold a sample of more than VISIBLE_SAMPLE_WEIGHT."""
    resolution, samples = occupancy.resolution, aux.samples
    chunk_size = SAMPLES_PER_CHUNK[aux.weights.device.type == "cuda"]
    with torch.no_grad():
        origins, directions = (t.reshape(-1, 3) for t in cameras.rays())
        # counted, not selected by a mask: the host would have to wait for the size of the selection
        visible_count = torch.zeros(resolution**3, device=origins.device)
        for first in range(0, len(aux.weights), chunk_size):
            chunk = slice(first, first + chunk_size)
            points = samples.slice_samples(chunk).positions(origins, directions)
            i, j, k = ((points + 1) * (resolution / 2)).int().clamp(0, resolution - 1).unbind(-1)
            visible = (aux.weights[chunk] > VISIBLE_SAMPLE_WEIGHT).float()
            visible_count.index_add_(0, (i * resolution + j) * resolution + k, visible)
    return (visible_count > 0).view_as(occupancy.binary)
