"""What no camera can see into is solid, and so is a crack.

Distillation judges pictures: behind a surface the density is whatever it happens to be, a
sponge whose tunnels would all become part of the mesh. Space carving (Kutulakos and Seitz,
"A Theory of Shape by Space Carving", IJCV 2000) settles it: a sample stays empty only if some
camera sees it, so that what is visible is kept exactly and the inside is filled. Only where a
wide way leads on from there does emptiness too: the belly of a jug lies behind its neck.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from jaxtyping import Bool, Float
from numba import prange
from scipy import ndimage

from dreamfusion3d.cameras.orbit import OrbitCameras, orbit_cameras
from dreamfusion3d.core.numba_cache import njit

RAY_STEP = 0.75  # of a voxel, along a ray
VIEW_SIZE_PX = 112  # pixels of a view: about a pixel a voxel at resolution 128
NUM_AZIMUTHS = 24  # fewer shine into a narrow mouth like torches, and the dark between is a pillar
# Lower views exist, but they hardly hold an underside in place
ELEVATIONS_DEG = (0.0, 15.0, 30.0, 40.0, 50.0, 62.0, 74.0, 85.0)
FILL_LEVEL_OFFSET = 1.0  # units of the grid above the level
CARVING_RESOLUTION = 128  # samples along an edge of the grid on which visibility is decided, about
GAP_RADIUS = 0.022  # scene units: half the width of the widest crack that is filled
PASSAGE_RADIUS = 0.06  # scene units: half the width of the narrowest way by which emptiness leads on


def carving_cameras() -> OrbitCameras:
    """Views all around, from level to the highest that the field was optimised from."""
    # every ring turned a little, so that no two views share an azimuth
    azimuth = [
        360 * (i + ring / len(ELEVATIONS_DEG)) / NUM_AZIMUTHS
        for ring in range(len(ELEVATIONS_DEG))
        for i in range(NUM_AZIMUTHS)
    ]
    elevation = [e for e in ELEVATIONS_DEG for _ in range(NUM_AZIMUTHS)]
    cameras = orbit_cameras(azimuth, 0.0, height=VIEW_SIZE_PX, width=VIEW_SIZE_PX)
    heights = cameras.azimuth_deg.new_tensor(elevation)
    return OrbitCameras(cameras.azimuth_deg, heights, cameras.distance, cameras.fov_deg, VIEW_SIZE_PX, VIEW_SIZE_PX)


def solidify(
    grid: Float[np.ndarray, "r r r"], level: float, bound: float = 1.0, cameras: OrbitCameras | None = None
) -> Float[np.ndarray, "r r r"]:
    """The grid with its cracks and every sample that no camera sees raised above ``level``.

    Cracks are closed before, so that nobody looks in through them, and after: what few
    cameras see through a narrow mouth is ragged at the size of a pixel.
    """
    grid = close_gaps(grid, level, bound)
    visible_mask = carve_visible(grid, level, bound, cameras or carving_cameras())
    filled = np.where(visible_mask, grid, np.maximum(grid, np.float32(level + FILL_LEVEL_OFFSET)))
    return close_gaps(filled, level, bound)


def close_gaps(
    grid: Float[np.ndarray, "r r r"], level: float, bound: float = 1.0, radius: float = GAP_RADIUS
) -> Float[np.ndarray, "r r r"]:
    """The grid with every sample raised that no empty ball of ``radius`` (scene units) reaches.

    A morphological closing (Serra, "Image Analysis and Mathematical Morphology", 1982):
    distilled walls crack and a crack through a wall is a handle more. What a ball fits
    through, such as the hole of a real handle, stays as it is, and so does every sample that
    was inside.
    """
    inside = grid > level
    closed = np.ascontiguousarray(grid, np.float32).copy()
    if not inside.any():
        return closed
    occupied = (np.flatnonzero(inside.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1)))
    # outside the box of what is inside there is no gap, for a box is convex
    box = tuple(slice(int(indices[0]), int(indices[-1]) + 1) for indices in occupied)
    voxels = radius * (grid.shape[0] - 1) / (2 * bound)
    pad = int(np.ceil(voxels)) + 1  # beyond the grid all is empty
    wide = ~dilate_ball(np.pad(inside[box], pad), voxels)  # a ball's centre fits here
    reached = dilate_ball(wide, voxels)[pad:-pad, pad:-pad, pad:-pad]
    closed[box][~reached & ~inside[box]] = level + FILL_LEVEL_OFFSET
    return closed


def dilate_ball(mask: Bool[np.ndarray, "x y z"], radius: float) -> Bool[np.ndarray, "x y z"]:
    """Samples at most ``voxels`` away from one of ``mask``.

    The squared distance is a sum over the axes, so its minimum is found axis by axis (Saito and
    Toriwaki 1994), here no further than it matters: two bytes a sample, whatever the grid.
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
    grid: Float[np.ndarray, "r r r"], level: float, bound: float, cameras: OrbitCameras
) -> Bool[np.ndarray, "r r r"]:
    """`visible`, on fine grids by way of blocks: the cost of carving does not grow with the resolution.

    A block counts as matter if any of its samples does, so that no thin wall lets a camera in.
    Of a fine grid all is seen that lies in a block next to a seen one; the pockets that are left
    between such blocks and the fill are closed in and go with the other voids.
    """
    factor = max(1, round(grid.shape[0] / CARVING_RESOLUTION))
    if factor == 1:
        return visible_samples(grid, level, bound, cameras)
    size, count = grid.shape[0], -(-grid.shape[0] // factor)
    index = (np.arange(size) + (factor * count - size) // 2) // factor  # the block of each sample
    starts = np.searchsorted(index, np.arange(count))
    pooled = np.ascontiguousarray(grid, np.float32)
    for axis in range(3):
        pooled = np.maximum.reduceat(pooled, starts, axis=axis)
    # a block stands for its middle, and the middles' box is smaller than the samples'
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
    """Samples in front of the first crossing of ``level``, in at least one view, and what a ball of WAY
    gets to from there.

    Only samples in the box around {grid > level} are asked; all others are visible.
    """
    inside = grid > level
    visible_mask = np.ones(grid.shape, bool)
    if not inside.any():
        return visible_mask
    box = [np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {k}))) for k in range(3)]
    low = np.array([b.min() for b in box])
    high = np.array([b.max() + 1 for b in box])
    part = inside[low[0] : high[0], low[1] : high[1], low[2] : high[2]].copy()  # needs no looking for
    poses = cameras.to("cpu").camera_to_world.double().numpy()
    focal = cameras.focal.double().cpu().numpy()
    smooth = np.ascontiguousarray(grid, np.float32)
    for pose, f in zip(poses, focal, strict=True):
        depth = _first_crossing(smooth, float(level), bound, pose, f, cameras.height, cameras.width, RAY_STEP)
        _mark_visible(part, low, grid.shape[0], bound, depth, pose, f)
    visible_mask[low[0] : high[0], low[1] : high[1], low[2] : high[2]] = part
    return reachable_samples(inside, visible_mask | inside, PASSAGE_RADIUS * (grid.shape[0] - 1) / (2 * bound))


