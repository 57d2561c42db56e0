"""The radiance field: a hash grid read by a one-layer MLP, over [-1, 1]^3.

    u(x)       = 3 raw_0 + blob(x),  blob(x) = blob_density (1 - |x| / blob_radius)
    density(x) = density_scale softplus(EDGE + sharpness (u - EDGE)),        0 outside the box
    albedo(x)  = sigmoid(raw_1..3)

A ``Start`` takes the blob's place when there is something better to begin with. Sharpening turns
about EDGE: what is thinner grows thinner and what is denser denser. A factor on all of the density
would sooner or later close every hole that some haze was left in.

The blob is DreamFusion's initial density (arXiv 2209.14988, appendix A.2): it puts the first
mass in the middle of the picture, where the cameras look.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dreamfusion3d.core.config import FieldConfig
from dreamfusion3d.fields.hashgrid import hashgrid
from dreamfusion3d.fields.hashgrid.layout import HashGridLayout
from dreamfusion3d.fields.initialization import SURFACE_LOGIT, FieldInit

DENSITY_LOGIT_SCALE = 3.0  # the MLP moves u this much faster than it moves the albedo's logit


class NerfField(nn.Module):
    """Density and albedo from one hash grid; the same generator gives the same parameters."""

    sharpness: Tensor

    def __init__(self, config: FieldConfig, *, generator: torch.Generator, init: FieldInit | None = None) -> None:
        super().__init__()
        self.config = config
        self.init = init
        self.layout = HashGridLayout(
            config.num_levels,
            config.features_per_level,
            config.log2_table_size,
            config.base_resolution,
            config.max_resolution,
        )
        device = generator.device

        def uniform(*shape: int, bound: float) -> nn.Parameter:
            return nn.Parameter((torch.rand(shape, generator=generator, device=device) * 2 - 1) * bound)

        # instant-ngp, section 4: tables start near zero, so the field starts as the blob alone
        self.table = uniform(self.layout.num_rows, config.features_per_level, bound=1e-4)
        self.hidden_weight = uniform(
            config.hidden_dim, self.layout.output_dim, bound=math.sqrt(6 / self.layout.output_dim)
        )
        self.hidden_bias = nn.Parameter(torch.zeros(config.hidden_dim, device=device))
        self.out_weight = uniform(4, config.hidden_dim, bound=math.sqrt(3 / config.hidden_dim))
        self.out_bias = nn.Parameter(torch.zeros(4, device=device))
        self.register_buffer("sharpness", torch.ones((), device=device))

    def set_sharpness(self, value: float) -> None:
        """Steepen the density about EDGE by ``value`` from now on; > 1 makes the surface thinner."""
        if not value > 0:
            raise ValueError(f"sharpness must be positive, not {value}")
        self.sharpness.fill_(value)

    def features(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, "n c"]:
        """Hash grid features of points in scene units."""
        return hashgrid((x + 1) * 0.5, self.table, self.layout, half_precision_grads=self.config.half_precision_grads)

    def density_logit(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        """u(x): density is monotonic in it, and its differences keep their precision where
        softplus is flat. Not masked by the box."""
        return self._logit(x, self._mlp(x, slice(0, 1)))

    def density(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        """Extinction per scene unit."""
        return self._density(x, self.density_logit(x))

    def albedo(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Base colour in [0, 1], without light."""
        return self._albedo(x, self._mlp(x, slice(1, 4)))

    def density_and_albedo(self, x: Float[Tensor, "n 3"]) -> tuple[Float[Tensor, " n"], Float[Tensor, "n 3"]]:
        """Both for the price of one."""
        raw = self._mlp(x, slice(0, 4))
        return self._density(x, self._logit(x, raw)), self._albedo(x, raw[:, 1:])

    def _mlp(self, x: Float[Tensor, "n 3"], outputs: slice) -> Float[Tensor, "n o"]:
        hidden = F.relu(F.linear(self.features(x), self.hidden_weight, self.hidden_bias))
        return F.linear(hidden, self.out_weight[outputs], self.out_bias[outputs])

    def _logit(self, x: Float[Tensor, "n 3"], raw: Float[Tensor, "n _"]) -> Float[Tensor, " n"]:
        if self.init is not None:
            return DENSITY_LOGIT_SCALE * raw[:, 0] + self.init.density_logit(x)
        blob = self.config.density_blob_scale * (1 - x.norm(dim=-1) / self.config.density_blob_radius)
        return DENSITY_LOGIT_SCALE * raw[:, 0] + blob

    def _albedo(self, x: Float[Tensor, "n 3"], raw: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        return torch.sigmoid(raw if self.init is None else raw + self.init.albedo_logit(x))

    def _density(self, x: Float[Tensor, "n 3"], logit: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        inside = (x.abs() <= 1).all(-1)
        sharpened = SURFACE_LOGIT + self.sharpness * (logit - SURFACE_LOGIT)
        return self.config.density_scale * F.softplus(sharpened) * inside
