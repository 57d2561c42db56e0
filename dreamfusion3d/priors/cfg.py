"""Classifier-free guidance (Ho and Salimans, arXiv 2207.12598) on predicted x_0, and Perp-Neg
(Armandpour et al., arXiv 2304.04968)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.cameras.orbit import OrbitCameras
from dreamfusion3d.priors.protocol import Prior, Prompts, TextEmbedding


def cfg_denoise(
    prior: Prior,
    x_t: Float[Tensor, "b c u v"],
    t: Float[Tensor, " b"],
    text: Prompts,
    cameras: OrbitCameras,
    *,
    scale: float,
    views: int,
    rescale: float = 0.0,
    max_batch_size: int | None = None,
) -> Float[Tensor, "b c u v"]:
    """Predict x_0 = uncond + scale (cond - uncond).

    Each negative prompt n of Perp-Neg subtracts scale * strength times the component of n - uncond that is
    perpendicular to cond - uncond (its equation 8).

    Args:
        cameras: One per image.
        scale: Guidance scale; 0 and 1 call the prior once.
        views: Consecutive images that show one scene.
        rescale: Blend in [0, 1] towards the standard deviation of the conditional prediction, against the
            over-saturation of large scales (Lin et al., arXiv 2305.08891, section 3.4).
        max_batch_size: Images per call of the prior at most, in whole scenes if it denoises views jointly.
            None: all prompts in one call.
    """
    conditioning = text.conditioning(cameras)
    if scale == 1.0 and not conditioning.negatives:
        return _denoise_each(prior, x_t, t, [conditioning.cond], cameras, views, max_batch_size)[0]
    if scale == 0.0:
        return _denoise_each(prior, x_t, t, [conditioning.uncond], cameras, views, max_batch_size)[0]
    texts = [conditioning.cond, conditioning.uncond, *(negative for negative, _ in conditioning.negatives)]
    cond, uncond, *negative_x0s = _denoise_each(prior, x_t, t, texts, cameras, views, max_batch_size)
    direction = cond - uncond
    for negative_x0, (_, strength) in zip(negative_x0s, conditioning.negatives, strict=True):
        orthogonal = perpendicular_component(negative_x0 - uncond, cond - uncond)
        direction = direction - strength.to(orthogonal).view(-1, 1, 1, 1) * orthogonal
    mixed = uncond + scale * direction
    if rescale > 0:
        ratio = cond.flatten(1).std(1) / mixed.flatten(1).std(1).clamp(min=1e-6)
        mixed = mixed * (1 + rescale * (ratio - 1)).view(-1, 1, 1, 1)
    return mixed


def _denoise_each(
    prior: Prior,
    x_t: Tensor,
    t: Tensor,
    texts: list[TextEmbedding],
    cameras: OrbitCameras,
    views: int,
    max_batch_size: int | None,
) -> list[Tensor]:
    """Predict x_0 under each of ``texts``."""
    n, b = len(texts), x_t.shape[0]
    if max_batch_size is None or max_batch_size >= n * b:
        if n == 1:
            return [prior.denoise(x_t, t, texts[0], cameras, views=views)]
        rows = torch.arange(b, device=x_t.device).repeat(n)
        output = prior.denoise(
            torch.cat([x_t] * n), torch.cat([t] * n), TextEmbedding.cat(texts), cameras.select(rows), views=views
        )
        return list(output.chunk(n))
    joint = joint_batch_size(prior, views)
    chunk_size = max(max_batch_size // joint, 1) * joint
    chunks = torch.arange(b, device=x_t.device).split(chunk_size)

    def denoise(text: TextEmbedding, rows: Tensor) -> Tensor:
        return prior.denoise(x_t[rows], t[rows], text.select(rows), cameras.select(rows), views=views)

    return [torch.cat([denoise(text, rows) for rows in chunks]) for text in texts]


def joint_batch_size(prior: Prior, views: int) -> int:
    """Return how many images must be denoised in one call: all views of a scene for a multi-view prior."""
    return views if prior.camera_conditioned else 1


def perpendicular_component(
    x: Float[Tensor, "b c u v"], direction: Float[Tensor, "b c u v"]
) -> Float[Tensor, "b c u v"]:
    """Remove from each image of ``x`` its projection onto the image of ``direction``."""
    squared_norm = direction.square().sum((1, 2, 3), keepdim=True).clamp(min=1e-12)
    return x - (x * direction).sum((1, 2, 3), keepdim=True) / squared_norm * direction
