"""Moved."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def decibels(error: float) -> float:
    """PSNR of a mean squared error of values in [0, 1]; 100 at most."""
    return -10 * math.log10(max(error, 1e-10))


def ssim(
    one: Float[Tensor, "b h w c"], two: Float[Tensor, "b h w c"]
) -> Float[Tensor, " b"]:
    """Structural similarity (Wang et al. 2004, eq. 13; Gaussian window of 11 pixels, sigma 1.5), a mean
    over channels and places; of values in [0, 1]."""
    size = min(11, *(s - (s + 1) % 2 for s in one.shape[1:3]))  # odd
    place = torch.arange(size, device=one.device, dtype=torch.float64) - size // 2
    bell = torch.exp(-place.square() / (2 * 1.5**2))
    window = torch.outer(bell, bell) / bell.sum() ** 2

    def mean(x: Tensor) -> Tensor:
        flat = x.double().permute(0, 3, 1, 2).reshape(-1, 1, *x.shape[1:3])
        return F.conv2d(flat, window[None, None]).view(x.shape[0], x.shape[3], -1)

    m1, m2 = mean(one), mean(two)
    v1, v2 = mean(one * one) - m1 * m1, mean(two * two) - m2 * m2
    both = mean(one * two) - m1 * m2
    c1, c2 = 0.01**2, 0.03**2
    map_ = (2 * m1 * m2 + c1) * (2 * both + c2) / ((m1 * m1 + m2 * m2 + c1) * (v1 + v2 + c2))
    return map_.mean((1, 2)).float()
