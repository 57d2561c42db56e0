"""Initial density, albedo and material of a field, on grids, in place of the blob.

    u(x), interpolated on a grid and within [-MAX_INIT_LOGIT, MAX_INIT_LOGIT], replaces the blob's term;
    logit(color(x)) is added to the albedo's logit.

The field shows this shape before the first step, and the hash grid learns the difference. The shape is a user's
solid, or the initial volume that a prior predicts: the mean over everything the prompt may mean.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dreamfusion3d.core.types import InitialVolume
from dreamfusion3d.fields.grid_sample import grid_sample_3d

SURFACE_LOGIT = -0.9  # u of a surface: its density is the same for every sharpness, about 2 per scene unit
# the surface of an initial volume, see `FieldInit.from_initial_volume`
VOLUME_CELL_SIZE = 0.053  # length over which the opacity is measured, in scene units
VOLUME_SURFACE_FRACTION = 0.25  # opacity of the surface, as a fraction of the local maximum
VOLUME_MIN_OPACITY = 0.12  # and no less than this
VOLUME_LOGIT_GAIN = 2.5  # slope of u in the opacity's logit
UNCERTAIN_LOGIT_BAND = 0.4  # closer to SURFACE_LOGIT than this, u leaves open whether a point is inside
MAX_CONSTRAINED_LOGIT = 3.5  # farther from SURFACE_LOGIT than this, a point is too far from any surface to matter
SOLID_LOGIT_SLOPE = 400.0  # u per scene unit of depth: full density 0.03 below the surface
MAX_INIT_LOGIT = 12.0  # the blob's u is 8 at its center and -6.5 at the box
FULLY_VISIBLE_WEIGHT = 0.1  # compositing weight from which a sample keeps its color
COLOR_FILL_STEPS = 6  # samples that a visible color spreads inwards
INIT_COLOR_EPS = 0.02  # keeps channels off 0 and 1, which no gradient would move


class FieldInit(nn.Module):
    """Frozen grids of an initial density and albedo, and optionally of a material that stays as it is.

    They are no part of a field's state: a resumed run builds them again from their source.

    Args:
        logit: u over [-1, 1]^3, indexed [x, y, z]; the outermost samples lie on the faces of the box.
        color: colors in [0, 1], sampled likewise.
        material: roughness and metallic in [0, 1], sampled likewise.
        constrain: let `init_hinge_loss` hold a field to the sides of the surface that ``logit`` is sure of.
    """

    density_logits: Tensor
    albedo_logits: Tensor
    material_grid: Tensor | None
    certain_points: Tensor  # points near the surface, surely inside or outside; none unless constrained

    def __init__(
        self,
        logit: Float[Tensor, "r r r"],
        color: Float[Tensor, "s s s 3"],
        device: torch.device,
        *,
        material: Float[Tensor, "m m m 2"] | None = None,
        constrain: bool = False,
    ) -> None:
        super().__init__()
        u = logit.clamp(-MAX_INIT_LOGIT, MAX_INIT_LOGIT).to(device)
        logits = torch.logit(color.to(device), eps=INIT_COLOR_EPS)
        # grid_sample wants its axes as z, y, x
        self.register_buffer("density_logits", u.permute(2, 1, 0)[None, None].contiguous(), persistent=False)
        # channels last, the order in which they are read
        self.register_buffer("albedo_logits", _channels_last(logits), persistent=False)
        grid = None if material is None else _channels_last(material.to(device))
        self.register_buffer("material_grid", grid, persistent=False)
        distance = (u - SURFACE_LOGIT).abs()
        cells = torch.nonzero((distance > UNCERTAIN_LOGIT_BAND) & (distance < MAX_CONSTRAINED_LOGIT) & constrain)
        self.register_buffer("certain_points", cells / ((len(u) - 1) / 2) - 1, persistent=False)

    @classmethod
    def from_solid(
        cls, depth: Float[Tensor, "r r r"], color: Float[Tensor, "s s s 3"], device: torch.device
    ) -> FieldInit:
        """Start from a solid: ``depth`` below its surface, in scene units, and colors."""
        return cls(SOLID_LOGIT_SLOPE * depth, color, device)

    @classmethod
    def from_initial_volume(cls, volume: InitialVolume, device: torch.device) -> FieldInit:
        """Start from the density, the colors and the materials that a prior predicts.

        They are means over everything the prompt may mean. A wall that all objects share is dense; a handle whose
        place varies is thin, and so is the haze that such handles leave in their hole. The surface is therefore
        put where the opacity falls to a fraction of the local maximum.
        """
        density, material = volume.density, volume.material
        color = fill_hidden_colors(density, volume.color)
        if material is not None:
            material = fill_hidden_colors(density, material)
        opacity = (1 - torch.exp(-density * VOLUME_CELL_SIZE)).clamp(1e-4, 1 - 1e-4)
        local_max = F.avg_pool3d(F.max_pool3d(opacity[None, None], 5, 1, 2), 3, 1, 1)[0, 0]
        surface_opacity = (VOLUME_SURFACE_FRACTION * local_max).clamp(min=VOLUME_MIN_OPACITY)
        u = SURFACE_LOGIT + VOLUME_LOGIT_GAIN * (torch.logit(opacity) - torch.logit(surface_opacity))
        return cls(u, color, device, material=material, constrain=True)

    def density_logit(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        """Return u(x)."""
        return _sample_grid(self.density_logits, x)[:, 0]

    def init_hinge_loss(
        self, density_logit: Callable[[Tensor], Tensor], count: int, *, generator: torch.Generator
    ) -> Float[Tensor, ""]:
        """Return a mean hinge on u at ``count`` random points of which the initial volume was sure.

        The loss is zero where the field keeps its side of SURFACE_LOGIT by UNCERTAIN_LOGIT_BAND: blurred parts are
        free to become sharp, and a clear hole is not filled. It is zero for unconstrained grids.
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
        """Return logit(color(x))."""
        return _sample_grid(self.albedo_logits, x)

    def material(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, "n 2"] | None:
        """Return roughness, interpolated, and metallic, 0 or 1; None if there is no grid."""
        if self.material_grid is None:
            return None
        roughness, metallic = _sample_grid(self.material_grid, x).unbind(1)
        return torch.stack([roughness, (metallic >= 0.5).to(roughness)], 1)


