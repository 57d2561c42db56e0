"""A guidance is a function from images, times and a score model to a loss."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.guidance import GuidanceOutput, ScoreModel, per_image


def toy(
    x: Float[Tensor, "b c u v"], t: Float[Tensor, " b"], score_model: ScoreModel, *, generator: torch.Generator
) -> GuidanceOutput:
    """SDS with antithetic noise: each noise is used with both signs, which cancels half of the variance."""
    alpha, sigma = per_image(score_model.alpha_sigma(t))
    noise = torch.randn(x.shape, generator=generator, device=x.device)
    with torch.no_grad():
        positive = score_model.denoise(alpha * x + sigma * noise, t)
        negative = score_model.denoise(alpha * x - sigma * noise, t)
        x0 = (positive + negative) / 2
    return GuidanceOutput(0.5 * (x - x0).square().mean(), x0)
