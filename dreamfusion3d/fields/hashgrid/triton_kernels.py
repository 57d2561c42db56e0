"""The hash grid on a GPU, as Triton kernels for NVIDIA and AMD.

A program computes a block of points on one level, with all features of a row at once: a row is one load, and its
gradient one reduction where the device supports it (two floats on sm_90). Gradients of the table are summed in
float32 whatever its type, in no fixed order, so runs on a GPU differ in their last digits. With
``half_precision_grads`` they are summed in float16 as in tiny-cuda-nn, two features per reduction from sm_80 on:
half the traffic, three digits. TRITON_INTERPRET=1 runs the same kernels on the CPU, slowly.

Letters: n points, L levels, F features per level.
"""

from __future__ import annotations

from functools import lru_cache
from typing import no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.fields.hashgrid.layout import PRIME_Y, PRIME_Z, HashGridLayout

BLOCK = 256  # points per program
# largest scaled gradient: four thousand of them fit into one row of float16 (65504), and a millionth of it is
# still representable
MAX_SCALED_GRAD = 16.0
# not specialized to n, which changes every step: one build serves all
_kernel = triton.jit(do_not_specialize=["n"])
_PRIME_Y, _PRIME_Z = tl.constexpr(PRIME_Y), tl.constexpr(PRIME_Z)


def hashgrid_triton(
    x: Float[Tensor, "n 3"], table: Float[Tensor, "rows f"], layout: HashGridLayout, half_precision_grads: bool = False
) -> Float[Tensor, "n c"]:
    """Compute `hashgrid` from points in float32 and a table in float32, float16 or bfloat16."""
    if x.dtype != torch.float32:
        raise ValueError(f"the Triton hash grid needs points in float32, not {x.dtype}")
    if layout.features & (layout.features - 1):
        raise ValueError(f"the Triton hash grid needs a power of two as features per level, not {layout.features}")
    return _HashGrid.apply(x, table, layout, half_precision_grads)


class _HashGrid(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, table, layout, half_precision_grads):
        x, table = x.contiguous(), table.contiguous()
        levels = _level_table(layout, x.device)
        ctx.save_for_backward(x, table, levels)
        ctx.layout, ctx.half_precision_grads = layout, half_precision_grads
        out = torch.empty(len(x), layout.output_dim, device=x.device)
        if len(x):
            _forward[_programs(len(x), layout.num_levels)](
                x, table, levels, out, len(x), LEVELS=layout.num_levels, FEATURES=layout.features, BLOCK=BLOCK
            )
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        x, table, levels = ctx.saved_tensors
        layout, grad = ctx.layout, grad.float().contiguous()
        constants = {"LEVELS": layout.num_levels, "FEATURES": layout.features, "BLOCK": BLOCK}
        grad_x = grad_table = None
        if ctx.needs_input_grad[0]:
            grad_x = torch.zeros_like(x)
            if len(x):
                _backward_x[_programs(len(x), 1)](x, table, levels, grad, grad_x, len(x), **constants)
        if ctx.needs_input_grad[1]:
            scale = _grad_scale(grad) if ctx.half_precision_grads and len(x) else None
            dtype = torch.float32 if scale is None else torch.float16
            total = torch.zeros(table.shape, device=table.device, dtype=dtype)
            if len(x):
                _backward_table[_programs(len(x), layout.num_levels)](
                    x, levels, grad, total, scale, len(x), **constants
                )
            grad_table = (total if scale is None else total.float() / scale).to(table.dtype)
        return grad_x, grad_table, None, None


def _grad_scale(grad: Tensor) -> Tensor:
    """Return a power of two, on the device, that scales the largest gradient to about MAX_SCALED_GRAD."""
    max_grad = grad.abs().amax().clamp(min=1e-30, max=1e30)
    return torch.exp2(torch.floor(torch.log2(MAX_SCALED_GRAD / max_grad)))


def _programs(points: int, levels: int) -> tuple[int, int]:
    return triton.cdiv(points, BLOCK), levels


@lru_cache(maxsize=64)
def _level_table(layout: HashGridLayout, device: torch.device) -> Tensor:
    """Return (L, 3) int64: cells along an axis, first row, and hash mask (-1: dense)."""
    mask = (1 << layout.log2_table_size) - 1
    levels = zip(layout.resolutions, layout.offsets, layout.dense, strict=False)
    rows = [(cells, first, -1 if dense else mask) for cells, first, dense in levels]
    return torch.tensor(rows, dtype=torch.int64, device=device)


@triton.jit
@no_type_check
def _locate(value, cells):
    """Return cell and fraction along an axis of a coordinate clamped to [0, 1] (NaN becomes 0)."""
    clamped = tl.where(value > 0.0, value, 0.0)
    position = tl.where(clamped < 1.0, clamped, 1.0) * cells.to(tl.float32)
    # the far face belongs to the last cell, so that every point has eight vertices
    cell = tl.minimum(position.to(tl.int32), cells.to(tl.int32) - 1)
    return cell, position - cell.to(tl.float32)


@triton.jit
@no_type_check
def _cell(levels, level, px, py, pz):
    """Return a level's row of `_level_table`, and the cells and fractions of the points on it."""
    row = levels + 3 * level
    cells = tl.load(row)
    cx, fx = _locate(px, cells)
    cy, fy = _locate(py, cells)
    cz, fz = _locate(pz, cells)
    return cells, tl.load(row + 1), tl.load(row + 2), cx, cy, cz, fx, fy, fz


