"""Unit gradients by finite differences, beside those that autograd gives."""

from __future__ import annotations

import torch

from dreamfusion3d.core.finite_differences import unit_gradient


def test_unit_gradient_agrees_with_autograd():
    def function(x):
        return torch.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2] - x[:, 2] ** 2

    points = torch.rand(200, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    leaf = points.clone().requires_grad_()
    (exact,) = torch.autograd.grad(function(leaf).sum(), leaf)
    torch.testing.assert_close(
        unit_gradient(function, points, 1e-4), exact / exact.norm(dim=1, keepdim=True), atol=1e-3, rtol=0
    )


def test_unit_gradient_of_a_constant_is_zero():
    points = torch.rand(5, 3, generator=torch.Generator().manual_seed(0))
    assert (unit_gradient(lambda x: torch.ones_like(x[:, 0]), points, 1e-3) == 0).all()
