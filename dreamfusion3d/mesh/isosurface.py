"""Sample a density on a grid and extract isosurfaces by marching cubes."""

from __future__ import annotations

from collections.abc import Callable

import mcubes
import numpy as np
from jaxtyping import Bool, Float

from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.types import Mesh
from dreamfusion3d.mesh.geometry import signed_volume

QUERY_CHUNK = 1 << 18  # points per query: bounds the memory of the field, not of the grid


def sample_grid(
    density: Callable[[np.ndarray], np.ndarray], resolution: int, bound: float = 1.0
) -> Float[np.ndarray, "r r r"]:
    """Sample ``density`` at resolution^3 points of [-bound, bound]^3, including its corners.

    ``density`` maps (n, 3) float32 world positions to (n,) values; the grid is indexed [x, y, z]. Raises
    InputError if the resolution is below 2 or a value is not finite.
    """
    if resolution < 2:
        raise InputError(f"a grid needs at least 2 samples per axis, not {resolution}; increase the resolution")
    axis = np.linspace(-bound, bound, resolution, dtype=np.float32)
    grid = np.empty(resolution**3, np.float32)
    for start in range(0, grid.size, QUERY_CHUNK):
        flat = np.arange(start, min(start + QUERY_CHUNK, grid.size))
        ijk = np.unravel_index(flat, (resolution,) * 3)
        grid[flat] = density(np.stack([axis[i] for i in ijk], axis=1))
    check_finite(grid)
    return grid.reshape((resolution,) * 3)


def check_finite(values: np.ndarray) -> None:
    """Raise InputError if a sampled density is not finite."""
    bad = np.count_nonzero(~np.isfinite(values))
    if bad:
        raise InputError(
            f"the optimization diverged: the density is not finite at {bad} of {values.size} points;"
            " run again with a lower learning rate or another seed"
        )


def log_ratio(grid: Float[np.ndarray, "r r r"], level: float, limit: float = 3.0) -> Float[np.ndarray, "r r r"]:
    """Compute log(grid / level), clipped to +-``limit``: the same surface, at level 0.

    A density grows exponentially across a surface. Between samples of 0.1 and 1000, linear
    interpolation always places level 10 next to the first: stair steps of the size of a voxel. The
    crossing of the logarithm moves smoothly; clipping keeps empty space from dominating it.
    """
    tiny = np.float32(level * np.exp(-2 * limit))
    ratio = np.maximum(grid, tiny, dtype=np.float32)  # the only copy
    ratio /= np.float32(level)
    np.log(ratio, out=ratio)
    return np.clip(ratio, -limit, limit, out=ratio)


def marching_cubes(grid: Float[np.ndarray, "r r r"], level: float, bound: float = 1.0) -> Mesh:
    """Extract {grid = level} in world coordinates as a closed surface, wound outwards.

    Samples above the level are inside. A border of outside samples closes the surface where it
    touches the cube, so it may extend one voxel beyond ``bound``. Without a crossing there are no
    faces.
    """
    resolution = grid.shape[0]
    peak = float(grid.max()) - level
    if peak <= 0:
        return Mesh(np.zeros((0, 3)), np.zeros((0, 3), np.int64))
    box = bounding_box(grid > level, margin=1)  # most of a grid is empty space
    low = np.array([axis.start for axis in box])
    padded = np.pad(grid[box].astype(np.float64), 1, constant_values=level - peak)
    vertices, faces = mcubes.marching_cubes(padded, float(level))
    vertices = (vertices + (low - 1)) * (2 * bound / (resolution - 1)) - bound
    faces = faces.astype(np.int64)
    # the winding of PyMCubes depends on the sign of its input: decide by the volume
    if signed_volume(Mesh(vertices, faces)) < 0:
        faces = faces[:, ::-1].copy()
    return Mesh(vertices, faces)


def bounding_box(mask: Bool[np.ndarray, "x y z"], margin: int = 0) -> tuple[slice, slice, slice]:
    """Slices of the bounding box of a nonempty mask, extended by ``margin`` samples."""
    occupied = (np.flatnonzero(mask.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1)))
    x, y, z = (slice(max(int(indices[0]) - margin, 0), int(indices[-1]) + margin + 1) for indices in occupied)
    return x, y, z