@triton.jit
@no_type_check
def _row(i, j, k, cells, first, mask):
    """Return a vertex's row in the whole table (equation 4, or the dense index).

    32 bits are enough within a level: a mask keeps low bits only, and a dense level has at most 2^30 rows.
    """
    a, b, c = i.to(tl.uint32), j.to(tl.uint32), k.to(tl.uint32)
    side = (cells + 1).to(tl.uint32)
    dense = a + side * (b + side * c)
    hashed = (a ^ (b * _PRIME_Y) ^ (c * _PRIME_Z)) & mask.to(tl.uint32)
    return first + tl.where(mask < 0, dense, hashed).to(tl.int64)


@triton.jit
@no_type_check
def _points(x, n, BLOCK: tl.constexpr):
    """Return this program's point indices, their validity, and their coordinates."""
    point = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = point < n
    pointer = x + 3 * point.to(tl.int64)
    px, py, pz = tl.load(pointer, valid, 0.0), tl.load(pointer + 1, valid, 0.0), tl.load(pointer + 2, valid, 0.0)
    return point.to(tl.int64), valid, px, py, pz


@_kernel
@no_type_check
def _forward(x, table, levels, out, n, LEVELS: tl.constexpr, FEATURES: tl.constexpr, BLOCK: tl.constexpr):
    point, valid, px, py, pz = _points(x, n, BLOCK)
    level = tl.program_id(1)
    cells, first, mask, cx, cy, cz, fx, fy, fz = _cell(levels, level, px, py, pz)
    feature = tl.arange(0, FEATURES)
    total = tl.zeros((BLOCK, FEATURES), tl.float32)
    for corner in tl.static_range(8):
        bx, by, bz = corner & 1, (corner >> 1) & 1, corner >> 2
        weight = (fx if bx else 1 - fx) * (fy if by else 1 - fy) * (fz if bz else 1 - fz)
        row = _row(cx + bx, cy + by, cz + bz, cells, first, mask)
        value = tl.load(table + row[:, None] * FEATURES + feature[None, :], valid[:, None], 0.0)
        total += weight[:, None] * value.to(tl.float32)
    pointer = out + point[:, None] * (LEVELS * FEATURES) + level * FEATURES + feature[None, :]
    tl.store(pointer, total, valid[:, None])


@_kernel
@no_type_check
def _backward_table(
    x, levels, grad, grad_table, scale, n, LEVELS: tl.constexpr, FEATURES: tl.constexpr, BLOCK: tl.constexpr
):
    point, valid, px, py, pz = _points(x, n, BLOCK)
    level = tl.program_id(1)
    cells, first, mask, cx, cy, cz, fx, fy, fz = _cell(levels, level, px, py, pz)
    feature = tl.arange(0, FEATURES)
    pointer = grad + point[:, None] * (LEVELS * FEATURES) + level * FEATURES + feature[None, :]
    g = tl.load(pointer, valid[:, None], 0.0)
    if scale is not None:
        g = g * tl.load(scale)
    for corner in tl.static_range(8):
        bx, by, bz = corner & 1, (corner >> 1) & 1, corner >> 2
        weight = (fx if bx else 1 - fx) * (fy if by else 1 - fy) * (fz if bz else 1 - fz)
        row = _row(cx + bx, cy + by, cz + bz, cells, first, mask)
        target = grad_table + row[:, None] * FEATURES + feature[None, :]
        contribution = (weight[:, None] * g).to(grad_table.dtype.element_ty)
        tl.atomic_add(target, contribution, valid[:, None], sem="relaxed")


@_kernel
@no_type_check
def _backward_x(x, table, levels, grad, grad_x, n, LEVELS: tl.constexpr, FEATURES: tl.constexpr, BLOCK: tl.constexpr):
    point, valid, px, py, pz = _points(x, n, BLOCK)
    feature = tl.arange(0, FEATURES)
    sx = tl.zeros((BLOCK,), tl.float32)
    sy = tl.zeros((BLOCK,), tl.float32)
    sz = tl.zeros((BLOCK,), tl.float32)
    for level in range(LEVELS):
        cells, first, mask, cx, cy, cz, fx, fy, fz = _cell(levels, level, px, py, pz)
        pointer = grad + point[:, None] * (LEVELS * FEATURES) + level * FEATURES + feature[None, :]
        g = tl.load(pointer, valid[:, None], 0.0) * cells.to(tl.float32)
        for corner in tl.static_range(8):
            bx, by, bz = corner & 1, (corner >> 1) & 1, corner >> 2
            wx, wy, wz = (fx if bx else 1 - fx), (fy if by else 1 - fy), (fz if bz else 1 - fz)
            row = _row(cx + bx, cy + by, cz + bz, cells, first, mask)
            value = tl.load(table + row[:, None] * FEATURES + feature[None, :], valid[:, None], 0.0)
            dot = tl.sum(value.to(tl.float32) * g, 1)
            # the slope of a weight along its axis is plus or minus one cell
            sx += dot * wy * wz * (2 * bx - 1)
            sy += dot * wx * wz * (2 * by - 1)
            sz += dot * wx * wy * (2 * bz - 1)
    # clamped coordinates get no gradient
    pointer = grad_x + 3 * point
    tl.store(pointer, tl.where((px >= 0) & (px <= 1), sx, 0.0), valid)
    tl.store(pointer + 1, tl.where((py >= 0) & (py <= 1), sy, 0.0), valid)
    tl.store(pointer + 2, tl.where((pz >= 0) & (pz <= 1), sz, 0.0), valid)
