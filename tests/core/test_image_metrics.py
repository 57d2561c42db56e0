"""PSNR and SSIM beside their formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dreamfusion3d.core.image_metrics import psnr, ssim


def slow_ssim(one: np.ndarray, two: np.ndarray) -> float:
    """Evaluate equation 13 of Wang et al. at every pixel, window by window."""
    offset = np.arange(11) - 5
    window = np.exp(-(offset[:, None] ** 2 + offset[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    values = []
    for c in range(one.shape[2]):
        for i in range(one.shape[0] - 10):
            for j in range(one.shape[1] - 10):
                a, b = one[i : i + 11, j : j + 11, c], two[i : i + 11, j : j + 11, c]
                mean_a, mean_b = (window * a).sum(), (window * b).sum()
                var_a, var_b = (window * (a - mean_a) ** 2).sum(), (window * (b - mean_b) ** 2).sum()
                covariance = (window * (a - mean_a) * (b - mean_b)).sum()
                c1, c2 = 0.01**2, 0.03**2
                numerator = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
                values.append(numerator / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)))
    return float(np.mean(values))


def test_ssim_equals_its_formula() -> None:
    one, two = torch.rand(2, 2, 16, 14, 3, generator=torch.Generator().manual_seed(3))
    assert ssim(one, one).tolist() == pytest.approx([1, 1])
    assert ssim(one, two).tolist() == pytest.approx(ssim(two, one).tolist())
    for i in range(2):
        assert float(ssim(one, two)[i]) == pytest.approx(slow_ssim(one[i].numpy(), two[i].numpy()), abs=1e-5)


def test_psnr_of_a_squared_error() -> None:
    assert psnr(0.01) == pytest.approx(20) and psnr(0.0) == 100
