"""The marcher on a GPU: one kernel counts a ray's samples, a second one writes them.

The host needs the number of samples in between: it is the size of what follows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Bool, Float
from torch import Tensor

from dreamfusion3d.core.async_scalar import Later

BLOCK = 64  # rays of a program: few, so that a frame of 64 x 64 fills a GPU
# Neither kernel may fuse a product with a sum: the samples are the reference's, bit for bit.
_OPTIONS = {"BLOCK": BLOCK, "enable_fp_fusion": False}


def march_triton(
    origins: Float[Tensor, "r 3"], directions: Float[Tensor, "r 3"], near: Float[Tensor, " r"],
    far: Float[Tensor, " r"], jitter: Float[Tensor, " r"], binary: Bool[Tensor, "x y z"], step_size: float,
) -> Callable[[], tuple[Tensor, Tensor, Tensor, Tensor]]:
    """What lists the fields of ``Samples``, when their number is there; arguments as in ``march``."""
    device, rays = near.device, len(near)
    grid = binary.contiguous().to(torch.int8)
    given = [t.contiguous() for t in (origins, directions, near, far, jitter)]
    # as float32: a Python float would be rounded once per operation
    step = torch.full((1,), step_size, dtype=torch.float32, device=device)
    counts = torch.zeros(rays, dtype=torch.int64, device=device)
    programs = (max(triton.cdiv(rays, BLOCK), 1),)
    _count[programs](*given, grid, step, counts, rays, *binary.shape, **_OPTIONS)
    packed_info = torch.stack([counts.cumsum(0) - counts, counts], -1)
    total = Later(counts.sum())

    def listed() -> tuple[Tensor, Tensor, Tensor, Tensor]:
        size = int(total.read())
        ray_indices = torch.empty(size, dtype=torch.int64, device=device)
        starts, ends = (torch.empty(size, device=device) for _ in range(2))
        if size:
            _fill[programs](
                *given, grid, step, packed_info, ray_indices, starts, ends, rays, *binary.shape, **_OPTIONS
            )
        return ray_indices, starts, ends, packed_info

    return listed


@triton.jit
@no_type_check
def _ray(origins, directions, near, far, jitter, rays, BLOCK: tl.constexpr):
    """This program's rays: their numbers, which exist, and all that is known of them."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    real = at < rays
    o, d = origins + 3 * at, directions + 3 * at
    return (
        at, real, tl.load(o, real, 0.0), tl.load(o + 1, real, 0.0), tl.load(o + 2, real, 0.0),
        tl.load(d, real, 0.0), tl.load(d + 1, real, 0.0), tl.load(d + 2, real, 0.0),
        tl.load(near + at, real, 0.0), tl.load(far + at, real, -1.0), tl.load(jitter + at, real, 0.0),
    )


@triton.jit
@no_type_check
def _cell(origin, direction, middle, cells):
    """Index along one axis of the grid cell that holds a point of a ray."""
    position = origin + direction * middle
    cell = ((position + 1.0) * (cells * 0.5)).to(tl.int32)
    return tl.minimum(tl.maximum(cell, 0), cells - 1)


@triton.jit
@no_type_check
def _kept(grid, real, ox, oy, oz, dx, dy, dz, near, far, middle, nx, ny, nz):
    """Whether an interval's middle lies in the box and in an occupied cell."""
    inside = real & (middle >= near) & (middle < far)
    i = _cell(ox, dx, middle, nx)
    j = _cell(oy, dy, middle, ny)
    k = _cell(oz, dz, middle, nz)
    return inside & (tl.load(grid + (i * ny + j) * nz + k, inside, 0) != 0)


@triton.jit
@no_type_check
def _count(
    origins, directions, near, far, jitter, grid, step, counts, rays, nx, ny, nz, BLOCK: tl.constexpr
):
    at, real, ox, oy, oz, dx, dy, dz, a, b, shift = _ray(origins, directions, near, far, jitter, rays, BLOCK)
    length = tl.load(step)
    found = tl.zeros((BLOCK,), tl.int64)
    most = tl.max(tl.ceil(tl.maximum(b - a, 0.0) / length), 0).to(tl.int32) + 1
    for index in range(most):
        middle = a + ((index + shift) - 1.0) * length + length * 0.5
        kept = _kept(grid, real, ox, oy, oz, dx, dy, dz, a, b, middle, nx, ny, nz)
        found += kept.to(tl.int64)
    tl.store(counts + at, found, real)


@triton.jit
@no_type_check
def _fill(
    origins, directions, near, far, jitter, grid, step, packed_info, ray_indices, starts, ends,
    rays, nx, ny, nz, BLOCK: tl.constexpr,
):
    at, real, ox, oy, oz, dx, dy, dz, a, b, shift = _ray(origins, directions, near, far, jitter, rays, BLOCK)
    length = tl.load(step)
    write = tl.load(packed_info + 2 * at, real, 0)
    most = tl.max(tl.ceil(tl.maximum(b - a, 0.0) / length), 0).to(tl.int32) + 1
    for index in range(most):
        start = a + ((index + shift) - 1.0) * length
        middle = start + length * 0.5
        kept = _kept(grid, real, ox, oy, oz, dx, dy, dz, a, b, middle, nx, ny, nz)
        tl.store(ray_indices + write, at.to(tl.int64), kept)
        tl.store(starts + write, start, kept)
        tl.store(ends + write, start + length, kept)
        write += kept.to(tl.int64)
