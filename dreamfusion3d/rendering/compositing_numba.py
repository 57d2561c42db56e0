"""Packed compositing on the CPU: one forward and one backward pass per ray."""

from __future__ import annotations

import math
from typing import no_type_check

import numba
import numpy as np
import torch

from dreamfusion3d.core.numba_kernels import follow_torch_threads, kernel, serial_kernel

_ONE = np.float32(1)
_ZERO = np.float32(0)


class _Weights(torch.autograd.Function):
    """`compositing_weights` in float32, from densities, interval lengths and packed_info."""

    @staticmethod
    def forward(ctx, density, lengths, packed_info):
        density, lengths = density.detach().contiguous(), lengths.detach().contiguous()
        out, after = torch.empty_like(density), torch.empty_like(density)
        follow_torch_threads()
        _weights(density.numpy(), lengths.numpy(), packed_info.numpy(), out.numpy(), after.numpy())
        ctx.save_for_backward(lengths, packed_info, out, after)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        arrays = [tensor.detach().numpy() for tensor in ctx.saved_tensors]
        out = torch.empty(grad.shape)
        follow_torch_threads()
        _weights_backward(grad.contiguous().numpy(), *arrays, out.numpy())
        return out, None, None


class _Accumulate(torch.autograd.Function):
    """`accumulate` in float32."""

    @staticmethod
    def forward(ctx, weights, values, ray_indices, num_rays):
        weights, values = weights.detach().contiguous(), values.detach().contiguous()
        ctx.save_for_backward(weights, values, ray_indices)
        out = torch.zeros(num_rays, values.shape[1])
        _accumulate(weights.numpy(), values.numpy(), ray_indices.numpy(), out.numpy())
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        weights, values, _ = ctx.saved_tensors
        grad_weights, grad_values = torch.empty(weights.shape), torch.empty(values.shape)
        follow_torch_threads()
        tensors = (grad.contiguous(), *ctx.saved_tensors, grad_weights, grad_values)
        _accumulate_backward(*(tensor.numpy() for tensor in tensors))
        return grad_weights, grad_values, None, None


compositing_weights_numba, accumulate_numba = _Weights.apply, _Accumulate.apply


@kernel
@no_type_check
def _weights(density, lengths, packed_info, out, after):
    """Write the weights, and to ``after`` the transmittance behind each sample, for the gradient."""
    for ray in numba.prange(packed_info.shape[0]):
        transmittance = _ONE
        for i in range(packed_info[ray, 0], packed_info[ray, 0] + packed_info[ray, 1]):
            optical_depth = density[i] * lengths[i]
            out[i] = transmittance * -np.float32(math.expm1(-optical_depth))
            transmittance *= np.float32(math.exp(-optical_depth))
            after[i] = transmittance


@kernel
@no_type_check
def _weights_backward(grad, lengths, packed_info, weights, after, out):
    """d w_i / d s_i = T_{i+1}, d w_j / d s_i = -w_j for j > i, with s = sigma delta."""
    for ray in numba.prange(packed_info.shape[0]):
        start = packed_info[ray, 0]
        suffix_sum = _ZERO  # sum of grad_j w_j over j > i
        for reverse in range(packed_info[ray, 1]):
            i = start + packed_info[ray, 1] - 1 - reverse
            out[i] = lengths[i] * (grad[i] * after[i] - suffix_sum)
            suffix_sum += grad[i] * weights[i]


@serial_kernel
@no_type_check
def _accumulate(weights, values, ray_indices, out):
    # serial: samples need not be ordered by ray, and the sum costs less than waking the other threads
    for i in range(values.shape[0]):
        for c in range(values.shape[1]):
            out[ray_indices[i], c] += weights[i] * values[i, c]


@kernel
@no_type_check
def _accumulate_backward(grad, weights, values, ray_indices, grad_weights, grad_values):
    for i in numba.prange(values.shape[0]):
        ray = ray_indices[i]
        total = _ZERO
        for c in range(values.shape[1]):
            total += grad[ray, c] * values[i, c]
            grad_values[i, c] = grad[ray, c] * weights[i]
        grad_weights[i] = total
