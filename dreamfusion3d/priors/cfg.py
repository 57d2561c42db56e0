"""Classifier-free guidance (Ho and Salimans, arXiv 2207.12598) on predicted pictures, and Perp-Neg
(Armandpour et al., arXiv 2304.04968)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.cameras.orbit import Cameras
from dreamfusion3d.priors.protocol import Prior, Prompts, Text


def guided(
    prior: Prior, x_t: Float[Tensor, "b c u v"], t: Float[Tensor, " b"], text: Prompts, cameras: Cameras,
    *, scale: float, views: int, rescale: float = 0.0, at_once: int | None = None,
) -> Float[Tensor, "b c u v"]:
    """x_0 = uncond + scale (cond - uncond), one camera a picture. Scales of 0 and 1 ask the
    prior once. ``at_once``: pictures of one question at most (whole scenes, where views are
    denoised jointly); None: all prompts' in one.

    A negative prompt n of Perp-Neg takes part with scale * strength times the part of
    n - uncond that is perpendicular to cond - uncond, subtracted (its equation 8).

    ``rescale`` in [0, 1] blends towards the deviation of the
    conditional prediction, against the over-saturation of large scales (Lin et al.,
    arXiv 2305.08891, section 3.4).
    """
    asked = text.asked(cameras)
    if scale == 1.0 and not asked.negatives:
        return _denoised(prior, x_t, t, [asked.cond], cameras, views, at_once)[0]
    if scale == 0.0:
        return _denoised(prior, x_t, t, [asked.uncond], cameras, views, at_once)[0]
    texts = [asked.cond, asked.uncond, *(negative for negative, _ in asked.negatives)]
    cond, uncond, *others = _denoised(prior, x_t, t, texts, cameras, views, at_once)
    direction = cond - uncond
    for other, (_, strength) in zip(others, asked.negatives, strict=True):
        across = perpendicular(other - uncond, cond - uncond)
        direction = direction - strength.to(across).view(-1, 1, 1, 1) * across
    mixed = uncond + scale * direction
    if rescale > 0:
        ratio = cond.flatten(1).std(1) / mixed.flatten(1).std(1).clamp(min=1e-6)
        mixed = mixed * (1 + rescale * (ratio - 1)).view(-1, 1, 1, 1)
    return mixed


def _denoised(
    prior: Prior, x_t: Tensor, t: Tensor, texts: list[Text], cameras: Cameras, views: int, at_once: int | None
) -> list[Tensor]:
    """The predictions for each of ``texts``."""
    n, b = len(texts), x_t.shape[0]
    if at_once is None or at_once >= n * b:
        if n == 1:
            return [prior.denoise(x_t, t, texts[0], cameras, views=views)]
        rows = torch.arange(b, device=x_t.device).repeat(n)
        every = prior.denoise(
            torch.cat([x_t] * n), torch.cat([t] * n), Text.cat(texts), cameras.select(rows), views=views
        )
        return list(every.chunk(n))
    together = scene_of(prior, views)
    size = max(at_once // together, 1) * together
    found = []
    for text in texts:
        found.append(torch.cat([
            prior.denoise(x_t[rows], t[rows], text.select(rows), cameras.select(rows), views=views)
            for rows in torch.arange(b, device=x_t.device).split(size)
        ]))
    return found


def scene_of(prior: Prior, views: int) -> int:
    """Pictures that must be asked together: a scene's, where the prior is one of many views."""
    return views if prior.camera_conditioned else 1


def perpendicular(
    of: Float[Tensor, "b c u v"], to: Float[Tensor, "b c u v"]
) -> Float[Tensor, "b c u v"]:
    """The part of each picture of ``of`` that is orthogonal to its picture of ``to``."""
    along = (of * to).sum((1, 2, 3), keepdim=True) / to.square().sum((1, 2, 3), keepdim=True).clamp(min=1e-12)
    return of - along * to
