"""SOAP: its laws, which Adam's steps in the axes of the parameters do not obey."""

from __future__ import annotations

import torch

from dreamfusion3d.priors.shapes.soap import Soap


def random(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rotation(size: int, seed: int) -> torch.Tensor:
    return torch.linalg.qr(random(size, size, seed=seed))[0]


def descend(weight: torch.Tensor, gradients: list[torch.Tensor], **options: float) -> torch.Tensor:
    parameter = weight.clone().requires_grad_(True)
    optimizer = Soap([parameter], lr=0.1, **options)
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizer.step()
    return parameter.detach()


def test_turned_matrices_take_the_turned_steps():
    weight, gradients = random(4, 3, seed=0), [random(4, 3, seed=i) for i in range(1, 16)]
    left, right = rotation(4, seed=90), rotation(3, seed=91)
    turned = descend(left @ weight @ right, [left @ g @ right for g in gradients])
    torch.testing.assert_close(turned, left @ descend(weight, gradients) @ right)


def test_vectors_take_the_steps_of_adam():
    start, gradients = random(5, seed=0), [random(5, seed=i) for i in range(1, 9)]
    parameter = start.clone().requires_grad_(True)
    adam = torch.optim.Adam([parameter], 0.1, betas=(0.95, 0.95))
    for gradient in gradients:
        parameter.grad = gradient.clone()
        adam.step()
    torch.testing.assert_close(descend(start, gradients), parameter.detach())


def test_a_valley_that_no_axis_follows_is_descended():
    """A quadratic, 10,000 times steeper across than along: Adam zigzags where SOAP does not."""
    axes = rotation(6, seed=5)
    curvature = axes @ torch.diag(torch.logspace(0, -4, 6, dtype=torch.float64)) @ axes.T

    def optimize(make) -> float:
        weight = torch.ones(6, 2, dtype=torch.float64, requires_grad=True)
        optimizer = make([weight])
        for step in range(300):
            rate = 0.05 * (1 - step / 300)
            if isinstance(optimizer, Soap):
                optimizer.lr = rate
            else:
                optimizer.param_groups[0]["lr"] = rate
            weight.grad = curvature @ weight.detach()
            optimizer.step()
        return float((weight.detach() * (curvature @ weight.detach())).sum())

    assert optimize(lambda p: Soap(p, 0.05)) < 0.1 * optimize(lambda p: torch.optim.Adam(p, 0.05, betas=(0.95, 0.95)))
