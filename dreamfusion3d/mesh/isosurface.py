"""A density sampled on a grid, and the surface where it crosses a level."""

from __future__ import annotations

from collections.abc import Callable

import mcubes
import numpy as np
from jaxtyping import Float

from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.types import Mesh

QUERY_CHUNK = 1 << 18  # points asked at once: bounds the memory of the field, not of the grid


def sample_grid(
    density: Callable[[np.ndarray], np.ndarray], resolution: int, bound: float = 1.0
) -> Float[np.ndarray, "r r r"]:
    """``density`` at r^3 points over [-bound, bound]^3, corners included; axes are x, y, z.

    ``density`` takes (n, 3) float32 world positions and returns (n,) values.
    """
    if resolution < 2:
        raise InputError(f"a grid needs at least 2 samples a side, not {resolution}: raise the resolution")
    axis = np.linspace(-bound, bound, resolution, dtype=np.float32)
    grid = np.empty(resolution**3, np.float32)
    for start in range(0, grid.size, QUERY_CHUNK):
        flat = np.arange(start, min(start + QUERY_CHUNK, grid.size))
        ijk = np.unravel_index(flat, (resolution,) * 3)
        grid[flat] = density(np.stack([axis[i] for i in ijk], axis=1))
    check_finite(grid)
    return grid.reshape((resolution,) * 3)


def check_finite(values: np.ndarray) -> None:
    """Raises InputError where a sampled density is not a number."""
    bad = np.count_nonzero(~np.isfinite(values))
    if bad:
        raise InputError(
            f"the field's density is not a finite number at {bad} of {values.size} points, so there is no"
            " surface to find: the optimisation diverged; run again with a lower learning rate or"
            " another seed"
        )


def log_ratio(grid: Float[np.ndarray, "r r r"], level: float, limit: float = 3.0) -> Float[np.ndarray, "r r r"]:
    """log(grid / level), clipped to +-limit: the same surface, now at level 0.

    A density grows exponentially across a surface. Between a sample of 0.1 and one of 1000
    linear interpolation puts level 10 next to the first whatever the truth is: stair-steps the
    size of a voxel. In the logarithm, clipped so that empty space does not drown the near side,
    the crossing moves smoothly.
    """
    tiny = np.float32(level * np.exp(-2 * limit))
    ratio = np.maximum(grid, tiny, dtype=np.float32)  # one copy, whatever its size
    ratio /= np.float32(level)
    np.log(ratio, out=ratio)
    return np.clip(ratio, -limit, limit, out=ratio)


def marching_cubes(grid: Float[np.ndarray, "r r r"], level: float, bound: float = 1.0) -> Mesh:
    """The surface {grid = level} in world coordinates, closed, wound outwards.

    Voxels above the level are inside. A border of outside samples closes what touches the
    box, so a surface may reach at most one voxel beyond ``bound``. No crossing: no faces.
    """
    resolution = grid.shape[0]
    peak = float(grid.max()) - level
    if peak <= 0:
        return Mesh(np.zeros((0, 3)), np.zeros((0, 3), np.int64))
    inside = grid > level
    occupied = (np.flatnonzero(inside.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1)))
    # the box of what is inside and a sample around it: most of a grid is empty space
    low, high = np.array([(max(indices[0] - 1, 0), indices[-1] + 2) for indices in occupied]).T
    part = grid[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
    padded = np.pad(part.astype(np.float64), 1, constant_values=level - peak)
    vertices, faces = mcubes.marching_cubes(padded, float(level))
    vertices = (vertices + (low - 1)) * (2 * bound / (resolution - 1)) - bound
    faces = faces.astype(np.int64)
    # PyMCubes' winding follows the sign of its input: decide by the volume, not by a table
    if signed_volume(Mesh(vertices, faces)) < 0:
        faces = faces[:, ::-1].copy()
    return Mesh(vertices, faces)


def signed_volume(mesh: Mesh) -> float:
    """Volume enclosed by a closed mesh (scene units cubed); negative where faces look inwards."""
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)
