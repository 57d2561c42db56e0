"""Classifier-free guidance (Ho and Salimans, arXiv 2207.12598) on predicted pictures, and Perp-Neg
(Armandpour et al., arXiv 2304.04968)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.cameras import Cameras
from dreamfusion3d.prior.protocol import Prior, Prompts, Text


def guided(
    prior: Prior, x_t: Float[Tensor, "b c u v"], t: Float[Tensor, " b"], text: Prompts, cameras: Cameras,
    *, scale: float, views: int, rescale: float = 0.0,
) -> Float[Tensor, "b c u v"]:
    """x_0 = uncond + scale (cond - uncond), one camera a picture. Scales of 0 and 1 ask the
    prior once.

    A negative prompt n of Perp-Neg takes part with scale * strength times the part of
    n - uncond that is perpendicular to cond - uncond, subtracted (its equation 8).

    ``rescale`` in [0, 1] blends towards the deviation of the
    conditional prediction, against the over-saturation of large scales (Lin et al.,
    arXiv 2305.08891, section 3.4).
    """
    asked = text.asked(cameras)
    if scale == 1.0 and not asked.negatives:
        return prior.denoise(x_t, t, asked.cond, cameras, views=views)
    if scale == 0.0:
        return prior.denoise(x_t, t, asked.uncond, cameras, views=views)
    texts = [asked.cond, asked.uncond, *(negative for negative, _ in asked.negatives)]
    n = len(texts)
    rows = torch.arange(x_t.shape[0], device=x_t.device).repeat(n)
    every = prior.denoise(
        torch.cat([x_t] * n), torch.cat([t] * n), Text.cat(texts), cameras.select(rows), views=views
    )
    cond, uncond, *others = every.chunk(n)
    direction = cond - uncond
    for other, (_, strength) in zip(others, asked.negatives, strict=True):
        across = perpendicular(other - uncond, cond - uncond)
        direction = direction - strength.to(across).view(-1, 1, 1, 1) * across
    mixed = uncond + scale * direction
    if rescale > 0:
        ratio = cond.flatten(1).std(1) / mixed.flatten(1).std(1).clamp(min=1e-6)
        mixed = mixed * (1 + rescale * (ratio - 1)).view(-1, 1, 1, 1)
    return mixed


def perpendicular(
    of: Float[Tensor, "b c u v"], to: Float[Tensor, "b c u v"]
) -> Float[Tensor, "b c u v"]:
    """The part of each picture of ``of`` that is orthogonal to its picture of ``to``."""
    along = (of * to).sum((1, 2, 3), keepdim=True) / to.square().sum((1, 2, 3), keepdim=True).clamp(min=1e-12)
    return of - along * to
