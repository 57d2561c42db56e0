"""Which cells of a small volume a prop fills: what its pictures alone cannot tell of its inside."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.procedural.objects import Instances

EXTENT = 0.85  # the volume is the cube [-EXTENT, EXTENT]^3
RESOLUTION = 32  # cells along an edge


@torch.no_grad()
def filled(props: Instances) -> Float[Tensor, "n z y x"]:
    """The share of each cell that lies within each prop, as if its surface were a plane across it."""
    cell = 2 * EXTENT / RESOLUTION
    axis = (torch.arange(RESOLUTION, device=props.scale.device) + 0.5) * cell - EXTENT
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    points = torch.stack([x, y, z], -1).expand(len(props), -1, -1, -1, -1)
    index = torch.arange(len(props), device=axis.device).view(-1, 1, 1, 1).expand(points.shape[:-1])
    return (0.5 - props.distance(points, index) / cell).clamp(0, 1)
