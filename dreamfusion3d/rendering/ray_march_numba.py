"""The ray marcher on the CPU: one pass counts a ray's samples, a second one writes them."""

from __future__ import annotations

from typing import no_type_check

import numba
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dreamfusion3d.core.numba_kernels import exact_kernel, follow_torch_threads, inline

_HALF = np.float32(0.5)
_ONE = np.float32(1)


def march_numba(
    origins: Float[Tensor, "r 3"],
    directions: Float[Tensor, "r 3"],
    near: Float[Tensor, " r"],
    far: Float[Tensor, " r"],
    jitter: Float[Tensor, " r"],
    binary: Bool[Tensor, "x y z"],
    step_size: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the fields of `Samples`; arguments as in `march`."""
    follow_torch_threads()
    grid = binary.contiguous().numpy()
    step = np.float32(step_size)
    rays = [t.contiguous().numpy() for t in (origins, directions, near, far, jitter)]
    counts = torch.empty(near.shape[0], dtype=torch.int64)
    _count(*rays, grid, step, counts.numpy())
    packed_info = torch.stack([counts.cumsum(0) - counts, counts], -1)
    total = int(counts.sum())
    ray_indices = torch.empty(total, dtype=torch.int64)
    t_starts, t_ends = torch.empty(total), torch.empty(total)
    _fill(*rays, grid, step, packed_info.numpy(), ray_indices.numpy(), t_starts.numpy(), t_ends.numpy())
    return ray_indices, t_starts, t_ends, packed_info


@inline
@no_type_check
def _cell(origin, direction, midpoint, resolution):
    """Return the index along one axis of the grid cell at a point of a ray."""
    position = origin + direction * midpoint
    cell = np.int64((position + _ONE) * (np.float32(resolution) * _HALF))
    return min(max(cell, np.int64(0)), np.int64(resolution - 1))


@inline
@no_type_check
def _occupied(origins, directions, ray, midpoint, grid):
    i = _cell(origins[ray, 0], directions[ray, 0], midpoint, grid.shape[0])
    j = _cell(origins[ray, 1], directions[ray, 1], midpoint, grid.shape[1])
    k = _cell(origins[ray, 2], directions[ray, 2], midpoint, grid.shape[2])
    return grid[i, j, k]


@exact_kernel
@no_type_check
def _count(origins, directions, near, far, jitter, grid, step, counts):
    half = step * _HALF
    for ray in numba.prange(near.shape[0]):
        count = 0
        index = np.float32(0)
        midpoint = near[ray] + ((index + jitter[ray]) - _ONE) * step + half
        while midpoint < far[ray]:
            if midpoint >= near[ray] and _occupied(origins, directions, ray, midpoint, grid):
                count += 1
            index += _ONE
            midpoint = near[ray] + ((index + jitter[ray]) - _ONE) * step + half
        counts[ray] = count


@exact_kernel
@no_type_check
def _fill(origins, directions, near, far, jitter, grid, step, packed_info, ray_indices, t_starts, t_ends):
    half = step * _HALF
    for ray in numba.prange(near.shape[0]):
        write, end = packed_info[ray, 0], packed_info[ray, 0] + packed_info[ray, 1]
        index = np.float32(0)
        while write < end:
            start = near[ray] + ((index + jitter[ray]) - _ONE) * step
            midpoint = start + half
            if midpoint >= near[ray] and _occupied(origins, directions, ray, midpoint, grid):
                ray_indices[write] = ray
                t_starts[write] = start
                t_ends[write] = start + step
                write += 1
            index += _ONE
