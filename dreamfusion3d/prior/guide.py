"""Classifier-free guidance (Ho and Salimans, arXiv 2207.12598) on predicted pictures."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.cameras import Cameras
from dreamfusion3d.prior.protocol import Prior, Text


def guided(
    prior: Prior, x_t: Float[Tensor, "b c u v"], t: Float[Tensor, " b"], text: Text, cameras: Cameras,
    *, scale: float, views: int, rescale: float = 0.0,
) -> Float[Tensor, "b c u v"]:
    """x_0 = uncond + scale (cond - uncond); ``text`` ends with the empty prompt, before which stands one
    prompt for all pictures, or one for each.

    Scales of 0 and 1 ask the prior once. ``rescale`` in [0, 1] blends towards the deviation of the
    conditional prediction, against the over-saturation of large scales (Lin et al.,
    arXiv 2305.08891, section 3.4).
    """
    b = x_t.shape[0]
    each = len(text.embedding) - 1 == b
    prompt = Text(text.embedding[:-1]) if each else Text(text.embedding[:1]).repeat(b)
    empty = Text(text.embedding[-1:]).repeat(b)
    if scale == 1.0:
        return prior.denoise(x_t, t, prompt, cameras, views=views)
    if scale == 0.0:
        return prior.denoise(x_t, t, empty, cameras, views=views)
    rows = torch.arange(b, device=x_t.device).repeat(2)
    both = prior.denoise(
        torch.cat([x_t, x_t]), torch.cat([t, t]), Text.cat([prompt, empty]), cameras.select(rows), views=views
    )
    cond, uncond = both.chunk(2)
    mixed = uncond + scale * (cond - uncond)
    if rescale > 0:
        ratio = cond.flatten(1).std(1) / mixed.flatten(1).std(1).clamp(min=1e-6)
        mixed = mixed * (1 + rescale * (ratio - 1)).view(-1, 1, 1, 1)
    return mixed
