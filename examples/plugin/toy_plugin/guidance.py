"""A guidance is a function from pictures, times and a teacher to a loss."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.guidance import GuidanceOutput, ScoreModel


def toy(
    x: Float[Tensor, "b c u v"], t: Float[Tensor, " b"], teacher: ScoreModel, *, generator: torch.Generator
) -> GuidanceOutput:
    """SDS with the noise drawn as its own opposite too, so that half of its variance cancels."""
    alpha, sigma = (c.view(-1, 1, 1, 1) for c in teacher.alpha_sigma(t))
    noise = torch.randn(x.shape, generator=generator, device=x.device)
    with torch.no_grad():
        there = teacher.denoise(alpha * x + sigma * noise, t)
        opposite = teacher.denoise(alpha * x - sigma * noise, t)
        x0 = (there + opposite) / 2
    return GuidanceOutput(0.5 * (x - x0).square().mean(), x0)
