"""Adam steps that skip non-finite gradients."""

from __future__ import annotations

import math

import pytest
import torch

from dreamfusion3d.core.optimizers import step_if_finite


@pytest.mark.parametrize("fused", [False, True])
def test_step_if_finite_leaves_adam_as_it_was_after_a_non_finite_gradient(fused: bool) -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    adam = torch.optim.Adam([weight], fused=fused)
    weight.grad = torch.tensor([1.0, 2.0, 2.0])
    assert step_if_finite(adam).read() == 3.0
    before, state = weight.detach().clone(), {k: v.clone() for k, v in adam.state[weight].items()}
    weight.grad = torch.tensor([1.0, math.nan, 0.0])
    assert math.isnan(step_if_finite(adam).read())
    assert torch.equal(weight, before)
    assert all(torch.equal(adam.state[weight][k], v) for k, v in state.items())
