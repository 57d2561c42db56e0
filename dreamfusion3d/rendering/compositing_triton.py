"""Packed compositing weights on a GPU: one lane per ray, one forward and one backward pass."""

from __future__ import annotations

from typing import no_type_check

import torch
import triton
import triton.language as tl

BLOCK = 32  # rays per program, which runs until the longest of them ends
_SMALL = tl.constexpr(1e-2)  # below it 1 - exp(-s) is a sum of three terms, to the last digit


class _Weights(torch.autograd.Function):
    """`compositing_weights` in float32, from densities, interval lengths and packed_info."""

    @staticmethod
    def forward(ctx, density, lengths, packed_info):
        density, lengths = density.detach().contiguous(), lengths.detach().contiguous()
        # samples of no ray have weight 0
        out, after = torch.zeros_like(density), torch.zeros_like(density)
        rays = len(packed_info)
        if rays:
            _forward[(triton.cdiv(rays, BLOCK),)](density, lengths, packed_info, out, after, rays, BLOCK=BLOCK)
        ctx.save_for_backward(lengths, packed_info, out, after)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        lengths, packed_info, weights, after = ctx.saved_tensors
        out, rays = torch.zeros_like(lengths), len(packed_info)
        if rays:
            _backward[(triton.cdiv(rays, BLOCK),)](
                grad.contiguous(), lengths, packed_info, weights, after, out, rays, BLOCK=BLOCK
            )
        return out, None, None


compositing_weights_triton = _Weights.apply


@triton.jit
@no_type_check
def _forward(density, lengths, packed_info, out, after, rays, BLOCK: tl.constexpr):
    """Write the weights, and to ``after`` the transmittance behind each sample, for the gradient."""
    ray = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    first = tl.load(packed_info + 2 * ray, ray < rays, 0)
    count = tl.load(packed_info + 2 * ray + 1, ray < rays, 0)
    transmittance = tl.full((BLOCK,), 1.0, tl.float32)
    for k in range(tl.max(count, 0)):
        valid = k < count
        sample = first + k
        optical_depth = tl.load(density + sample, valid, 0.0) * tl.load(lengths + sample, valid, 0.0)
        attenuation = tl.exp(-optical_depth)
        series = optical_depth * (1.0 - optical_depth * (0.5 - optical_depth / 6.0))
        tl.store(out + sample, transmittance * tl.where(optical_depth < _SMALL, series, 1.0 - attenuation), valid)
        transmittance = transmittance * attenuation
        tl.store(after + sample, transmittance, valid)


@triton.jit
@no_type_check
def _backward(grad, lengths, packed_info, weights, after, out, rays, BLOCK: tl.constexpr):
    """d w_i / d s_i = T_{i+1}, d w_j / d s_i = -w_j for j > i, with s = sigma delta."""
    ray = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    first = tl.load(packed_info + 2 * ray, ray < rays, 0)
    count = tl.load(packed_info + 2 * ray + 1, ray < rays, 0)
    suffix_sum = tl.zeros((BLOCK,), tl.float32)  # sum of grad_j w_j over j > i
    for reverse in range(tl.max(count, 0)):
        valid = reverse < count
        sample = first + count - 1 - reverse
        g = tl.load(grad + sample, valid, 0.0)
        slope = g * tl.load(after + sample, valid, 0.0) - suffix_sum
        tl.store(out + sample, tl.load(lengths + sample, valid, 0.0) * slope, valid)
        suffix_sum += g * tl.load(weights + sample, valid, 0.0)
