"""What a field begins with when it is not the blob: a body and its colours, on grids.

    u(x), a grid's value within [-LIMIT, LIMIT], stands for the blob's term;
    logit(colour(x)) is added to the albedo's.

So the field shows the body before the first step, and the hash grid learns the difference. The
body is a user's solid, or the fog that a prior takes for the mean of all that the prompt may mean.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

STEEPNESS = 400.0  # of u, a scene unit: full density 0.03 below the surface
LIMIT = 12.0  # the blob's u is 8 in its middle and -6.5 at the box
FAINTEST = 0.02  # a colour's channel is kept off 0 and 1, which no step would move


class Start(nn.Module):
    """Frozen; not part of a field's state, because it is made anew from where it came from."""

    logit: Tensor
    colour: Tensor

    def __init__(
        self, logit: Float[Tensor, "r r r"], colour: Float[Tensor, "s s s 3"], device: torch.device
    ) -> None:
        """Samples over [-1, 1]^3 with corners, [x, y, z]."""
        super().__init__()
        u = logit.clamp(-LIMIT, LIMIT).to(device)
        logits = torch.logit(colour.to(device), eps=FAINTEST)
        # grid_sample wants its axes as z, y, x
        self.register_buffer("logit", u.permute(2, 1, 0)[None, None].contiguous(), persistent=False)
        self.register_buffer("colour", logits.permute(3, 2, 1, 0)[None].contiguous(), persistent=False)

    @classmethod
    def of_solid(
        cls, depth: Float[Tensor, "r r r"], colour: Float[Tensor, "s s s 3"], device: torch.device
    ) -> Start:
        """``depth`` below the surface, in scene units."""
        return cls(STEEPNESS * depth, colour, device)

    @classmethod
    def of_fog(
        cls, density: Float[Tensor, "r r r"], colour: Float[Tensor, "s s s 3"], density_scale: float,
        device: torch.device,
    ) -> Start:
        """A field of this ``density_scale`` begins with this extinction per scene unit."""
        y = (density / density_scale).clamp(min=1e-6)
        return cls(y + torch.log(-torch.expm1(-y)), colour, device)  # the inverse of softplus

    def density_logit(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        return _sampled(self.logit, x)[:, 0]

    def albedo_logit(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        return _sampled(self.colour, x)


def _sampled(grid: Float[Tensor, "1 c r r r"], x: Float[Tensor, "n 3"]) -> Float[Tensor, "n c"]:
    return F.grid_sample(grid, x[None, None, None], align_corners=True, padding_mode="border")[0, :, 0, 0].T
