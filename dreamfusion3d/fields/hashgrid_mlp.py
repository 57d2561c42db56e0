"""A hash grid read by a one-layer MLP: the trainable part of every field."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dreamfusion3d.fields.hashgrid import hashgrid
from dreamfusion3d.fields.hashgrid.layout import HashGridLayout


class HashGridMlp(nn.Module):
    """Maps points of [-1, 1]^3 to ``num_outputs`` numbers; the same generator gives the same parameters.

    Args:
        zero_output: start from an output layer of zeros instead of random weights.
        half_precision_grads: see `hashgrid`.
    """

    def __init__(
        self,
        layout: HashGridLayout,
        hidden_dim: int,
        num_outputs: int,
        *,
        generator: torch.Generator,
        zero_output: bool = False,
        half_precision_grads: bool = False,
    ) -> None:
        super().__init__()
        self.layout, self.half_precision_grads = layout, half_precision_grads
        device = generator.device

        def uniform(*shape: int, bound: float) -> nn.Parameter:
            return nn.Parameter((torch.rand(shape, generator=generator, device=device) * 2 - 1) * bound)

        def zeros(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.zeros(shape, device=device))

        # tables start near zero (instant-ngp, section 4)
        self.table = uniform(layout.num_rows, layout.features, bound=1e-4)
        self.hidden_weight = uniform(hidden_dim, layout.output_dim, bound=math.sqrt(6 / layout.output_dim))
        self.hidden_bias = zeros(hidden_dim)
        output_bound = math.sqrt(3 / hidden_dim)
        shape = num_outputs, hidden_dim
        self.out_weight = zeros(*shape) if zero_output else uniform(*shape, bound=output_bound)
        self.out_bias = zeros(num_outputs)

    def features(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, "n c"]:
        """Return the hash grid features of points in scene units."""
        return hashgrid((x + 1) * 0.5, self.table, self.layout, half_precision_grads=self.half_precision_grads)

    def mlp(self, x: Float[Tensor, "n 3"], outputs: slice = slice(None)) -> Float[Tensor, "n o"]:
        """Return the given outputs, without an activation."""
        hidden = F.relu(F.linear(self.features(x), self.hidden_weight, self.hidden_bias))
        return F.linear(hidden, self.out_weight[outputs], self.out_bias[outputs])
