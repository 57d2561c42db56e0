"""The hash grid on the CPU, as numba kernels.

All kernels are deterministic for any number of threads: the forward pass and the gradient of the points are
parallel over points, the gradient of the table over levels, whose rows are disjoint.

The kernels whose names end in ``_pairs`` are specialized to the usual two features per level: half the time, the
same bits. In levels that exceed a core's cache they first compute the rows of a block of points and then read
them, so that the core has many reads in flight at once.
"""

from __future__ import annotations

from functools import lru_cache
from typing import no_type_check

import numba
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.core.numba_kernels import follow_torch_threads, inline, kernel
from dreamfusion3d.fields.hashgrid.layout import PRIME_Y, PRIME_Z, HashGridLayout

_POINTS_PER_CHUNK = 1024  # points that pass one level before the next, so that its rows stay in the cache
_POINTS_PER_BLOCK = 64  # points whose rows are computed before any is read
# rows of a level (8 bytes each) from which blocks pay off
_MIN_ROWS_BLOCKED_READ = 1 << 16
_MIN_ROWS_BLOCKED_ADD = 1 << 17
_ONE = np.float32(1)
_ZERO = np.float32(0)
_PRIME_Y = np.uint64(PRIME_Y)
_PRIME_Z = np.uint64(PRIME_Z)


def hashgrid_numba(
    x: Float[Tensor, "n 3"], table: Float[Tensor, "rows f"], layout: HashGridLayout
) -> Float[Tensor, "n c"]:
    """Compute `hashgrid`; float32 on the CPU only."""
    for name, value in (("x", x), ("table", table)):
        if value.device.type != "cpu" or value.dtype != torch.float32:
            raise ValueError(f"the numba hash grid needs float32 on the CPU; {name} is {value.dtype} on {value.device}")
    return _HashGrid.apply(x, table, layout)


class _HashGrid(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, table, layout):
        x, table = x.contiguous(), table.contiguous()
        ctx.save_for_backward(x, table)
        ctx.layout = layout
        out = torch.empty(x.shape[0], layout.output_dim)
        follow_torch_threads()
        run = _forward_pairs if layout.features == 2 else _forward
        run(x.detach().numpy(), table.detach().numpy(), _level_table(layout), out.numpy())
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        x, table = (tensor.detach().numpy() for tensor in ctx.saved_tensors)
        levels, grad = _level_table(ctx.layout), grad.contiguous().numpy()
        grad_x = grad_table = None
        follow_torch_threads()
        if ctx.needs_input_grad[0]:
            grad_x = torch.empty(x.shape)
            _backward_x(x, table, levels, grad, grad_x.numpy())
        if ctx.needs_input_grad[1]:
            grad_table = torch.zeros(table.shape)
            run = _backward_table_pairs if ctx.layout.features == 2 else _backward_table
            run(x, levels, grad, grad_table.numpy())
        return grad_x, grad_table, None


@lru_cache(maxsize=64)
def _level_table(layout: HashGridLayout) -> np.ndarray:
    """Return (L, 4) int64: resolution, first row, hash mask (-1: dense), and number of rows.

    The number is 0 where row indices exceed the 32 bits that a block stores, so that the level is not blocked.
    """
    mask = (1 << layout.log2_table_size) - 1
    fits_32_bits = int(layout.num_rows < 1 << 32)
    levels = zip(layout.resolutions, layout.offsets, layout.offsets[1:], layout.dense, strict=False)
    return np.array(
        [(n, start, -1 if dense else mask, fits_32_bits * (end - start)) for n, start, end, dense in levels],
        dtype=np.int64,
    )


@inline
@no_type_check
def _locate(value, resolution):
    """Return cell and fraction along an axis of a coordinate clamped to [0, 1] (NaN becomes 0)."""
    clamped = value if value > _ZERO else _ZERO
    clamped = clamped if clamped < _ONE else _ONE
    position = clamped * np.float32(resolution)
    cell = min(np.int64(position), resolution - 1)
    return cell, position - np.float32(cell)


@inline
@no_type_check
def _axis_keys(cell_y, cell_z, resolution, mask):
    """Return the terms of y, y + 1, z and z + 1 in a row index: added if dense, XORed if hashed."""
    side = np.uint64(resolution + 1)
    y, z = np.uint64(cell_y), np.uint64(cell_z)
    one = np.uint64(1)
    if mask < 0:
        return y * side, (y + one) * side, z * side * side, (z + one) * side * side
    return y * _PRIME_Y, (y + one) * _PRIME_Y, z * _PRIME_Z, (z + one) * _PRIME_Z


@inline
@no_type_check
def _edge_rows(cell_x, key_y, key_z, offset, mask):
    """Return the rows of the vertices at cell_x and cell_x + 1 on one edge of the cell."""
    left, right, start = np.uint64(cell_x), np.uint64(cell_x + 1), np.uint64(offset)
    if mask < 0:
        base = start + key_y + key_z
        return base + left, base + right
    key, bits = key_y ^ key_z, np.uint64(mask)
    return start + ((left ^ key) & bits), start + ((right ^ key) & bits)


