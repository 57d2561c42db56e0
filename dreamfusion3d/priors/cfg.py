"""Classifier-free guidance (Ho and Salimans, arXiv 2207.12598) on predicted x_0, and Perp-Neg (arXiv 2304.04968)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.cameras.orbit import OrbitCameras
from dreamfusion3d.priors.protocol import Prior, Prompts, TextEmbedding


@dataclass(frozen=True)
class CFGDenoiser:
    """A prior with classifier-free guidance: x_0 = uncond + scale (cond - uncond).

    A negative prompt n of Perp-Neg (equation 8) subtracts scale * strength times the component of n - uncond that
    is perpendicular to cond - uncond.

    Args:
        prior: a frozen diffusion prior.
        prompts: text conditioning per camera.
        cameras: one camera per image.
        views: images that are denoised jointly as views of one scene.
        rescale: in [0, 1], blends toward the standard deviation of the conditional prediction, against the
            over-saturation of large scales (Lin et al., arXiv 2305.08891, section 3.4).
        max_batch_size: images per call of the prior (whole scenes if views are denoised jointly); None: all prompts
            in one call.
    """

    prior: Prior
    prompts: Prompts
    cameras: OrbitCameras
    views: int = 1
    rescale: float = 0.0
    max_batch_size: int | None = None

    def __call__(self, x_t: Float[Tensor, "b c u v"], t: Float[Tensor, " b"], scale: float) -> Float[Tensor, "b c u v"]:
        """Return the guided prediction of x_0. Scales of 0 and 1 need one prediction of the prior."""
        conditioning = self.prompts.conditioning(self.cameras)
        if scale == 1.0 and not conditioning.negatives:
            return self._denoise([conditioning.cond], x_t, t)[0]
        if scale == 0.0:
            return self._denoise([conditioning.uncond], x_t, t)[0]
        texts = [conditioning.cond, conditioning.uncond, *(negative for negative, _ in conditioning.negatives)]
        cond, uncond, *negative_x0s = self._denoise(texts, x_t, t)
        direction = cond - uncond
        for negative_x0, (_, strength) in zip(negative_x0s, conditioning.negatives, strict=True):
            orthogonal = perpendicular_component(negative_x0 - uncond, cond - uncond)
            direction = direction - strength.to(orthogonal).view(-1, 1, 1, 1) * orthogonal
        guided = uncond + scale * direction
        if self.rescale > 0:
            ratio = cond.flatten(1).std(1) / guided.flatten(1).std(1).clamp(min=1e-6)
            guided = guided * (1 + self.rescale * (ratio - 1)).view(-1, 1, 1, 1)
        return guided

    def _denoise(self, texts: list[TextEmbedding], x_t: Tensor, t: Tensor) -> list[Tensor]:
        """Return the prediction of x_0 under each of ``texts``."""
        prior, cameras, views = self.prior, self.cameras, self.views
        n, b = len(texts), x_t.shape[0]
        if self.max_batch_size is None or self.max_batch_size >= n * b:
            if n == 1:
                return [prior.denoise(x_t, t, texts[0], cameras, views=views)]
            rows = torch.arange(b, device=x_t.device).repeat(n)
            text = TextEmbedding.cat(texts)
            output = prior.denoise(torch.cat([x_t] * n), torch.cat([t] * n), text, cameras.select(rows), views=views)
            return list(output.chunk(n))
        joint = joint_batch_size(prior, views)
        batches = torch.arange(b, device=x_t.device).split(max(self.max_batch_size // joint, 1) * joint)
        return [
            torch.cat(
                [
                    prior.denoise(x_t[rows], t[rows], text.select(rows), cameras.select(rows), views=views)
                    for rows in batches
                ]
            )
            for text in texts
        ]


def joint_batch_size(prior: Prior, views: int) -> int:
    """Return the number of images that one call must contain: a scene's, for a multi-view prior."""
    return views if prior.camera_conditioned else 1


def perpendicular_component(
    x: Float[Tensor, "b c u v"], direction: Float[Tensor, "b c u v"]
) -> Float[Tensor, "b c u v"]:
    """Return the component of each image of ``x`` that is perpendicular to its image of ``direction``."""
    norm2 = direction.square().sum((1, 2, 3), keepdim=True).clamp(min=1e-12)
    return x - (x * direction).sum((1, 2, 3), keepdim=True) / norm2 * direction
