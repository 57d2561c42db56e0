"""The one-hidden-layer network on the CPU, in tiles of samples that stay in the first cache.

A tile is stored unit by unit, so that the innermost loops run over samples and vectorise.
Inputs and hidden units are padded with zeros to multiples of four, the number that one pass
over a tile takes in. Gradients of the weights are summed within fixed chunks of samples and
the chunks' sums in order: the result does not depend on the number of threads.
"""

from __future__ import annotations

from typing import no_type_check

import numba
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dreamfusion3d.field.kernels import follow_torch_threads, inline, reducing_kernel

_TILE = 64
_CHUNK = 2048
_ZERO = np.float32(0)


def mlp_numba(
    features: Tensor, hidden_weight: Tensor, hidden_bias: Tensor, out_weight: Tensor, out_bias: Tensor
) -> Tensor:
    """(n, o) outputs; see ``mlp``. float32 on the CPU."""
    return _Mlp.apply(features, hidden_weight, hidden_bias, out_weight, out_bias)


class _Mlp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, features, hidden_weight, hidden_bias, out_weight, out_bias):
        features = features.detach().contiguous()
        w1, b1, w2 = _padded(hidden_weight, hidden_bias, out_weight)
        ctx.save_for_backward(features, w1, b1, w2)
        ctx.sizes = hidden_weight.shape
        out = torch.empty(features.shape[0], w2.shape[0])
        follow_torch_threads()
        _forward(features.numpy(), w1.numpy(), b1.numpy(), w2.numpy(), out_bias.detach().numpy(), out.numpy())
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        features, w1, b1, w2 = (tensor.detach() for tensor in ctx.saved_tensors)
        hidden, inputs = ctx.sizes
        chunks = (features.shape[0] + _CHUNK - 1) // _CHUNK
        grad_features = torch.empty(features.shape)
        sums = [torch.zeros(chunks, *shape) for shape in (w1.shape, b1.shape, w2.shape)]
        grad = grad.contiguous()
        follow_torch_threads()
        arrays = [t.numpy() for t in (features, w1, b1, w2, grad, grad_features, *sums)]
        _backward(*arrays)
        grad_w1, grad_b1, grad_w2 = (total.sum(0) for total in sums)
        return (
            grad_features, grad_w1[:hidden, :inputs], grad_b1[:hidden], grad_w2[:, :hidden], grad.sum(0),
        )


def _padded(w1: Tensor, b1: Tensor, w2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden units and inputs filled up to multiples of four with zeros, which change nothing."""
    rows, columns = -w1.shape[0] % 4, -w1.shape[1] % 4
    return (
        F.pad(w1.detach(), (0, columns, 0, rows)).contiguous(),
        F.pad(b1.detach(), (0, rows)).contiguous(),
        F.pad(w2.detach(), (0, rows)).contiguous(),
    )


@inline
@no_type_check
def _load(source, start, count, tile):
    """Transpose rows of ``source`` into the tile; its other columns and rows become zero."""
    width = source.shape[1]
    for k in range(tile.shape[0]):
        for s in range(_TILE):
            tile[k, s] = source[start + s, k] if k < width and s < count else _ZERO


@inline
@no_type_check
def _hidden(f, w1, b1, h):
    """h (h, tile) = W1 f + b1, before the ReLU."""
    for j in range(h.shape[0]):
        for s in range(_TILE):
            h[j, s] = b1[j]
        for k in range(0, f.shape[0], 4):
            a, b, c, d = w1[j, k], w1[j, k + 1], w1[j, k + 2], w1[j, k + 3]
            for s in range(_TILE):
                h[j, s] += a * f[k, s] + b * f[k + 1, s] + c * f[k + 2, s] + d * f[k + 3, s]


@reducing_kernel
@no_type_check
def _forward(features, w1, b1, w2, b2, out):
    n, hidden, outputs = features.shape[0], w1.shape[0], w2.shape[0]
    for chunk in numba.prange((n + _CHUNK - 1) // _CHUNK):
        f = np.empty((w1.shape[1], _TILE), np.float32)
        h = np.empty((hidden, _TILE), np.float32)
        y = np.empty((outputs, _TILE), np.float32)
        for start in range(chunk * _CHUNK, min(n, (chunk + 1) * _CHUNK), _TILE):
            count = min(_TILE, n - start)
            _load(features, start, count, f)
            _hidden(f, w1, b1, h)
            for o in range(outputs):
                for s in range(_TILE):
                    y[o, s] = b2[o]
                for j in range(hidden):
                    w = w2[o, j]
                    for s in range(_TILE):
                        y[o, s] += w * max(h[j, s], _ZERO)
            for s in range(count):
                for o in range(outputs):
                    out[start + s, o] = y[o, s]


@inline
@no_type_check
def _hidden_gradients(h, g, w2, sum_w2, sum_b1, chunk):
    """Turn the tile of h into the gradient of W1 f + b1, adding up those of W2 and b1."""
    for j in range(h.shape[0]):
        for o in range(g.shape[0]):
            total = _ZERO
            for s in range(_TILE):
                total += g[o, s] * max(h[j, s], _ZERO)
            sum_w2[chunk, o, j] += total
        total = _ZERO
        for s in range(_TILE):
            value = _ZERO
            for o in range(g.shape[0]):
                value += w2[o, j] * g[o, s]
            h[j, s] = value if h[j, s] > _ZERO else _ZERO
            total += h[j, s]
        sum_b1[chunk, j] += total


@inline
@no_type_check
def _weight_gradients(h, f, sum_w1, chunk):
    for j in range(h.shape[0]):
        for k in range(0, f.shape[0], 4):
            a, b, c, d = _ZERO, _ZERO, _ZERO, _ZERO
            for s in range(_TILE):
                a += h[j, s] * f[k, s]
                b += h[j, s] * f[k + 1, s]
                c += h[j, s] * f[k + 2, s]
                d += h[j, s] * f[k + 3, s]
            sum_w1[chunk, j, k] += a
            sum_w1[chunk, j, k + 1] += b
            sum_w1[chunk, j, k + 2] += c
            sum_w1[chunk, j, k + 3] += d


@reducing_kernel
@no_type_check
def _backward(features, w1, b1, w2, grad, grad_features, sum_w1, sum_b1, sum_w2):
    n, hidden, width = features.shape[0], w1.shape[0], features.shape[1]
    for chunk in numba.prange(sum_w1.shape[0]):
        f = np.empty((w1.shape[1], _TILE), np.float32)
        h = np.empty((hidden, _TILE), np.float32)
        g = np.empty((w2.shape[0], _TILE), np.float32)
        for start in range(chunk * _CHUNK, min(n, (chunk + 1) * _CHUNK), _TILE):
            count = min(_TILE, n - start)
            _load(features, start, count, f)
            _load(grad, start, count, g)
            _hidden(f, w1, b1, h)
            _hidden_gradients(h, g, w2, sum_w2, sum_b1, chunk)
            _weight_gradients(h, f, sum_w1, chunk)
            for k in range(width):  # f is not needed any more: it takes its own gradient
                for s in range(_TILE):
                    f[k, s] = _ZERO
                for j in range(0, hidden, 4):
                    a, b, c, d = w1[j, k], w1[j + 1, k], w1[j + 2, k], w1[j + 3, k]
                    for s in range(_TILE):
                        f[k, s] += a * h[j, s] + b * h[j + 1, s] + c * h[j + 2, s] + d * h[j + 3, s]
            for s in range(count):
                for k in range(width):
                    grad_features[start + s, k] = f[k, s]
