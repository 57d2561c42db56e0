"""Choose the isosurface level whose silhouettes match those of the rendered field.

A pixel is in the silhouette of {grid > level} exactly if the maximum along its ray exceeds the level.
One maximum intensity projection per view therefore gives the silhouettes of all levels; no mesh is
extracted to choose one.
"""

from __future__ import annotations

from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Float

from dreamfusion3d.cameras.orbit import OrbitCameras
from dreamfusion3d.core.errors import EmptyFieldError
from dreamfusion3d.core.numba_cache import njit

OPACITY_THRESHOLD = 0.5  # a pixel above it counts as covered
NUM_CANDIDATES = 48  # levels per round
MAX_SIDE = 96  # pixels per view along each axis; more would add time, not precision
DECADES = 6  # below the maximum; lower densities count as empty space
PROJECTION_STEP = 0.75  # voxels along a ray
IOU_TOLERANCE = 1e-3  # levels within it of the best IoU form a plateau


class IsolevelChoice(NamedTuple):
    """The chosen level, its silhouette IoU, and all levels tried."""

    level: float
    iou: float  # mean over views
    candidates: list[tuple[float, float]]  # (level, iou), sorted by level


@no_type_check
@njit
def clip_to_box(origin, direction, bound):
    """Distances at which a ray enters and leaves [-bound, bound]^3; a ray misses if far < near."""
    near, far = 0.0, 1e9
    for k in range(3):
        d = direction[k] if abs(direction[k]) > 1e-9 else 1e-9
        t0, t1 = (-bound - origin[k]) / d, (bound - origin[k]) / d
        near, far = max(near, min(t0, t1)), min(far, max(t0, t1))
    return near, far


@no_type_check
@njit(inline="always")  # a call per sample costs half as much time again
def interpolate_grid(grid, x, y, z):
    """Interpolate the grid trilinearly at a point in units of samples."""
    r = grid.shape[0]
    i, j, k = min(max(int(x), 0), r - 2), min(max(int(y), 0), r - 2), min(max(int(z), 0), r - 2)
    fx, fy, fz = x - i, y - j, z - k
    c00 = grid[i, j, k] * (1 - fz) + grid[i, j, k + 1] * fz
    c01 = grid[i, j + 1, k] * (1 - fz) + grid[i, j + 1, k + 1] * fz
    c10 = grid[i + 1, j, k] * (1 - fz) + grid[i + 1, j, k + 1] * fz
    c11 = grid[i + 1, j + 1, k] * (1 - fz) + grid[i + 1, j + 1, k + 1] * fz
    return (c00 * (1 - fy) + c01 * fy) * (1 - fx) + (c10 * (1 - fy) + c11 * fy) * fx


@no_type_check
@njit
def _max_along_rays(grid, origins, directions, bound, step, out):
    """Maximum of the trilinearly interpolated grid along each ray."""
    scale = (grid.shape[0] - 1) / (2 * bound)
    for n in range(origins.shape[0]):
        near, far = clip_to_box(origins[n], directions[n], bound)
        best, t = 0.0, near + 0.5 * step
        while t < far:
            x = (origins[n, 0] + t * directions[n, 0] + bound) * scale
            y = (origins[n, 1] + t * directions[n, 1] + bound) * scale
            z = (origins[n, 2] + t * directions[n, 2] + bound) * scale
            best = max(best, interpolate_grid(grid, x, y, z))
            t += step
        out[n] = best


def max_intensity_projection(
    grid: Float[np.ndarray, "r r r"], cameras: OrbitCameras, bound: float = 1.0, stride: int = 1
) -> Float[np.ndarray, "v h w"]:
    """Project the maximum along the ray of every ``stride``-th pixel, for each camera."""
    rays = [t[:, stride // 2 :: stride, stride // 2 :: stride] for t in cameras.to("cpu").rays()]
    origins, directions = (t.reshape(-1, 3).double().numpy() for t in rays)
    out = np.empty(len(origins), np.float32)
    step = PROJECTION_STEP * 2 * bound / (grid.shape[0] - 1)
    _max_along_rays(np.ascontiguousarray(grid, np.float32), origins, directions, bound, step, out)
    return out.reshape(rays[0].shape[:3])


def silhouette_iou(maximum: Float[np.ndarray, "v n"], covered: np.ndarray, level: float) -> float:
    """Mean IoU over views of {maximum > level} and the mask ``covered`` (v, n)."""
    silhouette = maximum > level
    union = (silhouette | covered).sum(1)
    intersection = (silhouette & covered).sum(1)
    return float(np.mean(np.where(union > 0, intersection / np.maximum(union, 1), 1.0)))


def choose_isolevel(
    grid: Float[np.ndarray, "r r r"], cameras: OrbitCameras, opacity: Float[np.ndarray, "v h w"], bound: float = 1.0
) -> IsolevelChoice:
    """Choose the level whose silhouettes match {opacity > 0.5} best, by mean IoU over the cameras.

    Candidates are log-spaced over the range of the grid, then again around the best one; of a plateau
    of equally good levels the geometric mean is taken. About 24 cameras are enough. Raises
    EmptyFieldError if the field is transparent, the grid is zero, or no silhouettes overlap.
    """
    stride = max(1, -(-max(cameras.height, cameras.width) // MAX_SIDE))
    covered = (opacity[:, stride // 2 :: stride, stride // 2 :: stride] > OPACITY_THRESHOLD).reshape(len(cameras), -1)
    if not covered.any():
        raise EmptyFieldError(
            "there is no surface to mesh: the optimized field is transparent in every view;"
            " run again with more steps, another seed or a simpler prompt"
        )
    maximum = max_intensity_projection(grid, cameras, bound, stride).reshape(len(cameras), -1)
    top = float(maximum.max())
    if not top > 0:
        raise EmptyFieldError(
            "there is no surface to mesh: the density is zero everywhere on the grid;"
            " run again with more steps or another seed"
        )
    bottom = max(float(maximum[maximum > 0].min()), top * 10.0**-DECADES)
    candidates: dict[float, float] = {}
    low, high = bottom * 0.999, top * 0.999
    for _ in range(2):
        levels = np.geomspace(low, high, NUM_CANDIDATES)
        for level in levels:
            candidates[float(level)] = silhouette_iou(maximum, covered, float(level))
        best = max(candidates.values())
        plateau = [level for level in sorted(candidates) if candidates[level] >= best - IOU_TOLERANCE]
        ratio = levels[1] / levels[0]
        low, high = max(plateau[0] / ratio, bottom * 0.999), min(plateau[-1] * ratio, top * 0.999)
    if best <= 0:
        raise EmptyFieldError(
            "no level of the density matches the silhouettes of the rendered field;"
            " run again with more steps or another seed"
        )
    middle = float(np.sqrt(plateau[0] * plateau[-1]))
    iou = silhouette_iou(maximum, covered, middle)
    if iou < best - IOU_TOLERANCE:  # two separate plateaus: take the best level
        middle, iou = max(candidates.items(), key=lambda item: item[1])
    candidates[middle] = iou
    return IsolevelChoice(middle, iou, sorted(candidates.items()))
