"""Base color of a given surface: a hash grid added to an initial color.

albedo(x) = sigmoid(logit(base_color(x)) + raw(x)),  raw = 0 at the start
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dreamfusion3d.core.config import TextureConfig
from dreamfusion3d.fields.hashgrid.layout import HashGridLayout
from dreamfusion3d.fields.hashgrid_mlp import HashGridMlp

BASE_COLOR_EPS = 1 / 1024  # 0 and 1 have no logit; a quarter of an 8-bit step


class TextureField(HashGridMlp):
    """Base color over [-1, 1]^3, queried on a surface only.

    Parameters are drawn from ``generator``, on its device. ``base_color`` is the initial color in [0, 1] at points; it
    is not trained.
    """

    def __init__(
        self,
        config: TextureConfig,
        base_color: Callable[[Float[Tensor, "n 3"]], Float[Tensor, "n 3"]],
        *,
        generator: torch.Generator,
    ) -> None:
        resolutions = config.base_resolution, config.max_resolution
        layout = HashGridLayout(config.num_levels, 2, config.log2_table_size, *resolutions)
        super().__init__(layout, config.hidden_dim, 3, generator=generator, zero_output=True)
        # the method of a module, so that its parameters are not registered as this field's
        self.base_color = base_color if not isinstance(base_color, nn.Module) else base_color.forward

    def albedo(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Return the unlit color in [0, 1]."""
        with torch.no_grad():
            base_logit = torch.logit(self.base_color(x), eps=BASE_COLOR_EPS)
        return torch.sigmoid(base_logit + self.mlp(x))


def constant_color(value: float = 0.5) -> Callable[[Float[Tensor, "n 3"]], Float[Tensor, "n 3"]]:
    """Return a base color that is one gray everywhere."""
    return lambda x: torch.full_like(x, value)
