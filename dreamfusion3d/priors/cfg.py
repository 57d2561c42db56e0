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

    ``rescale`` in [0, 1] blends toward the standard deviation of the conditional prediction, against the
    over-saturation of large scales (Lin et al., arXiv 2305.08891, section 3.4).
    """

    prior: Prior
    prompts: Prompts
    cameras: OrbitCameras  # one per image
    views: int = 1  # consecutive images that are denoised jointly
    rescale: float = 0.0
    max_batch_size: int | None = None  # images per call of the prior, rounded to whole scenes; None: one call

    def __call__(self, x_t: Float[Tensor, "b c u v"], t: Float[Tensor, " b"], scale: float) -> Float[Tensor, "b c u v"]:
        """Return the guided prediction of x_0. Scales of 0 and 1 need one prediction of the prior."""
        conditioning, count = self.prompts.conditioning(self.cameras), len(x_t)
        texts = [conditioning.cond, conditioning.uncond, *(negative for negative, _ in conditioning.negatives)]
        if scale == 0.0 or (scale == 1.0 and not conditioning.negatives):
            texts = [conditioning.uncond if scale == 0.0 else conditioning.cond]
        n = len(texts)
        if self.max_batch_size is not None and self.max_batch_size < n * count:
            x0s = self._denoise_in_batches(texts, x_t, t, self.max_batch_size)
        elif n == 1:
            x0s = [self.prior.denoise(x_t, t, texts[0], self.cameras, views=self.views)]
        else:
            cameras = self.cameras.select(torch.arange(count, device=x_t.device).repeat(n))
            text, x_ts, ts = TextEmbedding.cat(texts), torch.cat([x_t] * n), torch.cat([t] * n)
            x0s = list(self.prior.denoise(x_ts, ts, text, cameras, views=self.views).chunk(n))
        if n == 1:
            return x0s[0]
        cond, uncond, *negative_x0s = x0s
        direction = cond - uncond
        for negative_x0, (_, strength) in zip(negative_x0s, conditioning.negatives, strict=True):
            orthogonal = perpendicular_component(negative_x0 - uncond, cond - uncond)
            direction = direction - strength.to(orthogonal).view(-1, 1, 1, 1) * orthogonal
        guided = uncond + scale * direction
        if self.rescale > 0:
            ratio = cond.flatten(1).std(1) / guided.flatten(1).std(1).clamp(min=1e-6)
            guided = guided * (1 + self.rescale * (ratio - 1)).view(-1, 1, 1, 1)
        return guided

    def _denoise_in_batches(
        self, texts: list[TextEmbedding], x_t: Tensor, t: Tensor, max_batch_size: int
    ) -> list[Tensor]:
        """Return the predictions under each of ``texts``, in small calls of the prior."""
        joint = joint_batch_size(self.prior, self.views)
        batches = torch.arange(len(x_t), device=x_t.device).split(max(max_batch_size // joint, 1) * joint)

        def denoise(text: TextEmbedding, rows: Tensor) -> Tensor:
            cameras = self.cameras.select(rows)
            return self.prior.denoise(x_t[rows], t[rows], text.select(rows), cameras, views=self.views)

        return [torch.cat([denoise(text, rows) for rows in batches]) for text in texts]


def joint_batch_size(prior: Prior, views: int) -> int:
    """Return the number of images that one call must contain: a scene's, for a multi-view prior."""
    return views if prior.camera_conditioned else 1


def perpendicular_component(
    x: Float[Tensor, "b c u v"], direction: Float[Tensor, "b c u v"]
) -> Float[Tensor, "b c u v"]:
    """Return the component of each image of ``x`` that is perpendicular to its image of ``direction``."""
    norm2 = direction.square().sum((1, 2, 3), keepdim=True).clamp(min=1e-12)
    return x - (x * direction).sum((1, 2, 3), keepdim=True) / norm2 * direction
