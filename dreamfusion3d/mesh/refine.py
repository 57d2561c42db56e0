"""A fine grid of a density that is asked only near its surface."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from dreamfusion3d.mesh.isosurface import QUERY_CHUNK, check_finite

SATURATED = 3.0  # |log(density / level)| beyond which `extract.log_ratio` clips anyway
MARGIN = 1  # coarse cells around those that must be asked
BLOCK = 8  # fine samples along an edge of what is asked or left as a whole


def refine_grid(
    density: Callable[[np.ndarray], np.ndarray],
    coarse: Float[np.ndarray, "c c c"],
    level: float,
    resolution: int,
    bound: float = 1.0,
) -> Float[np.ndarray, "r r r"]:
    """What `extract.sample_grid` gives at ``resolution``, asked near the surface of ``coarse`` alone.

    A coarse cell is asked for where its corners lie on both sides of ``level`` or where one is
    within a factor e^SATURATED of it (there thin parts hide), and so are the cells MARGIN around.
    All other samples take the nearest coarse value: `extract.log_ratio` clips it to the same
    number as the true one.
    """
    active = _active_cells(coarse, level)
    near = np.rint(np.linspace(0, len(coarse) - 1, resolution)).astype(np.int64)
    grid = np.empty((resolution,) * 3, np.float32)
    for i, source in enumerate(near):  # a slab at a time: no second grid
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
    """(c - 1)^3 cells that must be asked."""
    low, high = level * np.exp(-SATURATED), level * np.exp(SATURATED)
    empty, dense = coarse < low, coarse > high
    # a cell whose corners are all dim, or all dense, is left as it is
    active = ~(_all_corners(empty) | _all_corners(dense))
    return np.asarray(ndimage.binary_dilation(active, np.ones((3, 3, 3), bool), iterations=MARGIN))


def _all_corners(samples: Bool[np.ndarray, "c c c"]) -> Bool[np.ndarray, "n n n"]:
    for axis in range(3):
        samples = np.moveaxis(samples, axis, 0)
        samples = np.moveaxis(samples[1:] & samples[:-1], 0, axis)
    return samples


def _blocks_touching(cells: Bool[np.ndarray, "n n n"], resolution: int) -> Bool[np.ndarray, "b b b"]:
    """Blocks of fine samples that touch a marked cell."""
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
