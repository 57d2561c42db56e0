"""Fill hidden cavities and cracks by space carving.

Distillation only constrains images: behind the surface the density is arbitrary, a sponge whose tunnels
would all become part of the mesh. With space carving (Kutulakos and Seitz, "A Theory of Shape by Space
Carving", IJCV 2000) a sample stays empty only if a camera sees it, so that everything visible is kept
exactly and the inside is filled. Empty space also extends through wide passages: the belly of a jug
lies behind its neck.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from jaxtyping import Bool, Float
from numba import prange
from scipy import ndimage

from dreamfusion3d.cameras.orbit import OrbitCameras, orbit_cameras
from dreamfusion3d.core.numba_cache import njit
from dreamfusion3d.mesh.isolevel import clip_to_box, interpolate_grid
from dreamfusion3d.mesh.isosurface import bounding_box

RAY_STEP = 0.75  # voxels along a ray
VIEW_SIZE_PX = 112  # about one pixel per voxel at resolution 128
NUM_AZIMUTHS = 24  # with fewer, pillars remain between the views into a narrow opening
# training also uses lower views, but they hardly constrain the underside
ELEVATIONS_DEG = (0.0, 15.0, 30.0, 40.0, 50.0, 62.0, 74.0, 85.0)
FILL_LEVEL_OFFSET = 1.0  # value of filled samples above the level
CARVING_RESOLUTION = 128  # approximate samples per axis of the visibility grid
GAP_RADIUS = 0.022  # scene units: half the width of the widest crack that is filled
PASSAGE_RADIUS = 0.06  # scene units: half the width of the narrowest passage for empty space


def carving_cameras() -> OrbitCameras:
    """Cameras all around, from level to the highest elevation used in training."""
    rings = len(ELEVATIONS_DEG)
    # each ring is rotated a little, so that no two cameras share an azimuth
    azimuth = [360 * (i + ring / rings) / NUM_AZIMUTHS for ring in range(rings) for i in range(NUM_AZIMUTHS)]
    elevation = [e for e in ELEVATIONS_DEG for _ in range(NUM_AZIMUTHS)]
    return orbit_cameras(azimuth, elevation, height=VIEW_SIZE_PX, width=VIEW_SIZE_PX)


def solidify(
    grid: Float[np.ndarray, "r r r"], level: float, bound: float = 1.0, carving_resolution: int = CARVING_RESOLUTION
) -> Float[np.ndarray, "r r r"]:
    """Raise cracks and all samples that no camera sees above ``level``.

    Visibility is computed at about ``carving_resolution`` samples per axis. Cracks are closed before
    carving, so that no camera looks through them, and again after it, because what few cameras see
    through a narrow opening is ragged at the scale of a pixel.
    """
    grid = close_gaps(grid, level, bound)
    visible_mask = carve_visible(grid, level, bound, carving_cameras(), carving_resolution)
    filled = np.where(visible_mask, grid, np.maximum(grid, np.float32(level + FILL_LEVEL_OFFSET)))
    return close_gaps(filled, level, bound)


def close_gaps(
    grid: Float[np.ndarray, "r r r"], level: float, bound: float = 1.0, radius: float = GAP_RADIUS
) -> Float[np.ndarray, "r r r"]:
    """Raise every sample that no empty ball of ``radius`` (scene units) covers.

    This is a morphological closing (Serra, "Image Analysis and Mathematical Morphology", 1982): distilled
    walls crack, and a crack through a wall adds a handle. Openings that the ball fits through, such as
    the hole of a real handle, and all inside samples are left unchanged.
    """
    inside = grid > level
    closed = np.ascontiguousarray(grid, np.float32).copy()
    if not inside.any():
        return closed
    box = bounding_box(inside)  # it is convex, so there are no gaps outside it
    voxels = radius * (grid.shape[0] - 1) / (2 * bound)
    pad = int(np.ceil(voxels)) + 1  # everything outside the grid is empty
    wide = ~dilate_ball(np.pad(inside[box], pad), voxels)  # centers of empty balls
    reached = dilate_ball(wide, voxels)[pad:-pad, pad:-pad, pad:-pad]
    closed[box][~reached & ~inside[box]] = level + FILL_LEVEL_OFFSET
    return closed


def dilate_ball(mask: Bool[np.ndarray, "x y z"], radius: float) -> Bool[np.ndarray, "x y z"]:
    """Dilate a mask by a ball of ``radius`` samples.

    Squared distances are minimized axis by axis (Saito and Toriwaki 1994), here only up to the radius,
    which takes two bytes per sample.
    """
    cap = int(radius**2) + 1
    squared: np.ndarray = np.where(mask, 0, cap).astype(np.int32 if cap > 30000 else np.int16)
    for axis in range(3):
        lines = np.ascontiguousarray(np.moveaxis(squared, axis, 2))
        out = np.empty_like(lines)
        _distance_pass(lines, int(radius), out)
        squared = np.moveaxis(out, 2, axis)
    return np.less(squared, cap)


def carve_visible(
    grid: Float[np.ndarray, "r r r"], level: float, bound: float, cameras: OrbitCameras, carving_resolution: int
) -> Bool[np.ndarray, "r r r"]:
    """Run `visible_samples` on blocks of a fine grid: the cost does not grow with the resolution.

    A block is inside if any of its samples is, so that cameras do not see through thin walls. All
    samples in or next to a visible empty block are visible; the pockets that remain between those
    blocks and the fill are enclosed and are removed with the other voids.
    """
    factor = max(1, round(grid.shape[0] / carving_resolution))
    if factor == 1:
        return visible_samples(grid, level, bound, cameras)
    size, count = grid.shape[0], -(-grid.shape[0] // factor)
    index = (np.arange(size) + (factor * count - size) // 2) // factor  # the block of each sample
    starts = np.searchsorted(index, np.arange(count))
    pooled = np.ascontiguousarray(grid, np.float32)
    for axis in range(3):
        pooled = np.maximum.reduceat(pooled, starts, axis=axis)
    # a block is located at its center, and the box of the centers is smaller than that of the samples
    blocks = visible_samples(pooled, level, bound * factor * (count - 1) / (size - 1), cameras)
    visible_empty = blocks & (pooled <= level)
    near = ndimage.binary_dilation(visible_empty, np.ones((3, 3, 3), bool))
    visible_mask = grid > level
    for i, block in enumerate(index):
        visible_mask[i] |= near[block][np.ix_(index, index)]
    return visible_mask


def visible_samples(
    grid: Float[np.ndarray, "r r r"], level: float, bound: float, cameras: OrbitCameras
) -> Bool[np.ndarray, "r r r"]:
    """Mask of the samples in front of the first surface in at least one view, and reachable from there.

    Only samples in the bounding box of {grid > level} are tested; all others are visible.
    """
    inside = grid > level
    visible_mask = np.ones(grid.shape, bool)
    if not inside.any():
        return visible_mask
    box = bounding_box(inside)
    low = np.array([axis.start for axis in box])
    part = inside[box].copy()  # inside samples need no test
    poses = cameras.to("cpu").camera_to_world.double().numpy()
    focal = cameras.focal.double().cpu().numpy()
    smooth = np.ascontiguousarray(grid, np.float32)
    for pose, f in zip(poses, focal, strict=True):
        depth = _first_crossing(smooth, float(level), bound, pose, f, cameras.height, cameras.width, RAY_STEP)
        _mark_visible(part, low, grid.shape[0], bound, depth, pose, f)
    visible_mask[box] = part
    return reachable_samples(inside, visible_mask | inside, PASSAGE_RADIUS * (grid.shape[0] - 1) / (2 * bound))


def reachable_samples(
    inside: Bool[np.ndarray, "r r r"], visible_mask: Bool[np.ndarray, "r r r"], radius: float
) -> Bool[np.ndarray, "r r r"]:
    """Extend the visible samples by all that a ball of ``radius`` samples covers as it moves from there.

    The ball moves through samples that are not inside. It never enters from below, where no camera
    looks: an opening there is an artifact.
    """
    has_floor = np.logical_or.accumulate(inside, axis=1)  # an inside sample is below, or here
    free = ~dilate_ball(inside | ~(has_floor | visible_mask), radius)  # centers of the ball
    regions, _ = ndimage.label(free)
    connected = np.zeros(regions.max() + 1, bool)
    connected[regions[free & visible_mask]] = True
    return visible_mask | dilate_ball(free & connected[regions], radius)


@no_type_check
@njit(parallel=True)
def _first_crossing(grid, level, bound, pose, focal, height, width, step_voxels):
    """Distance at which the ray of each pixel first meets {grid > level}; 1e9 if it never does."""
    scale = (grid.shape[0] - 1) / (2 * bound)
    step = step_voxels / scale
    origin, out = np.ascontiguousarray(pose[:3, 3]), np.full((height, width), 1e9)
    for v in prange(height):
        for u in range(width):
            lx, ly = (u + 0.5 - 0.5 * width) / focal, (0.5 * height - v - 0.5) / focal
            norm = np.sqrt(lx * lx + ly * ly + 1)
            direction = (pose[:3, 0] * lx + pose[:3, 1] * ly - pose[:3, 2]) / norm
            near, far = clip_to_box(origin, direction, bound)
            t = near + 0.5 * step
            while t < far:
                x = (origin[0] + t * direction[0] + bound) * scale
                y = (origin[1] + t * direction[1] + bound) * scale
                z = (origin[2] + t * direction[2] + bound) * scale
                if interpolate_grid(grid, x, y, z) > level:
                    out[v, u] = t
                    break
                t += step
    return out


@no_type_check
@njit(parallel=True)
def _mark_visible(part, low, r, bound, depth, pose, focal):
    """Set the samples of ``part`` that lie in front of the depth of their pixel."""
    height, width = depth.shape
    for i in prange(part.shape[0]):
        for j in range(part.shape[1]):
            for k in range(part.shape[2]):
                if part[i, j, k]:
                    continue
                x = 2 * bound * (i + low[0]) / (r - 1) - bound - pose[0, 3]
                y = 2 * bound * (j + low[1]) / (r - 1) - bound - pose[1, 3]
                z = 2 * bound * (k + low[2]) / (r - 1) - bound - pose[2, 3]
                ahead = -(x * pose[0, 2] + y * pose[1, 2] + z * pose[2, 2])
                right = x * pose[0, 0] + y * pose[1, 0] + z * pose[2, 0]
                up = x * pose[0, 1] + y * pose[1, 1] + z * pose[2, 1]
                u = int(np.floor(0.5 * width + focal * right / ahead))
                v = int(np.floor(0.5 * height - focal * up / ahead))
                outside = u < 0 or v < 0 or u >= width or v >= height
                if outside or np.sqrt(x * x + y * y + z * z) < depth[v, u]:
                    part[i, j, k] = True


@no_type_check
@njit(parallel=True)
def _distance_pass(lines, radius, out):
    """Compute out[i, j, k] = min over |s| <= radius of lines[i, j, k + s] + s^2."""
    length = lines.shape[2]
    for i in prange(lines.shape[0]):
        for j in range(lines.shape[1]):
            line, result = lines[i, j], out[i, j]
            for k in range(length):
                best = line[k]
                for s in range(1, radius + 1):
                    if s * s >= best:
                        break
                    if k >= s:
                        best = min(best, line[k - s] + s * s)
                    if k + s < length:
                        best = min(best, line[k + s] + s * s)
                result[k] = best
