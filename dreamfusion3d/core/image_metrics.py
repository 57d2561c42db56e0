"""Image similarity: PSNR and SSIM."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def psnr(mse: float) -> float:
    """Return the peak signal-to-noise ratio in dB for the MSE of values in [0, 1]; at most 100."""
    return -10 * math.log10(max(mse, 1e-10))


def ssim(images: Float[Tensor, "b h w c"], targets: Float[Tensor, "b h w c"]) -> Float[Tensor, " b"]:
    """Return the structural similarity of images with values in [0, 1], averaged over channels and pixels.

    Wang et al. 2004, equation 13, with a Gaussian window of 11 pixels and sigma 1.5.
    """
    size = min(11, *(s - (s + 1) % 2 for s in images.shape[1:3]))  # odd
    offset = torch.arange(size, device=images.device, dtype=torch.float64) - size // 2
    gaussian = torch.exp(-offset.square() / (2 * 1.5**2))
    window = gaussian / gaussian.sum()

    def mean(x: Tensor) -> Tensor:
        flat = x.double().permute(0, 3, 1, 2).reshape(-1, 1, *x.shape[1:3])
        rows = F.conv2d(flat, window[None, None, None])  # the window is separable
        return F.conv2d(rows, window[None, None, :, None]).view(x.shape[0], x.shape[3], -1)

    m1, m2 = mean(images), mean(targets)
    v1, v2 = mean(images * images) - m1 * m1, mean(targets * targets) - m2 * m2
    covariance = mean(images * targets) - m1 * m2
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * m1 * m2 + c1) * (2 * covariance + c2) / ((m1 * m1 + m2 * m2 + c1) * (v1 + v2 + c2))
    return similarity.mean((1, 2)).float()
