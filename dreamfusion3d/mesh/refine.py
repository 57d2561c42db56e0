"""Sample a density on a fine grid, but only near its surface."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from dreamfusion3d.mesh.isosurface import QUERY_CHUNK, check_finite

SATURATED = 3.0  # |log(density / level)| that `log_ratio` clips anyway
MARGIN = 1  # coarse cells around the active ones
BLOCK = 4  # fine samples per axis of a block, which is queried or skipped as a whole


def refine_grid(
    density: Callable[[np.ndarray], np.ndarray],
    coarse: Float[np.ndarray, "c c c"],
    level: float,
    resolution: int,
    bound: float = 1.0,
) -> Float[np.ndarray, "r r r"]:
    """Approximate `sample_grid` at ``resolution`` by querying only near the surface of ``coarse``.

    A coarse cell is active if its corners lie on both sides of ``level`` or one of them is within a
    factor e^`SATURATED` of it, where thin parts hide; so are its neighbors within `MARGIN`. All other
    samples take the nearest coarse value, which `log_ratio` clips to the same number as the true one.
    """
    active = _active_cells(coarse, level)
    near = np.rint(np.linspace(0, len(coarse) - 1, resolution)).astype(np.int64)
    grid = np.empty((resolution,) * 3, np.float32)
    for i, source in enumerate(near):  # slab by slab, to avoid a second grid
        grid[i] = coarse[source][np.ix_(near, near)]
    axis = np.linspace(-bound, bound, resolution, dtype=np.float32)
    blocks = _blocks_touching(active, resolution)
    corners = np.stack(np.nonzero(blocks), axis=1) * BLOCK
    offset = np.stack(np.unravel_index(np.arange(BLOCK**3), (BLOCK,) * 3), axis=1)
    blocks_per_chunk = max(QUERY_CHUNK // BLOCK**3, 1)
    for start in range(0, len(corners), blocks_per_chunk):
        ijk = (corners[start : start + blocks_per_chunk, None] + offset).reshape(-1, 3)
        ijk = ijk[(ijk < resolution).all(1)]
        values = density(axis[ijk])
        check_finite(values)
        grid[ijk[:, 0], ijk[:, 1], ijk[:, 2]] = values
    return grid


def _active_cells(coarse: Float[np.ndarray, "c c c"], level: float) -> Bool[np.ndarray, "n n n"]:
    """Return a mask of the (c - 1)^3 coarse cells to query."""
    low, high = level * np.exp(-SATURATED), level * np.exp(SATURATED)
    empty, dense = coarse < low, coarse > high
    # cells whose corners are all empty or all dense are skipped
    active = ~(_all_corners(empty) | _all_corners(dense))
    return np.asarray(ndimage.binary_dilation(active, np.ones((3, 3, 3), bool), iterations=MARGIN))


def _all_corners(samples: Bool[np.ndarray, "c c c"]) -> Bool[np.ndarray, "n n n"]:
    for axis in range(3):
        samples = np.moveaxis(samples, axis, 0)
        samples = np.moveaxis(samples[1:] & samples[:-1], 0, axis)
    return samples


def _blocks_touching(cells: Bool[np.ndarray, "n n n"], resolution: int) -> Bool[np.ndarray, "b b b"]:
    """Return a mask of the blocks of fine samples that touch an active cell."""
    count, n = -(-resolution // BLOCK), len(cells)
    first = np.arange(count) * BLOCK
    last = np.minimum(first + BLOCK - 1, resolution - 1)
    low = np.floor(first * n / (resolution - 1)).astype(np.int64).clip(0, n - 1)
    high = np.ceil(last * n / (resolution - 1)).astype(np.int64).clip(1, n)
    marked = cells
    for axis in range(3):
        total = np.cumsum(np.moveaxis(marked, axis, 0), axis=0, dtype=np.int32)
        total = np.concatenate([np.zeros_like(total[:1]), total])
        marked = np.moveaxis(total[high] > total[low], 0, axis)
    return marked
