"""Clean a grid so that marching cubes returns a single watertight manifold.

All edits are made on the samples: those of a removed floater are set below the level, those of a
filled void above it. The samples on either side of the remaining surface are not touched, so it
keeps its sub-voxel shape.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from dreamfusion3d.core.errors import EmptyFieldError
from dreamfusion3d.core.types import Mesh
from dreamfusion3d.mesh.isosurface import bounding_box, marching_cubes
from dreamfusion3d.mesh.quality import mesh_quality

MAX_ROUNDS = 32  # of filling and repair; each only adds voxels, so they terminate, usually after 2 or 3
CLEARANCE = 0.05  # of a typical step across the surface: closer samples are pushed off the level


def clean_grid(grid: Float[np.ndarray, "r r r"], level: float) -> Float[np.ndarray, "r r r"]:
    """Remove floaters, enclosed voids and the voxel patterns that break marching cubes.

    Only the largest face-connected component of {grid > level} is kept. Raises EmptyFieldError if no
    sample is above the level.
    """
    inside = grid > level
    if not inside.any():
        raise EmptyFieldError(
            f"there is no surface: no sample of the grid is above the level {level:.4g};"
            " run again with more steps or another seed"
        )
    box = bounding_box(inside, margin=2)  # most of a grid is empty space
    result = grid.copy()
    result[box] = _clean_box(grid[box], level)
    return result


def _clean_box(grid: Float[np.ndarray, "x y z"], level: float) -> Float[np.ndarray, "x y z"]:
    inside = grid > level
    near = ndimage.binary_dilation(inside) & ~ndimage.binary_erosion(inside)
    step = float(np.median(np.abs(grid[near] - level))) or 1.0  # a typical |value - level| next to the surface
    mask = _largest_component(inside)
    result = grid.copy()
    result[inside & ~mask] = min(float(grid.min()), level - step)
    for _ in range(MAX_ROUNDS):
        before = mask
        mask = _fill_voids(mask)
        result[mask & ~before] = level + step
        raised = _raise_critical(result, mask)
        result[raised] = level + 0.5 * step
        if not raised.any() and np.array_equal(mask, before):
            break
        mask = mask | raised
    margin = CLEARANCE * step  # a crossing at a sample creates needle triangles
    return np.where(mask, np.maximum(result, level + margin), np.minimum(result, level - margin)).astype(grid.dtype)


def smooth_grid(grid: Float[np.ndarray, "r r r"], level: float, sigma: float = 0.7) -> Float[np.ndarray, "r r r"]:
    """Smooth the grid with a Gaussian of ``sigma`` voxels.

    Smooth a bounded grid (`log_ratio`): the mean of a raw density is dominated by its largest value.
    A wide kernel removes thin parts. Call `clean_grid` afterwards, because smoothing may split a
    component.
    """
    outside = min(float(grid.min()), level)
    return ndimage.gaussian_filter(grid, sigma, mode="constant", cval=outside).astype(grid.dtype)


def extract_solid(grid: Float[np.ndarray, "r r r"], level: float, bound: float = 1.0) -> Mesh:
    """Extract {grid = level} as one watertight manifold: clean, run marching cubes, verify.

    If the surface is not a manifold, the grid is smoothed by half a voxel and cleaned again. Raises
    EmptyFieldError if there is no surface or it cannot be closed.
    """
    for attempt in range(3):
        cleaned = clean_grid(grid, level)
        mesh = marching_cubes(cleaned, level, bound)
        if mesh_quality(mesh).manifold:
            return mesh
        grid = smooth_grid(cleaned, level, 0.5 + 0.25 * attempt)
    raise EmptyFieldError(
        "the surface of the field cannot be closed into a solid; run again with more steps or another seed"
    )


def _largest_component(inside: Bool[np.ndarray, "x y z"]) -> Bool[np.ndarray, "x y z"]:
    """Return the largest face-connected component, the first of equals."""
    labels, _ = ndimage.label(inside)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return labels == sizes.argmax()


def _fill_voids(inside: Bool[np.ndarray, "x y z"]) -> Bool[np.ndarray, "x y z"]:
    """Add the outside voxels that no face-connected path reaches from the border."""
    labels, _ = ndimage.label(np.pad(~inside, 1, constant_values=True))
    return np.ascontiguousarray(labels[1:-1, 1:-1, 1:-1] != labels[0, 0, 0])


def _raise_critical(grid: Float[np.ndarray, "x y z"], inside: Bool[np.ndarray, "x y z"]) -> Bool[np.ndarray, "x y z"]:
    """Select outside voxels to raise so that no two inside voxels meet at an edge or a corner only.

    Such a grid is well-composed (Latecki 1997): every cell is an unambiguous case of marching cubes
    and the surface is a manifold. Of the candidates at each contact the one closest to the level is
    raised. The border counts as outside and is never a candidate.
    """
    raised = np.zeros_like(inside)
    for axis in range(3):
        _raise_edges(np.moveaxis(grid, axis, 0), np.moveaxis(inside, axis, 0), np.moveaxis(raised, axis, 0))
    if not raised.any():  # corners only once the edges are clean
        _raise_corners(grid, inside, raised)
    return raised


def _raise_edges(grid: np.ndarray, inside: np.ndarray, raised: np.ndarray) -> None:
    """Mark one outside voxel of every 2x2 checkerboard in the planes perpendicular to the first axis."""
    a, b = inside[:, :-1, :-1], inside[:, 1:, 1:]
    c, d = inside[:, :-1, 1:], inside[:, 1:, :-1]
    for checkerboard, offsets in ((a & b & ~c & ~d, ((0, 1), (1, 0))), (c & d & ~a & ~b, ((0, 0), (1, 1)))):
        k, i, j = np.nonzero(checkerboard)
        (di, dj), (ei, ej) = offsets
        higher = grid[k, i + di, j + dj] >= grid[k, i + ei, j + ej]
        raised[k, i + np.where(higher, di, ei), j + np.where(higher, dj, ej)] = True


def _raise_corners(grid: np.ndarray, inside: np.ndarray, raised: np.ndarray) -> None:
    """Mark voxels of the 2x2x2 blocks of which only two opposite corners are inside, or only two outside."""
    a, b, c = (n - 1 for n in inside.shape)
    corner = {(i, j, k): inside[i : i + a, j : j + b, k : k + c] for i in (0, 1) for j in (0, 1) for k in (0, 1)}
    total = sum(value.astype(np.int8) for value in corner.values())
    for j, k in ((0, 0), (0, 1), (1, 0), (1, 1)):
        near, far = (0, j, k), (1, 1 - j, 1 - k)
        diagonal_pair = (total == 2) & corner[near] & corner[far]  # connect them by two voxels
        hole = (total == 6) & ~corner[near] & ~corner[far]  # fill the one closest to the level
        x, y, z = np.nonzero(diagonal_pair)
        raised[x, y + 1 - j, z + k] = raised[x, y + 1 - j, z + 1 - k] = True
        x, y, z = np.nonzero(hole)
        higher = grid[x, y + j, z + k] >= grid[x + 1, y + 1 - j, z + 1 - k]
        x, y, z = x + ~higher, y + np.where(higher, j, 1 - j), z + np.where(higher, k, 1 - k)
        raised[x, y, z] = True
