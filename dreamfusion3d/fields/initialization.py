"""What a field begins with when it is not the blob: a body and its colours, on grids.

    u(x), a grid's value within [-LIMIT, LIMIT], stands for the blob's term;
    logit(colour(x)) is added to the albedo's.

So the field shows the body before the first step, and the hash grid learns the difference. The
body is a user's solid, or the fog that a prior takes for the mean of all that the prompt may mean.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dreamfusion3d.fields.grid_sample import trilinear

EDGE = -0.9  # the u of a surface: its density is the same for every sharpness, about 2 per scene unit
# of a fog's surface, see ``of_fog``: the length over which it is opaque or not, in scene units; the
# share of the most that is near; the least opacity that is matter; and how steep u is about it
FOG_CELL, FOG_SHARE, FOG_LEAST, FOG_GAIN = 0.053, 0.25, 0.12, 2.5
BAND = 0.4  # of u: a fog whose u is within it of EDGE does not say whether a point is inside
REACH = 3.5  # of u: beyond it a point is too far from any surface to be worth a look
STEEPNESS = 400.0  # of u, a scene unit: full density 0.03 below the surface
LIMIT = 12.0  # the blob's u is 8 in its middle and -6.5 at the box
SHOWN = 0.1  # share of a ray that ends in a sample: from it on its colour is its own
SPREAD = 6  # samples that a shown colour reaches inwards
FAINTEST = 0.02  # a colour's channel is kept off 0 and 1, which no step would move


class Start(nn.Module):
    """Frozen; not part of a field's state, because it is made anew from where it came from."""

    logit: Tensor
    colour: Tensor
    sure: Tensor  # points near the surface that are inside or outside for certain; none of a user's solid

    def __init__(
        self, logit: Float[Tensor, "r r r"], colour: Float[Tensor, "s s s 3"], device: torch.device,
        *, keep: bool = False,
    ) -> None:
        """Samples over [-1, 1]^3 with corners, [x, y, z]. ``keep``: ``strayed`` holds the field to them."""
        super().__init__()
        u = logit.clamp(-LIMIT, LIMIT).to(device)
        logits = torch.logit(colour.to(device), eps=FAINTEST)
        # grid_sample wants its axes as z, y, x
        self.register_buffer("logit", u.permute(2, 1, 0)[None, None].contiguous(), persistent=False)
        # the channels side by side, as they are read
        side_by_side = logits.permute(3, 2, 1, 0)[None].contiguous(memory_format=torch.channels_last_3d)
        self.register_buffer("colour", side_by_side, persistent=False)
        away = (u - EDGE).abs()
        cells = torch.nonzero((away > BAND) & (away < REACH) & keep)
        self.register_buffer("sure", cells / ((len(u) - 1) / 2) - 1, persistent=False)

    @classmethod
    def of_solid(
        cls, depth: Float[Tensor, "r r r"], colour: Float[Tensor, "s s s 3"], device: torch.device
    ) -> Start:
        """``depth`` below the surface, in scene units."""
        return cls(STEEPNESS * depth, colour, device)

    @classmethod
    def of_fog(
        cls, density: Float[Tensor, "r r r"], colour: Float[Tensor, "s s s 3"], device: torch.device
    ) -> Start:
        """From extinction per scene unit.

        A prior's fog is a mean over all that the prompt may mean: a wall that all have is dense, a
        handle that each has a little elsewhere is thin, and so is what such handles leave in their
        hole. So its surface is where it falls to a share of the most that is near.
        """
        colour = outer_colour(density, colour)
        opacity = (1 - torch.exp(-density * FOG_CELL)).clamp(1e-4, 1 - 1e-4)
        most = F.avg_pool3d(F.max_pool3d(opacity[None, None], 5, 1, 2), 3, 1, 1)[0, 0]
        edge = (FOG_SHARE * most).clamp(min=FOG_LEAST)
        u = EDGE + FOG_GAIN * (torch.logit(opacity) - torch.logit(edge))
        return cls(u, colour, device, keep=True)

    def density_logit(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        return _sampled(self.logit, x)[:, 0]

    def strayed(
        self, density_logit: Callable[[Tensor], Tensor], count: int, *, generator: torch.Generator
    ) -> Float[Tensor, ""]:
        """How far u has crossed EDGE, to within BAND, at ``count`` random points where the start was sure.

        A mean of hinges: nothing where the field has kept its side, so that what the fog blurs
        is free to become sharp, and a hole that it shows clearly is not filled in passing.
        """
        if not len(self.sure):
            return self.logit.new_zeros(())
        rows = torch.randint(len(self.sure), (count,), generator=generator, device=generator.device)
        shift = torch.rand(count, 3, generator=generator, device=generator.device) - 0.5
        x = self.sure[rows] + shift * (2 / (self.logit.shape[-1] - 1))
        first = self.density_logit(x) - EDGE
        side = first.sign() * (first.abs() > BAND)
        return F.relu(side.abs() * BAND - side * (density_logit(x) - EDGE)).mean()

    def albedo_logit(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        return _sampled(self.colour, x)


def outer_colour(
    density: Float[Tensor, "r r r"], colour: Float[Tensor, "r r r 3"]
) -> Float[Tensor, "r r r 3"]:
    """The colours with those that no picture shows replaced by the nearest that pictures do.

    A prior that learned from pictures says nothing of the inside of a body, and what it happens
    to have there would shine through as soon as the surface moves a little.
    """
    optical = density * (2 / (len(density) - 1))
    through = torch.zeros_like(density)
    for axis in range(3):
        for sides in ((), (axis,)):
            ray = optical.flip(sides)
            before = ray.cumsum(axis) - ray
            through = torch.maximum(through, torch.exp(-before).flip(sides))
    shown = through**4 * -torch.expm1(-optical) + 1e-12  # the power keeps to the outermost layer
    layers = torch.cat([colour * shown[..., None], shown[..., None]], -1).permute(3, 0, 1, 2)[None]
    near = layers
    for _ in range(SPREAD):
        near = F.avg_pool3d(near, 3, 1, 1)
    around = near[0, :3] / near[0, 3:]
    kept = (shown / SHOWN).clamp(max=1.0)
    return (kept * layers[0, :3] / shown + (1 - kept) * around).permute(1, 2, 3, 0)


def _sampled(grid: Float[Tensor, "1 c r r r"], x: Float[Tensor, "n 3"]) -> Float[Tensor, "n c"]:
    return trilinear(grid, x[None], corners=True)[0].T