def reachable_samples(
    inside: Bool[np.ndarray, "r r r"], visible_mask: Bool[np.ndarray, "r r r"], radius: float
) -> Bool[np.ndarray, "r r r"]:
    """What is ``seen``, and all that a ball of ``voxels`` covers as it rolls on from there through what is
    not ``inside``. It never comes from below, where no camera looks: a hole there is a fault."""
    has_floor = np.logical_or.accumulate(inside, axis=1)  # something is below, or here
    free = ~dilate_ball(inside | ~(has_floor | visible_mask), radius)  # a ball's centre fits here
    regions, _ = ndimage.label(free)
    connected = np.zeros(regions.max() + 1, bool)
    connected[regions[free & visible_mask]] = True
    return visible_mask | dilate_ball(free & connected[regions], radius)


@no_type_check
@njit(parallel=True)
def _first_crossing(grid, level, bound, pose, focal, height, width, step_voxels):
    """Distance at which each pixel's ray first meets {grid > level}; 1e9 where it never does."""
    r = grid.shape[0]
    scale = (r - 1) / (2 * bound)
    step = step_voxels / scale
    out = np.full((height, width), 1e9)
    for v in prange(height):
        for u in range(width):
            lx, ly = (u + 0.5 - 0.5 * width) / focal, (0.5 * height - v - 0.5) / focal
            norm = np.sqrt(lx * lx + ly * ly + 1)
            direction = (pose[:3, 0] * lx + pose[:3, 1] * ly - pose[:3, 2]) / norm
            near, far = 0.0, 1e9
            for k in range(3):
                d = direction[k] if abs(direction[k]) > 1e-9 else 1e-9
                t0, t1 = (-bound - pose[k, 3]) / d, (bound - pose[k, 3]) / d
                near, far = max(near, min(t0, t1)), min(far, max(t0, t1))
            t = near + 0.5 * step
            while t < far:
                x = (pose[0, 3] + t * direction[0] + bound) * scale
                y = (pose[1, 3] + t * direction[1] + bound) * scale
                z = (pose[2, 3] + t * direction[2] + bound) * scale
                i, j, k = min(max(int(x), 0), r - 2), min(max(int(y), 0), r - 2), min(max(int(z), 0), r - 2)
                fx, fy, fz = x - i, y - j, z - k
                a = (grid[i, j, k] * (1 - fz) + grid[i, j, k + 1] * fz) * (1 - fy) + (
                    grid[i, j + 1, k] * (1 - fz) + grid[i, j + 1, k + 1] * fz
                ) * fy
                b = (grid[i + 1, j, k] * (1 - fz) + grid[i + 1, j, k + 1] * fz) * (1 - fy) + (
                    grid[i + 1, j + 1, k] * (1 - fz) + grid[i + 1, j + 1, k + 1] * fz
                ) * fy
                if a * (1 - fx) + b * fx > level:
                    out[v, u] = t
                    break
                t += step
    return out


@no_type_check
@njit(parallel=True)
def _mark_visible(part, low, r, bound, depth, pose, focal):
    """Set the samples of ``part`` that lie before the depth of the pixel they fall into."""
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
    """out[i, j, k] = min over |s| <= reach of lines[i, j, k + s] + s^2."""
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
