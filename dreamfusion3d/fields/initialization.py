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

from dreamfusion3d.fields.grid_sample import grid_sample_3d

SURFACE_LOGIT = -0.9  # the u of a surface: its density is the same for every sharpness, about 2 per scene unit
# of a fog's surface, see ``of_fog``: the length over which it is opaque or not, in scene units; the
# share of the most that is near; the least opacity that is matter; and how steep u is about it
VOLUME_CELL_SIZE, VOLUME_SURFACE_FRACTION, VOLUME_MIN_OPACITY, VOLUME_LOGIT_GAIN = 0.053, 0.25, 0.12, 2.5
UNCERTAIN_LOGIT_BAND = 0.4  # of u: a fog whose u is within it of EDGE does not say whether a point is inside
MAX_CONSTRAINED_LOGIT = 3.5  # of u: beyond it a point is too far from any surface to be worth a look
SOLID_LOGIT_SLOPE = 400.0  # of u, a scene unit: full density 0.03 below the surface
MAX_INIT_LOGIT = 12.0  # the blob's u is 8 in its middle and -6.5 at the box
FULLY_VISIBLE_WEIGHT = 0.1  # share of a ray that ends in a sample: from it on its colour is its own
COLOR_FILL_STEPS = 6  # samples that a shown colour reaches inwards
INIT_COLOR_EPS = 0.02  # a colour's channel is kept off 0 and 1, which no step would move


class FieldInit(nn.Module):
    """Frozen; not part of a field's state, because it is made anew from where it came from."""

    density_logits: Tensor
    albedo_logits: Tensor
    certain_points: Tensor  # points near the surface that are inside or outside for certain; none of a user's solid

    def __init__(
        self,
        logit: Float[Tensor, "r r r"],
        color: Float[Tensor, "s s s 3"],
        device: torch.device,
        *,
        constrain: bool = False,
    ) -> None:
        """Samples over [-1, 1]^3 with corners, [x, y, z]. ``keep``: ``strayed`` holds the field to them."""
        super().__init__()
        u = logit.clamp(-MAX_INIT_LOGIT, MAX_INIT_LOGIT).to(device)
        logits = torch.logit(color.to(device), eps=INIT_COLOR_EPS)
        # grid_sample wants its axes as z, y, x
        self.register_buffer("density_logits", u.permute(2, 1, 0)[None, None].contiguous(), persistent=False)
        # the channels side by side, as they are read
        channels_last = logits.permute(3, 2, 1, 0)[None].contiguous(memory_format=torch.channels_last_3d)
        self.register_buffer("albedo_logits", channels_last, persistent=False)
        distance = (u - SURFACE_LOGIT).abs()
        cells = torch.nonzero((distance > UNCERTAIN_LOGIT_BAND) & (distance < MAX_CONSTRAINED_LOGIT) & constrain)
        self.register_buffer("certain_points", cells / ((len(u) - 1) / 2) - 1, persistent=False)

    @classmethod
    def from_solid(
        cls, depth: Float[Tensor, "r r r"], color: Float[Tensor, "s s s 3"], device: torch.device
    ) -> FieldInit:
        """``depth`` below the surface, in scene units."""
        return cls(SOLID_LOGIT_SLOPE * depth, color, device)

    @classmethod
    def from_initial_volume(
        cls, density: Float[Tensor, "r r r"], color: Float[Tensor, "s s s 3"], device: torch.device
    ) -> FieldInit:
        """From extinction per scene unit.

        A prior's fog is a mean over all that the prompt may mean: a wall that all have is dense, a
        handle that each has a little elsewhere is thin, and so is what such handles leave in their
        hole. So its surface is where it falls to a share of the most that is near.
        """
        color = fill_hidden_colors(density, color)
        opacity = (1 - torch.exp(-density * VOLUME_CELL_SIZE)).clamp(1e-4, 1 - 1e-4)
        local_max = F.avg_pool3d(F.max_pool3d(opacity[None, None], 5, 1, 2), 3, 1, 1)[0, 0]
        surface_opacity = (VOLUME_SURFACE_FRACTION * local_max).clamp(min=VOLUME_MIN_OPACITY)
        u = SURFACE_LOGIT + VOLUME_LOGIT_GAIN * (torch.logit(opacity) - torch.logit(surface_opacity))
        return cls(u, color, device, constrain=True)

    def density_logit(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        return _sample_grid(self.density_logits, x)[:, 0]

    def init_hinge_loss(
        self, density_logit: Callable[[Tensor], Tensor], count: int, *, generator: torch.Generator
    ) -> Float[Tensor, ""]:
        """How far u has crossed EDGE, to within BAND, at ``count`` random points where the start was sure.

        A mean of hinges: nothing where the field has kept its side, so that what the fog blurs
        is free to become sharp, and a hole that it shows clearly is not filled in passing.
        """
        if not len(self.certain_points):
            return self.density_logits.new_zeros(())
        rows = torch.randint(len(self.certain_points), (count,), generator=generator, device=generator.device)
        jitter = torch.rand(count, 3, generator=generator, device=generator.device) - 0.5
        x = self.certain_points[rows] + jitter * (2 / (self.density_logits.shape[-1] - 1))
        initial = self.density_logit(x) - SURFACE_LOGIT
        side = initial.sign() * (initial.abs() > UNCERTAIN_LOGIT_BAND)
        return F.relu(side.abs() * UNCERTAIN_LOGIT_BAND - side * (density_logit(x) - SURFACE_LOGIT)).mean()

    def albedo_logit(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        return _sample_grid(self.albedo_logits, x)


def fill_hidden_colors(density: Float[Tensor, "r r r"], color: Float[Tensor, "r r r 3"]) -> Float[Tensor, "r r r 3"]:
    """The colours with those that no picture shows replaced by the nearest that pictures do.

    A prior that learned from pictures says nothing of the inside of a body, and what it happens
    to have there would shine through as soon as the surface moves a little.
    """
    optical_depth = density * (2 / (len(density) - 1))
    transmittance = torch.zeros_like(density)
    for axis in range(3):
        for sides in ((), (axis,)):
            ray = optical_depth.flip(sides)
            depth_before = ray.cumsum(axis) - ray
            transmittance = torch.maximum(transmittance, torch.exp(-depth_before).flip(sides))
    visible_weight = transmittance**4 * -torch.expm1(-optical_depth) + 1e-12  # the power keeps to the outermost layer
    layers = torch.cat([color * visible_weight[..., None], visible_weight[..., None]], -1).permute(3, 0, 1, 2)[None]
    blurred = layers
    for _ in range(COLOR_FILL_STEPS):
        blurred = F.avg_pool3d(blurred, 3, 1, 1)
    neighbor_color = blurred[0, :3] / blurred[0, 3:]
    visible_fraction = (visible_weight / FULLY_VISIBLE_WEIGHT).clamp(max=1.0)
    return (visible_fraction * layers[0, :3] / visible_weight + (1 - visible_fraction) * neighbor_color).permute(
        1, 2, 3, 0
    )


def _sample_grid(grid: Float[Tensor, "1 c r r r"], x: Float[Tensor, "n 3"]) -> Float[Tensor, "n c"]:
    return grid_sample_3d(grid, x[None], align_corners=True)[0].T
