"""The radiance field over [-1, 1]^3: a hash grid read by a one-layer MLP.

    u(x)       = 3 raw_0 + blob(x),  blob(x) = density_blob_scale (1 - |x| / density_blob_radius)
    density(x) = density_scale softplus(SURFACE_LOGIT + sharpness (u - SURFACE_LOGIT)),  0 outside the box
    albedo(x)  = sigmoid(raw_1..3)

A `FieldInit` replaces the blob where a better start is known. Sharpening keeps SURFACE_LOGIT fixed: thin matter
grows thinner and dense matter denser. A factor on the whole density would sooner or later close every hole that
has some haze left in it.

The blob is DreamFusion's initial density (arXiv 2209.14988, appendix A.2): it puts the first mass in the middle of
the image, where the cameras look.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.core.config import FieldConfig
from dreamfusion3d.fields.hashgrid.layout import HashGridLayout
from dreamfusion3d.fields.hashgrid_mlp import HashGridMlp
from dreamfusion3d.fields.initialization import SURFACE_LOGIT, FieldInit

DENSITY_LOGIT_SCALE = 3.0  # the MLP moves u this much faster than the albedo's logit


class NerfField(HashGridMlp):
    """Density and albedo from one hash grid.

    Parameters are drawn from ``generator``, on its device; ``init`` replaces the blob.

    Example:
        >>> field = NerfField(Config().field, generator=torch.Generator().manual_seed(0))
        >>> field.density(torch.zeros(1, 3)).shape, field.albedo(torch.zeros(1, 3)).shape
        (torch.Size([1]), torch.Size([1, 3]))
    """

    sharpness: Tensor

    def __init__(self, config: FieldConfig, *, generator: torch.Generator, init: FieldInit | None = None) -> None:
        resolutions = config.base_resolution, config.max_resolution
        layout = HashGridLayout(config.num_levels, config.features_per_level, config.log2_table_size, *resolutions)
        half_precision_grads = config.half_precision_grads
        super().__init__(layout, config.hidden_dim, 4, generator=generator, half_precision_grads=half_precision_grads)
        self.config, self.init = config, init
        self.register_buffer("sharpness", torch.ones((), device=generator.device))

    def set_sharpness(self, value: float) -> None:
        """Set the slope of the density about SURFACE_LOGIT; above 1 the surface is thinner."""
        if not value > 0:
            raise ValueError(f"sharpness must be positive, not {value}")
        self.sharpness.fill_(value)

    def density_logit(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        """Return u(x), which is not masked by the box.

        The density is monotonic in u, and differences of u stay precise where softplus is flat.
        """
        return self._logit(x, self.mlp(x, slice(0, 1)))

    def density(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        """Return the extinction per scene unit."""
        return self._density(x, self.density_logit(x))

    def albedo(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Return the unlit color in [0, 1]."""
        return self._albedo(x, self.mlp(x, slice(1, 4)))

    def material(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, "n 2"] | None:
        """Return roughness in [0, 1] and metallic, 0 or 1; None if the initial volume has no materials.

        The optimization leaves them as they are: the renders that it compares show none.
        """
        return None if self.init is None else self.init.material(x)

    def density_and_albedo(self, x: Float[Tensor, "n 3"]) -> tuple[Float[Tensor, " n"], Float[Tensor, "n 3"]]:
        """Return both from one query."""
        raw = self.mlp(x)
        return self._density(x, self._logit(x, raw)), self._albedo(x, raw[:, 1:])

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