@inline
@no_type_check
def _cell(x, i, resolution, offset, mask):
    """Return the rows of the vertices of point i's cell, and its position within the cell.

    a: y and z low, b: y high, c: z high, d: both high; 0: x low, 1: x high.
    """
    cx, fx = _locate(x[i, 0], resolution)
    cy, fy = _locate(x[i, 1], resolution)
    cz, fz = _locate(x[i, 2], resolution)
    y0, y1, z0, z1 = _axis_keys(cy, cz, resolution, mask)
    a0, a1 = _edge_rows(cx, y0, z0, offset, mask)
    b0, b1 = _edge_rows(cx, y1, z0, offset, mask)
    c0, c1 = _edge_rows(cx, y0, z1, offset, mask)
    d0, d1 = _edge_rows(cx, y1, z1, offset, mask)
    return a0, a1, b0, b1, c0, c1, d0, d1, fx, fy, fz


@inline
@no_type_check
def _interpolate_feature(table, f, a0, a1, b0, b1, c0, c1, d0, d1, wa, wb, wc, wd, gx, fx):
    """Interpolate feature f trilinearly."""
    left = wa * table[a0, f] + wb * table[b0, f] + wc * table[c0, f] + wd * table[d0, f]
    right = wa * table[a1, f] + wb * table[b1, f] + wc * table[c1, f] + wd * table[d1, f]
    return gx * left + fx * right


