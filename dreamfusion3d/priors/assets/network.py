"""A network from a point to the signed distance and the materials of one asset."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dreamfusion3d.priors.shapes.network import ShapeNetwork

FREQUENCIES = 4


class AssetNetwork(nn.Module):
    """Map points in the scene to a signed distance and to the weights of a palette of materials.

    Example:
        >>> network = AssetNetwork(palette_size=3)
        >>> distance, logits = network(torch.zeros(5, 3)).split([1, 3], 1)
        >>> network.mix(logits).shape  # base color, roughness, metallic
        torch.Size([5, 5])
    """

    palette: Tensor  # (k, 5), the most frequent entry first

    def __init__(self, palette_size: int, width: int = 64, layers: int = 5) -> None:
        super().__init__()
        self.config = {"palette_size": palette_size, "width": width, "layers": layers}
        self.body = ShapeNetwork(0, 1 + palette_size, width, layers, FREQUENCIES)
        self.register_buffer("palette", torch.zeros(palette_size, 5))

    def forward(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n k"]:
        return self.body(points, points.new_zeros(1, 0))

    def query(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n k"]:
        """Return ``self(points)`` without gradients, faster."""
        return self.body.query(points, points.new_zeros(1, 0))

    def mix(self, logits: Float[Tensor, "n k"], palette: Float[Tensor, "k 5"] | None = None) -> Float[Tensor, "n 5"]:
        """Return base color, roughness and metallic, of the network's palette or of another."""
        return logits.softmax(1) @ (self.palette if palette is None else palette)
