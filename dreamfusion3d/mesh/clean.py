"""One solid body out of a grid, so that marching cubes returns one watertight manifold.

All edits are made on the samples: a removed floater's samples go below the level, a filled
void's above it. The samples on either side of the surface that stays are not touched, so it
keeps its sub-voxel shape.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from dreamfusion3d.core.errors import EmptyFieldError
from dreamfusion3d.core.types import Mesh, TexturedMesh
from dreamfusion3d.mesh.isosurface import marching_cubes
from dreamfusion3d.mesh.quality import mesh_quality

MAX_ROUNDS = 32  # of filling and mending; each only adds voxels, so it ends; 2 or 3 are usual
CLEARANCE = 0.05  # of a typical step across the surface: a sample this near the level is moved off it


class _LevelScale(NamedTuple):
    below: float  # a value safely outside
    above: float  # a value safely inside
    step: float  # a typical |value - level| next to the surface


def clean_grid(
    grid: Float[np.ndarray, "r r r"],
    level: float,
    min_fraction: float = 0.05,
    keep: Literal["largest", "fraction"] = "largest",
) -> Float[np.ndarray, "r r r"]:
    """The grid without floaters, voids and the voxel patterns that break marching cubes.

    ``keep="largest"`` keeps the largest face-connected body of {grid > level};
    ``keep="fraction"`` every body of at least ``min_fraction`` of its voxels, for props made
    of parts that do not touch. Enclosed voids are filled either way.
    """
    inside = grid > level
    if not inside.any():
        raise EmptyFieldError(
            f"no sample of the grid lies above the level {level:.4g}, so there is no surface:"
            " run again with more steps or another seed"
        )
    box = tuple(
        slice(max(int(indices.min()) - 2, 0), int(indices.max()) + 3)
        for indices in (np.flatnonzero(inside.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1)))
    )
    result = grid.copy()
    result[box] = _clean_box(grid[box], level, min_fraction if keep == "fraction" else 1.0)
    return result


def _clean_box(grid: Float[np.ndarray, "x y z"], level: float, fraction: float) -> Float[np.ndarray, "x y z"]:
    """`clean_grid` within the box that holds every inside voxel: most of a grid is empty space."""
    inside = grid > level
    scale = _estimate_scale(grid, level, inside)
    mask = _keep_components(inside, fraction)
    result = grid.copy()
    result[inside & ~mask] = scale.below
    for _ in range(MAX_ROUNDS):
        before = mask
        mask = _fill_voids(mask)
        result[mask & ~before] = scale.above
        raised = _raise_critical(result, mask)
        result[raised] = level + 0.5 * scale.step
        if not raised.any() and np.array_equal(mask, before):
            break
        mask = mask | raised
    return _push_off_level(result, level, mask, scale.step)


def smooth_grid(grid: Float[np.ndarray, "r r r"], level: float, sigma: float = 0.7) -> Float[np.ndarray, "r r r"]:
    """Gaussian smoothing (``sigma`` in voxels) of the field's ripple.

    Smooth a bounded grid (`extract.log_ratio`): the mean of a raw density is its largest value.
    Thin parts can vanish under a wide kernel; a half voxel shifts nothing one can see. Call
    `clean_grid` afterwards, for smoothing may cut a body in two.
    """
    outside = min(float(grid.min()), level)
    return ndimage.gaussian_filter(grid, sigma, mode="constant", cval=outside).astype(grid.dtype)


def extract_solid(
    grid: Float[np.ndarray, "r r r"],
    level: float,
    bound: float = 1.0,
    *,
    min_fraction: float = 0.05,
    keep: Literal["largest", "fraction"] = "largest",
) -> Mesh:
    """`clean_grid`, then marching cubes, then the proof: watertight and manifold.

    Should a surface be broken after all, the grid is blurred by half a voxel and cleaned again.
    """
    for attempt in range(3):
        cleaned = clean_grid(grid, level, min_fraction, keep)
        mesh = marching_cubes(cleaned, level, bound)
        report = mesh_quality(mesh)
        if report.watertight and report.manifold:
            return mesh
        grid = smooth_grid(cleaned, level, 0.5 + 0.25 * attempt)
    raise EmptyFieldError(
        "the field's surface cannot be closed into a solid: run again with more steps or another seed"
    )


def _estimate_scale(grid: np.ndarray, level: float, inside: Bool[np.ndarray, "x y z"]) -> _LevelScale:
    near = ndimage.binary_dilation(inside) & ~ndimage.binary_erosion(inside)
    step = float(np.median(np.abs(grid[near] - level))) or 1.0
    return _LevelScale(min(float(grid.min()), level - step), level + step, step)


def _keep_components(inside: Bool[np.ndarray, "x y z"], fraction: float) -> Bool[np.ndarray, "x y z"]:
    """The face-connected bodies with at least ``fraction`` of the largest one's voxels.

    With fraction 1 exactly one is kept, the first of equals.
    """
    labels, count = ndimage.label(inside)
    if count == 1:
        return inside
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    selected = sizes >= fraction * sizes.max()
    selected[0] = False
    if fraction >= 1:
        selected = np.arange(len(sizes)) == sizes.argmax()
    return selected[labels]


def _fill_voids(inside: Bool[np.ndarray, "x y z"]) -> Bool[np.ndarray, "x y z"]:
    """``inside`` and every outside voxel that no face-connected path leads to from the border."""
    labels, _ = ndimage.label(np.pad(~inside, 1, constant_values=True))
    return np.ascontiguousarray(labels[1:-1, 1:-1, 1:-1] != labels[0, 0, 0])


def _raise_critical(grid: Float[np.ndarray, "x y z"], inside: Bool[np.ndarray, "x y z"]) -> Bool[np.ndarray, "x y z"]:
    """Outside voxels to turn inside so that no two bodies' voxels meet at an edge or a corner only.

    A grid without such meetings is well-composed (Latecki 1997): every cell is one of marching
    cubes' unambiguous cases and the surface is a manifold. Of the candidates of each meeting the
    one nearest to the level is raised. The border counts as outside and is never a candidate.
    """
    raised = np.zeros_like(inside)
    for axis in range(3):
        _raise_edges(np.moveaxis(grid, axis, 0), np.moveaxis(inside, axis, 0), np.moveaxis(raised, axis, 0))
    if not raised.any():  # corners are looked at once the edges are in order
        _raise_corners(grid, inside, raised)
    return raised


def _raise_edges(grid: np.ndarray, inside: np.ndarray, raised: np.ndarray) -> None:
    """Mark, in each plane across the first axis, one outside voxel of every 2x2 checkerboard."""
    a, b = inside[:, :-1, :-1], inside[:, 1:, 1:]
    c, d = inside[:, :-1, 1:], inside[:, 1:, :-1]
    for checkerboard, offsets in ((a & b & ~c & ~d, ((0, 1), (1, 0))), (c & d & ~a & ~b, ((0, 0), (1, 1)))):
        k, i, j = np.nonzero(checkerboard)
        if len(k) == 0:
            continue
        (di, dj), (ei, ej) = offsets
        higher = grid[k, i + di, j + dj] >= grid[k, i + ei, j + ej]
        raised[k, i + np.where(higher, di, ei), j + np.where(higher, dj, ej)] = True


def _raise_corners(grid: np.ndarray, inside: np.ndarray, raised: np.ndarray) -> None:
    """Mark voxels of the 2x2x2 blocks where two opposite corners alone are inside, or alone outside."""
    a, b, c = (n - 1 for n in inside.shape)
    corner = {(i, j, k): inside[i : i + a, j : j + b, k : k + c] for i in (0, 1) for j in (0, 1) for k in (0, 1)}
    total = sum(value.astype(np.int8) for value in corner.values())
    for j, k in ((0, 0), (0, 1), (1, 0), (1, 1)):
        near, far = (0, j, k), (1, 1 - j, 1 - k)
        diagonal_pair = (total == 2) & corner[near] & corner[far]  # join them by a path of two voxels
        hole = (total == 6) & ~corner[near] & ~corner[far]  # fill the one nearest to the level
        x, y, z = np.nonzero(diagonal_pair)
        raised[x, y + 1 - j, z + k] = raised[x, y + 1 - j, z + 1 - k] = True
        x, y, z = np.nonzero(hole)
        higher = grid[x, y + j, z + k] >= grid[x + 1, y + 1 - j, z + 1 - k]
        raised[np.where(higher, x, x + 1), np.where(higher, y + j, y + 1 - j), np.where(higher, z + k, z + 1 - k)] = (
            True
        )


def _push_off_level(
    grid: Float[np.ndarray, "x y z"], level: float, inside: Bool[np.ndarray, "x y z"], step: float
) -> Float[np.ndarray, "x y z"]:
    """Samples on the level moved a little to their side: a crossing at a sample makes needle triangles."""
    margin = CLEARANCE * step
    return np.where(inside, np.maximum(grid, level + margin), np.minimum(grid, level - margin)).astype(grid.dtype)


def weld_mesh(mesh: TexturedMesh) -> Mesh:
    """Corners at one place as one vertex."""
    _, first, inverse = np.unique(mesh.vertices, axis=0, return_index=True, return_inverse=True)
    return Mesh(mesh.vertices[first], inverse.reshape(-1)[mesh.faces])
