"""The perceptron of one hidden layer that reads a field's features, a block of points at a time.

Its hidden layer is wider than what goes in and what comes out. Torch's operations write it to memory for
all points, more than once, and keep it for the backward pass. Here a block's stays in cache, and is
computed again when the gradient comes: on a CPU that takes two thirds of the time, and anywhere a third
of the memory.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

BLOCK = (1 << 14, 1 << 20)


def perceptron(
    x: Float[Tensor, "n i"], hidden_weight: Float[Tensor, "h i"], hidden_bias: Float[Tensor, " h"],
    out_weight: Float[Tensor, "o h"], out_bias: Float[Tensor, " o"],
) -> Float[Tensor, "n o"]:
    """out_weight relu(hidden_weight x + hidden_bias) + out_bias, differentiable once in all of them."""
    found: Tensor = _Perceptron.apply(x, hidden_weight, hidden_bias, out_weight, out_bias)
    return found


class _Perceptron(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, *weights: Tensor) -> Tensor:
        ctx.save_for_backward(x, *weights)
        hidden_weight, hidden_bias, out_weight, out_bias = weights
        out = x.new_empty(len(x), len(out_weight))
        for part, hidden in _hidden_layers(x, hidden_weight, hidden_bias):
            torch.addmm(out_bias, hidden, out_weight.t(), out=out[part])
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, hidden_weight, hidden_bias, out_weight, out_bias = ctx.saved_tensors
        grad_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        grad_hidden_weight, grad_out_weight = torch.zeros_like(hidden_weight), torch.zeros_like(out_weight)
        grad_hidden_bias = torch.zeros_like(hidden_bias)
        buffer = x.new_empty(min(len(x), _block(x)), len(hidden_weight))
        for part, hidden in _hidden_layers(x, hidden_weight, hidden_bias):
            grad_out, grad_hidden = grad[part], buffer[: len(hidden)]
            grad_out_weight.addmm_(grad_out.t(), hidden)
            torch.mm(grad_out, out_weight, out=grad_hidden)
            torch.ops.aten.threshold_backward.grad_input(grad_hidden, hidden, 0, grad_input=grad_hidden)
            grad_hidden_weight.addmm_(grad_hidden.t(), x[part])
            grad_hidden_bias.add_(grad_hidden.sum(0))
            if grad_x is not None:
                torch.mm(grad_hidden, hidden_weight, out=grad_x[part])
        return grad_x, grad_hidden_weight, grad_hidden_bias, grad_out_weight, grad.sum(0)


def _block(x: Tensor) -> int:
    return BLOCK[x.device.type == "cuda"]


def _hidden_layers(x: Tensor, weight: Tensor, bias: Tensor):  # type: ignore[no-untyped-def]
    """Blocks of the points, each with its hidden layer; every one lies where the last one lay."""
    size = _block(x)
    buffer = x.new_empty(min(len(x), size), len(weight))
    for first in range(0, len(x), size):
        part = slice(first, min(first + size, len(x)))
        yield part, torch.addmm(bias, x[part], weight.t(), out=buffer[: part.stop - first]).relu_()
