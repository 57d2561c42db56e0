"""Color of a surface as rays see it, for a field fitted to photos."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.rendering.volume import JointField, RenderSettings, density_normals

RAY_LENGTH_OUTSIDE, RAY_LENGTH_INSIDE = 0.08, 0.12  # of a surface point's ray, in scene units
NUM_RAY_SAMPLES = 21


@dataclass(frozen=True)
class SurfaceColorField:
    """A fitted field whose ``albedo`` at a surface point is what a ray from outside sees there.

    Photos constrain what rays see, which is a mean over some depth; the color of a single point may be anything
    that gives this mean.
    """

    field: JointField

    def density(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        return self.field.density(x)

    def density_logit(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        return self.field.density_logit(x)

    def density_and_albedo(self, x: Float[Tensor, "n 3"]) -> tuple[Float[Tensor, " n"], Float[Tensor, "n 3"]]:
        return self.field.density_and_albedo(x)

    def albedo(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Return the composited albedo along a ray through each point, against its normal."""
        inward_normals = -density_normals(self.field, x, RenderSettings().normal_epsilon)
        steps = torch.linspace(-RAY_LENGTH_OUTSIDE, RAY_LENGTH_INSIDE, NUM_RAY_SAMPLES, device=x.device)
        points = x[:, None] + steps[:, None] * inward_normals[:, None]
        density, albedo = self.field.density_and_albedo(points.reshape(-1, 3))
        optical_depth = density.view(-1, NUM_RAY_SAMPLES) * (steps[1] - steps[0])
        depth_before = optical_depth.cumsum(1) - optical_depth
        weight = torch.exp(-depth_before) * -torch.expm1(-optical_depth) + 1e-6  # keeps the mean defined in empty space
        return (weight[..., None] * albedo.view(-1, NUM_RAY_SAMPLES, 3)).sum(1) / weight.sum(1, keepdim=True)