@kernel
@no_type_check
def _forward(x, table, levels, out):
    n, features = x.shape[0], table.shape[1]
    for chunk in numba.prange((n + _POINTS_PER_CHUNK - 1) // _POINTS_PER_CHUNK):
        for level in range(levels.shape[0]):
            resolution, offset, mask, _ = levels[level]
            first = level * features
            for i in range(chunk * _POINTS_PER_CHUNK, min(n, (chunk + 1) * _POINTS_PER_CHUNK)):
                a0, a1, b0, b1, c0, c1, d0, d1, fx, fy, fz = _cell(x, i, resolution, offset, mask)
                gx, gy, gz = _ONE - fx, _ONE - fy, _ONE - fz
                wa, wb, wc, wd = gy * gz, fy * gz, gy * fz, fy * fz
                for f in range(features):
                    out[i, first + f] = _interpolate_feature(
                        table, f, a0, a1, b0, b1, c0, c1, d0, d1, wa, wb, wc, wd, gx, fx
                    )


@inline
@no_type_check
def _locate_block(x, start, count, resolution, offset, mask, rows, fractions):
    """Store `_cell` of ``count`` points from ``start`` on."""
    for j in range(count):
        a0, a1, b0, b1, c0, c1, d0, d1, fx, fy, fz = _cell(x, start + j, resolution, offset, mask)
        rows[j, 0], rows[j, 1], rows[j, 2], rows[j, 3] = a0, a1, b0, b1
        rows[j, 4], rows[j, 5], rows[j, 6], rows[j, 7] = c0, c1, d0, d1
        fractions[j, 0], fractions[j, 1], fractions[j, 2] = fx, fy, fz


@inline
@no_type_check
def _cell_in_block(rows, fractions, j):
    fx, fy, fz = fractions[j, 0], fractions[j, 1], fractions[j, 2]
    return rows[j, 0], rows[j, 1], rows[j, 2], rows[j, 3], rows[j, 4], rows[j, 5], rows[j, 6], rows[j, 7], fx, fy, fz


@inline
@no_type_check
def _interpolate_pair(table, out, i, first, cell):
    a0, a1, b0, b1, c0, c1, d0, d1, fx, fy, fz = cell
    gx, gy, gz = _ONE - fx, _ONE - fy, _ONE - fz
    wa, wb, wc, wd = gy * gz, fy * gz, gy * fz, fy * fz
    one = _interpolate_feature(table, 0, a0, a1, b0, b1, c0, c1, d0, d1, wa, wb, wc, wd, gx, fx)
    two = _interpolate_feature(table, 1, a0, a1, b0, b1, c0, c1, d0, d1, wa, wb, wc, wd, gx, fx)
    out[i, first], out[i, first + 1] = one, two


@kernel
@no_type_check
def _forward_pairs(x, table, levels, out):
    n = x.shape[0]
    for chunk in numba.prange((n + _POINTS_PER_CHUNK - 1) // _POINTS_PER_CHUNK):
        rows, fractions = (np.empty((_POINTS_PER_BLOCK, 8), np.uint32), np.empty((_POINTS_PER_BLOCK, 3), np.float32))
        end = min(n, (chunk + 1) * _POINTS_PER_CHUNK)
        for level in range(levels.shape[0]):
            resolution, offset, mask, size = levels[level]
            if size >= _MIN_ROWS_BLOCKED_READ:
                for start in range(chunk * _POINTS_PER_CHUNK, end, _POINTS_PER_BLOCK):
                    count = min(_POINTS_PER_BLOCK, end - start)
                    _locate_block(x, start, count, resolution, offset, mask, rows, fractions)
                    for j in range(count):
                        _interpolate_pair(table, out, start + j, level * 2, _cell_in_block(rows, fractions, j))
            else:
                for i in range(chunk * _POINTS_PER_CHUNK, end):
                    _interpolate_pair(table, out, i, level * 2, _cell(x, i, resolution, offset, mask))


@kernel
@no_type_check
def _backward_table(x, levels, grad, grad_table):
    n, features = x.shape[0], grad_table.shape[1]
    for level in numba.prange(levels.shape[0]):
        resolution, offset, mask, _ = levels[level]
        first = level * features
        for i in range(n):
            a0, a1, b0, b1, c0, c1, d0, d1, fx, fy, fz = _cell(x, i, resolution, offset, mask)
            gx, gy, gz = _ONE - fx, _ONE - fy, _ONE - fz
            wa, wb, wc, wd = gy * gz, fy * gz, gy * fz, fy * fz
            for f in range(features):
                g = grad[i, first + f]
                left, right = g * gx, g * fx
                grad_table[a0, f] += wa * left
                grad_table[a1, f] += wa * right
                grad_table[b0, f] += wb * left
                grad_table[b1, f] += wb * right
                grad_table[c0, f] += wc * left
                grad_table[c1, f] += wc * right
                grad_table[d0, f] += wd * left
                grad_table[d1, f] += wd * right


@inline
@no_type_check
def _add_to_row(grad_table, row, weight, one, two):
    grad_table[row, 0] += weight * one
    grad_table[row, 1] += weight * two


@inline
@no_type_check
def _add_to_cell(grad_table, grad, i, first, cell):
    a0, a1, b0, b1, c0, c1, d0, d1, fx, fy, fz = cell
    gx, gy, gz = _ONE - fx, _ONE - fy, _ONE - fz
    wa, wb, wc, wd = gy * gz, fy * gz, gy * fz, fy * fz
    one, two = grad[i, first], grad[i, first + 1]
    left_one, right_one, left_two, right_two = one * gx, one * fx, two * gx, two * fx
    _add_to_row(grad_table, a0, wa, left_one, left_two)
    _add_to_row(grad_table, a1, wa, right_one, right_two)
    _add_to_row(grad_table, b0, wb, left_one, left_two)
    _add_to_row(grad_table, b1, wb, right_one, right_two)
    _add_to_row(grad_table, c0, wc, left_one, left_two)
    _add_to_row(grad_table, c1, wc, right_one, right_two)
    _add_to_row(grad_table, d0, wd, left_one, left_two)
    _add_to_row(grad_table, d1, wd, right_one, right_two)


@kernel
@no_type_check
def _backward_table_pairs(x, levels, grad, grad_table):
    n = x.shape[0]
    for level in numba.prange(levels.shape[0]):
        resolution, offset, mask, size = levels[level]
        if size >= _MIN_ROWS_BLOCKED_ADD:
            rows, fractions = np.empty((_POINTS_PER_BLOCK, 8), np.uint32), np.empty((_POINTS_PER_BLOCK, 3), np.float32)
            for start in range(0, n, _POINTS_PER_BLOCK):
                count = min(_POINTS_PER_BLOCK, n - start)
                _locate_block(x, start, count, resolution, offset, mask, rows, fractions)
                for j in range(count):
                    _add_to_cell(grad_table, grad, start + j, level * 2, _cell_in_block(rows, fractions, j))
        else:
            for i in range(n):
                _add_to_cell(grad_table, grad, i, level * 2, _cell(x, i, resolution, offset, mask))


@kernel
@no_type_check
def _backward_x(x, table, levels, grad, grad_x):
    n, features = x.shape[0], table.shape[1]
    for i in numba.prange(n):
        sx, sy, sz = _ZERO, _ZERO, _ZERO
        for level in range(levels.shape[0]):
            resolution, offset, mask, _ = levels[level]
            a0, a1, b0, b1, c0, c1, d0, d1, fx, fy, fz = _cell(x, i, resolution, offset, mask)
            gx, gy, gz = _ONE - fx, _ONE - fy, _ONE - fz
            for f in range(features):
                g = grad[i, level * features + f] * np.float32(resolution)
                a, b = gx * table[a0, f] + fx * table[a1, f], gx * table[b0, f] + fx * table[b1, f]
                c, d = gx * table[c0, f] + fx * table[c1, f], gx * table[d0, f] + fx * table[d1, f]
                sy += g * (gz * (b - a) + fz * (d - c))
                sz += g * (gy * (c - a) + fy * (d - b))
                sx += g * (
                    gz * (gy * (table[a1, f] - table[a0, f]) + fy * (table[b1, f] - table[b0, f]))
                    + fz * (gy * (table[c1, f] - table[c0, f]) + fy * (table[d1, f] - table[d0, f]))
                )
        # clamped coordinates get no gradient
        grad_x[i, 0] = sx if _ZERO <= x[i, 0] <= _ONE else _ZERO
        grad_x[i, 1] = sy if _ZERO <= x[i, 1] <= _ONE else _ZERO
        grad_x[i, 2] = sz if _ZERO <= x[i, 2] <= _ONE else _ZERO
