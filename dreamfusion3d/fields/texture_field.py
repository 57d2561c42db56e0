"""Colours of a surface that is given: a hash grid on top of what the surface begins with.

albedo(x) = sigmoid(base(x) + raw(x)),  base = logit of the first colours, raw = 0 at the start
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dreamfusion3d.core.config import TextureConfig
from dreamfusion3d.fields.hashgrid import hashgrid
from dreamfusion3d.fields.hashgrid.layout import HashGridLayout

BASE_COLOR_EPS = 1 / 1024  # a channel of 0 or 1 has no logit; a quarter of a step of 8 bits


class TextureField(nn.Module):
    """Base colours over [-1, 1]^3, asked on a surface only.

    ``first`` gives the colours to begin with, in [0, 1]; it is frozen. The same generator gives
    the same parameters.
    """

    def __init__(
        self,
        config: TextureConfig,
        base_color: Callable[[Float[Tensor, "n 3"]], Float[Tensor, "n 3"]],
        *,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.base_color = base_color if not isinstance(base_color, nn.Module) else base_color.forward
        self.layout = HashGridLayout(
            config.num_levels, 2, config.log2_table_size, config.base_resolution, config.max_resolution
        )
        device = generator.device

        def uniform(*shape: int, bound: float) -> nn.Parameter:
            return nn.Parameter((torch.rand(shape, generator=generator, device=device) * 2 - 1) * bound)

        self.table = uniform(self.layout.num_rows, 2, bound=1e-4)
        self.hidden_weight = uniform(
            config.hidden_dim, self.layout.output_dim, bound=math.sqrt(6 / self.layout.output_dim)
        )
        self.hidden_bias = nn.Parameter(torch.zeros(config.hidden_dim, device=device))
        # nothing is added before the first step
        self.out_weight = nn.Parameter(torch.zeros(3, config.hidden_dim, device=device))
        self.out_bias = nn.Parameter(torch.zeros(3, device=device))

    def albedo(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Base colour in [0, 1], without light."""
        with torch.no_grad():
            base_logit = torch.logit(self.base_color(x), eps=BASE_COLOR_EPS)
        hidden = F.relu(
            F.linear(hashgrid((x + 1) * 0.5, self.table, self.layout), self.hidden_weight, self.hidden_bias)
        )
        return torch.sigmoid(base_logit + F.linear(hidden, self.out_weight, self.out_bias))


def constant_color(value: float = 0.5) -> Callable[[Float[Tensor, "n 3"]], Float[Tensor, "n 3"]]:
    """One grey everywhere, to begin with."""
    return lambda x: torch.full_like(x, value)
