"""The ray marcher on a GPU: one kernel counts a ray's samples, a second one writes them.

In between the host reads the number of samples, to allocate them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Bool, Float
from torch import Tensor

from dreamfusion3d.core.async_scalar import AsyncScalar

BLOCK = 64  # rays per program: few, so that an image of 64 x 64 fills a GPU
# without fused multiply-adds, so that the samples are the reference's bit for bit
_OPTIONS = {"BLOCK": BLOCK, "enable_fp_fusion": False}


def march_triton(
    origins: Float[Tensor, "r 3"],
    directions: Float[Tensor, "r 3"],
    near: Float[Tensor, " r"],
    far: Float[Tensor, " r"],
    jitter: Float[Tensor, " r"],
    binary: Bool[Tensor, "x y z"],
    step_size: float,
) -> Callable[[], tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Count the samples; return a function that waits for the count and writes the fields of `Samples`.

    Arguments as in `march`.
    """
    device, rays = near.device, len(near)
    grid = binary.contiguous().to(torch.int8)
    ray_inputs = [t.contiguous() for t in (origins, directions, near, far, jitter)]
    # a tensor of float32: a Python float would be rounded once per operation
    step = torch.full((1,), step_size, dtype=torch.float32, device=device)
    counts = torch.zeros(rays, dtype=torch.int64, device=device)
    programs = (max(triton.cdiv(rays, BLOCK), 1),)
    _count[programs](*ray_inputs, grid, step, counts, rays, *binary.shape, **_OPTIONS)
    packed_info = torch.stack([counts.cumsum(0) - counts, counts], -1)
    total = AsyncScalar(counts.sum())

    def collect() -> tuple[Tensor, Tensor, Tensor, Tensor]:
        size = int(total.read())
        ray_indices = torch.empty(size, dtype=torch.int64, device=device)
        starts, ends = (torch.empty(size, device=device) for _ in range(2))
        if size:
            outputs = ray_indices, starts, ends
            _fill[programs](*ray_inputs, grid, step, packed_info, *outputs, rays, *binary.shape, **_OPTIONS)
        return ray_indices, starts, ends, packed_info

    return collect


@triton.jit
@no_type_check
def _ray(origins, directions, near, far, jitter, rays, BLOCK: tl.constexpr):
    """Return this program's ray indices, their validity, and the rays' inputs."""
    ray = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = ray < rays
    o, d = origins + 3 * ray, directions + 3 * ray
    ox, oy, oz = tl.load(o, valid, 0.0), tl.load(o + 1, valid, 0.0), tl.load(o + 2, valid, 0.0)
    dx, dy, dz = tl.load(d, valid, 0.0), tl.load(d + 1, valid, 0.0), tl.load(d + 2, valid, 0.0)
    a, b, shift = tl.load(near + ray, valid, 0.0), tl.load(far + ray, valid, -1.0), tl.load(jitter + ray, valid, 0.0)
    return ray, valid, ox, oy, oz, dx, dy, dz, a, b, shift


@triton.jit
@no_type_check
def _cell(origin, direction, midpoint, cells):
    """Return the index along one axis of the grid cell at a point of a ray."""
    position = origin + direction * midpoint
    cell = ((position + 1.0) * (cells * 0.5)).to(tl.int32)
    return tl.minimum(tl.maximum(cell, 0), cells - 1)


@triton.jit
@no_type_check
def _occupied(grid, valid, ox, oy, oz, dx, dy, dz, near, far, midpoint, nx, ny, nz):
    """Test if an interval's midpoint lies in the box and in an occupied cell."""
    inside = valid & (midpoint >= near) & (midpoint < far)
    i = _cell(ox, dx, midpoint, nx)
    j = _cell(oy, dy, midpoint, ny)
    k = _cell(oz, dz, midpoint, nz)
    return inside & (tl.load(grid + (i * ny + j) * nz + k, inside, 0) != 0)


@triton.jit
@no_type_check
def _count(origins, directions, near, far, jitter, grid, step, counts, rays, nx, ny, nz, BLOCK: tl.constexpr):
    ray, valid, ox, oy, oz, dx, dy, dz, a, b, shift = _ray(origins, directions, near, far, jitter, rays, BLOCK)
    length = tl.load(step)
    count = tl.zeros((BLOCK,), tl.int64)
    max_steps = tl.max(tl.ceil(tl.maximum(b - a, 0.0) / length), 0).to(tl.int32) + 1
    for index in range(max_steps):
        midpoint = a + ((index + shift) - 1.0) * length + length * 0.5
        occupied = _occupied(grid, valid, ox, oy, oz, dx, dy, dz, a, b, midpoint, nx, ny, nz)
        count += occupied.to(tl.int64)
    tl.store(counts + ray, count, valid)


@triton.jit
@no_type_check
def _fill(
    origins,
    directions,
    near,
    far,
    jitter,
    grid,
    step,
    packed_info,
    ray_indices,
    starts,
    ends,
    rays,
    nx,
    ny,
    nz,
    BLOCK: tl.constexpr,
):
    ray, valid, ox, oy, oz, dx, dy, dz, a, b, shift = _ray(origins, directions, near, far, jitter, rays, BLOCK)
    length = tl.load(step)
    write = tl.load(packed_info + 2 * ray, valid, 0)
    max_steps = tl.max(tl.ceil(tl.maximum(b - a, 0.0) / length), 0).to(tl.int32) + 1
    for index in range(max_steps):
        start = a + ((index + shift) - 1.0) * length
        midpoint = start + length * 0.5
        occupied = _occupied(grid, valid, ox, oy, oz, dx, dy, dz, a, b, midpoint, nx, ny, nz)
        tl.store(ray_indices + write, ray.to(tl.int64), occupied)
        tl.store(starts + write, start, occupied)
        tl.store(ends + write, start + length, occupied)
        write += occupied.to(tl.int64)
