"""The perceptron by blocks is torch's, in values and gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from dreamfusion3d.field import mlp
from dreamfusion3d.field.mlp import perceptron


def given(points: int, inputs: int, hidden: int, outputs: int, dtype=torch.float64) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(points)
    shapes = (points, inputs), (hidden, inputs), (hidden,), (outputs, hidden), (outputs,)
    return [torch.randn(s, generator=generator, dtype=dtype).requires_grad_(True) for s in shapes]


def twin(x, hidden_weight, hidden_bias, out_weight, out_bias):
    return F.linear(F.relu(F.linear(x, hidden_weight, hidden_bias)), out_weight, out_bias)


@pytest.mark.parametrize("points", [0, 1, 7, 8, 9, 30])
@pytest.mark.parametrize("outputs", [1, 4])
def test_values_and_gradients_are_torchs(points, outputs, monkeypatch):
    monkeypatch.setattr(mlp, "BLOCK", (8, 8))
    tensors = given(points, 6, 5, outputs)
    weight = torch.randn(points, outputs, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    results = []
    for run in (perceptron, twin):
        out = run(*tensors)
        results.append((out, *torch.autograd.grad((out * weight).sum(), tensors)))
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_gradients_that_nobody_wants_are_left_out():
    x, *weights = given(20, 6, 5, 2)
    (grad,) = torch.autograd.grad(perceptron(x.detach(), *weights).sum(), [weights[0]])
    (wanted,) = torch.autograd.grad(twin(x.detach(), *weights).sum(), [weights[0]])
    torch.testing.assert_close(grad, wanted)
    with torch.no_grad():
        assert not perceptron(x, *weights).requires_grad


def test_the_hidden_layer_is_not_kept():
    """What stays for the backward pass is what went in."""
    from dreamfusion3d.memory.meter import metered

    tensors = given(1 << 16, 16, 32, 4, torch.float32)
    kept = {}
    for name, run in (("blocks", perceptron), ("torch", twin)):
        with metered(torch.device("cpu"), tensors) as meter:
            out = run(*tensors)
            kept[name] = meter.live()
        del out
    assert kept["torch"] - kept["blocks"] >= (1 << 16) * 32 * 4