def fill_hidden_colors(density: Float[Tensor, "r r r"], color: Float[Tensor, "r r r c"]) -> Float[Tensor, "r r r c"]:
    """Replace colors (or materials) that no image shows by the nearest visible ones.

    A prior that is trained on images knows nothing of an object's inside. Its arbitrary colors there would shine
    through as soon as the surface moves.
    """
    optical_depth = density * (2 / (len(density) - 1))
    transmittance = torch.zeros_like(density)
    for axis in range(3):
        for sides in ((), (axis,)):
            ray = optical_depth.flip(sides)
            depth_before = ray.cumsum(axis) - ray
            transmittance = torch.maximum(transmittance, torch.exp(-depth_before).flip(sides))
    visible_weight = transmittance**4 * -torch.expm1(-optical_depth) + 1e-12  # the power favors the outermost layer
    layers = torch.cat([color * visible_weight[..., None], visible_weight[..., None]], -1).permute(3, 0, 1, 2)[None]
    blurred = layers
    for _ in range(COLOR_FILL_STEPS):
        blurred = F.avg_pool3d(blurred, 3, 1, 1)
    neighbor_color = blurred[0, :-1] / blurred[0, -1:]
    visible_fraction = (visible_weight / FULLY_VISIBLE_WEIGHT).clamp(max=1.0)
    filled = visible_fraction * layers[0, :-1] / visible_weight + (1 - visible_fraction) * neighbor_color
    return filled.permute(1, 2, 3, 0)


def _channels_last(grid: Float[Tensor, "x y z c"]) -> Float[Tensor, "1 c z y x"]:
    return grid.permute(3, 2, 1, 0)[None].contiguous(memory_format=torch.channels_last_3d)


def _sample_grid(grid: Float[Tensor, "1 c r r r"], x: Float[Tensor, "n 3"]) -> Float[Tensor, "n c"]:
    return grid_sample_3d(grid, x[None], align_corners=True)[0].T
