"""Occupancy grids of objects: the interior, which renders alone do not determine."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.procedural.objects import ObjectBatch

OCCUPANCY_EXTENT = 0.85  # the volume is the cube [-EXTENT, EXTENT]^3
OCCUPANCY_RESOLUTION = 32  # cells along an edge


@torch.no_grad()
def object_occupancy(objects: ObjectBatch) -> Float[Tensor, "n z y x"]:
    """Fraction of each cell inside each object, approximating the surface in the cell by a plane."""
    cell = 2 * OCCUPANCY_EXTENT / OCCUPANCY_RESOLUTION
    axis = (torch.arange(OCCUPANCY_RESOLUTION, device=objects.scale.device) + 0.5) * cell - OCCUPANCY_EXTENT
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    points = torch.stack([x, y, z], -1).expand(len(objects), -1, -1, -1, -1)
    index = torch.arange(len(objects), device=axis.device).view(-1, 1, 1, 1).expand(points.shape[:-1])
    return (0.5 - objects.distance(points, index) / cell).clamp(0, 1)
