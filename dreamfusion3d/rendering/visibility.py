"""What of a field the pictures of a step do not show."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dreamfusion3d.cameras.orbit import OrbitCameras
from dreamfusion3d.core.types import Field
from dreamfusion3d.rendering.occupancy_grid import OccupancyGrid, dilate_cells
from dreamfusion3d.rendering.volume import SampleAux

VISIBLE_SAMPLE_WEIGHT = 0.01  # weight in a pixel
SAMPLES_PER_CHUNK = (1 << 15, 1 << 20)  # samples at a time, of a CPU and of CUDA: not to be the peak of a step


def hidden_density(
    field: Field,
    occupancy: OccupancyGrid,
    cameras: OrbitCameras,
    aux: SampleAux,
    count: int,
    *,
    generator: torch.Generator,
) -> Float[Tensor, " {count}"]:
    """Density at random points of occupied cells that this step's views do not see; zeros where there are
    none.

    What no picture shows would keep whatever density it began with: a jug stays full to the
    brim, because its surface can only be carved from outside. Emptied, it shows its far wall
    through the first thin spot of its mouth, and that is the picture the prior asks for. Cells
    next to a visible one are left alone, or thin parts would be eaten from within.
    """
    device = generator.device
    hidden = occupancy.binary & ~dilate_cells(_visible_cells(occupancy, cameras, aux))
    # by their rank among the hidden ones: a list of these has a size, for which the host would have to wait
    cumulative = hidden.flatten().cumsum(0)
    draw = torch.rand(count, generator=generator, device=device)
    rank = (draw * cumulative[-1]).long() + 1  # the product may round up to the number of cells
    cells = torch.searchsorted(cumulative, torch.minimum(rank, cumulative[-1])).clamp(max=len(cumulative) - 1)
    jitter = torch.rand(count, 3, generator=generator, device=device)
    density = field.density((occupancy.cell_corners(cells) + jitter) * (2 / occupancy.resolution) - 1)
    return torch.where(cumulative[-1] > 0, density, 0.0)


def _visible_cells(occupancy: OccupancyGrid, cameras: OrbitCameras, aux: SampleAux) -> Bool[Tensor, "x y z"]:
    """Cells of the occupancy grid that hold a sample of more than SEEN weight."""
    resolution, samples = occupancy.resolution, aux.samples
    chunk_size = SAMPLES_PER_CHUNK[aux.weights.device.type == "cuda"]
    with torch.no_grad():
        origins, directions = (t.reshape(-1, 3) for t in cameras.rays())
        # counted, and not chosen by a mask, for whose size the host would have to wait
        visible_count = torch.zeros(resolution**3, device=origins.device)
        for first in range(0, len(aux.weights), chunk_size):
            chunk = slice(first, first + chunk_size)
            points = samples.slice_samples(chunk).positions(origins, directions)
            i, j, k = ((points + 1) * (resolution / 2)).int().clamp(0, resolution - 1).unbind(-1)
            visible_count.index_add_(
                0, (i * resolution + j) * resolution + k, (aux.weights[chunk] > VISIBLE_SAMPLE_WEIGHT).float()
            )
    return (visible_count > 0).view_as(occupancy.binary)
