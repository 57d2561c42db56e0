"""Bounding volume hierarchy over triangles: closest points, line intersections and occlusion.

Triangles are sorted along a Morton curve, and their boxes form a complete binary tree (Lauterbach et
al., "Fast BVH Construction on GPUs", 2009): no pointers, built in numpy, deterministic.
``no_type_check`` keeps jaxtyping's import hook away from compiled code.
"""

from __future__ import annotations

from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Float, Int
from numba import prange

from dreamfusion3d.core.numba_cache import njit
from dreamfusion3d.core.types import Mesh

LEAF_SIZE = 4  # triangles
STACK_DEPTH = 64  # enough for 2^60 triangles
MORTON_BITS = 10  # per axis
PARALLEL_TOLERANCE = 1e-12  # cosine below which a line counts as parallel to the plane


class BVH(NamedTuple):
    """Boxes in heap order (children of k: 2k + 1, 2k + 2); the last triangle is repeated as padding."""

    low: Float[np.ndarray, "nodes 3"]
    high: Float[np.ndarray, "nodes 3"]
    corners: Float[np.ndarray, "t 3 3"]
    order: Int[np.ndarray, " t"]  # face index of each triangle in the mesh


class SurfaceHits(NamedTuple):
    """Hit of each query: face (-1: none), barycentric weights, and distance (signed along a line)."""

    face: Int[np.ndarray, " n"]
    weights: Float[np.ndarray, "n 3"]
    distance: Float[np.ndarray, " n"]


def build_bvh(mesh: Mesh) -> BVH:
    """Build the hierarchy of a mesh with at least one face."""
    corners = np.ascontiguousarray(mesh.vertices[mesh.faces], np.float64)
    middle = (corners.min(1) + corners.max(1)) / 2
    low, extent = middle.min(0), max(float(np.ptp(middle, axis=0).max()), 1e-30)
    cell = np.minimum(((middle - low) / extent * 2**MORTON_BITS).astype(np.int64), 2**MORTON_BITS - 1)
    code = np.zeros(len(cell), np.int64)
    for bit in range(MORTON_BITS):
        for axis in range(3):
            code |= ((cell[:, axis] >> bit) & 1) << (3 * bit + axis)
    order = np.argsort(code, kind="stable")
    leaves = 1 << max(-(-len(order) // LEAF_SIZE) - 1, 0).bit_length()
    order = np.concatenate([order, np.full(leaves * LEAF_SIZE - len(order), order[-1])])
    corners = corners[order]
    levels_low = [corners.min(1).reshape(leaves, LEAF_SIZE, 3).min(1)]
    levels_high = [corners.max(1).reshape(leaves, LEAF_SIZE, 3).max(1)]
    while len(levels_low[0]) > 1:
        levels_low.insert(0, levels_low[0].reshape(-1, 2, 3).min(1))
        levels_high.insert(0, levels_high[0].reshape(-1, 2, 3).max(1))
    return BVH(np.concatenate(levels_low), np.concatenate(levels_high), corners, order)


def closest_points(bvh: BVH, points: Float[np.ndarray, "n 3"]) -> SurfaceHits:
    """Find the closest point on the surface for each of ``points``; ``distance`` >= 0."""
    face, weights, distance = _allocate_hits(len(points))
    _closest_points_kernel(bvh.low, bvh.high, bvh.corners, _as_float64(points), face, weights, distance)
    return SurfaceHits(bvh.order[face], weights, distance)


def intersect_lines(
    bvh: BVH, points: Float[np.ndarray, "n 3"], directions: Float[np.ndarray, "n 3"], max_distance: float
) -> SurfaceHits:
    """Intersect the line through each point along its unit direction with the surface.

    The hit nearest to the point within ``max_distance`` in either direction is returned; ``distance``
    is signed. Only faces whose normal points along the direction count: a line along a surface's own
    normal must not stop at the far side of a thin wall.
    """
    face, weights, distance = _allocate_hits(len(points))
    lines = _as_float64(points), _as_float64(directions)
    _intersect_lines_kernel(bvh.low, bvh.high, bvh.corners, *lines, max_distance, face, weights, distance)
    return SurfaceHits(np.where(face >= 0, bvh.order[face], -1), weights, distance)


def _as_float64(points: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(points, np.float64)


def _allocate_hits(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.full(count, -1, np.int64), np.zeros((count, 3)), np.full(count, np.inf)


@no_type_check
@njit
def _box_distance(low, high, node, p):
    total = 0.0
    for k in range(3):
        gap = max(low[node, k] - p[k], p[k] - high[node, k], 0.0)
        total += gap * gap
    return total


@no_type_check
@njit
def _closest_on_triangle(t, p, out):
    """Barycentric weights of the point on the triangle closest to p (Ericson 2005, 5.1.5)."""
    abx, aby, abz = t[1, 0] - t[0, 0], t[1, 1] - t[0, 1], t[1, 2] - t[0, 2]
    acx, acy, acz = t[2, 0] - t[0, 0], t[2, 1] - t[0, 1], t[2, 2] - t[0, 2]
    apx, apy, apz = p[0] - t[0, 0], p[1] - t[0, 1], p[2] - t[0, 2]
    d1, d2 = abx * apx + aby * apy + abz * apz, acx * apx + acy * apy + acz * apz
    bpx, bpy, bpz = p[0] - t[1, 0], p[1] - t[1, 1], p[2] - t[1, 2]
    d3, d4 = abx * bpx + aby * bpy + abz * bpz, acx * bpx + acy * bpy + acz * bpz
    cpx, cpy, cpz = p[0] - t[2, 0], p[1] - t[2, 1], p[2] - t[2, 2]
    d5, d6 = abx * cpx + aby * cpy + abz * cpz, acx * cpx + acy * cpy + acz * cpz
    va, vb, vc = d3 * d6 - d5 * d4, d5 * d2 - d1 * d6, d1 * d4 - d3 * d2
    v = w = 0.0
    if d1 <= 0.0 and d2 <= 0.0:
        pass
    elif d3 >= 0.0 and d4 <= d3:
        v = 1.0
    elif d6 >= 0.0 and d5 <= d6:
        w = 1.0
    elif vc <= 0.0 and d1 >= 0.0 and d3 <= 0.0:
        v = d1 / (d1 - d3)
    elif vb <= 0.0 and d2 >= 0.0 and d6 <= 0.0:
        w = d2 / (d2 - d6)
    elif va <= 0.0 and d4 - d3 >= 0.0 and d5 - d6 >= 0.0:
        w = (d4 - d3) / max((d4 - d3) + (d5 - d6), 1e-300)
        v = 1.0 - w
    else:
        total = max(va + vb + vc, 1e-300)
        v, w = vb / total, vc / total
    out[0], out[1], out[2] = 1.0 - v - w, v, w
    gap = 0.0
    for k in range(3):
        d = (1.0 - v - w) * t[0, k] + v * t[1, k] + w * t[2, k] - p[k]
        gap += d * d
    return gap


@no_type_check
@njit(parallel=True)
def _closest_points_kernel(low, high, corners, points, face, weights, distance):
    first_leaf = low.shape[0] // 2
    for n in prange(points.shape[0]):
        p = points[n]
        stack, barycentric = np.empty(STACK_DEPTH, np.int64), np.empty(3)
        stack[0], top, best = 0, 1, np.inf
        while top > 0:
            top -= 1
            node = stack[top]
            if _box_distance(low, high, node, p) >= best:
                continue
            if node < first_leaf:
                one, two = 2 * node + 1, 2 * node + 2
                if _box_distance(low, high, one, p) < _box_distance(low, high, two, p):
                    one, two = two, one
                stack[top], stack[top + 1] = one, two  # the nearer child is visited first
                top += 2
                continue
            for i in range(LEAF_SIZE * (node - first_leaf), LEAF_SIZE * (node - first_leaf + 1)):
                gap = _closest_on_triangle(corners[i], p, barycentric)
                if gap < best:
                    best, face[n] = gap, i
                    weights[n] = barycentric
        distance[n] = np.sqrt(best)


@no_type_check
@njit
def _line_hits_box(low, high, node, p, d, max_distance):
    near, far = -max_distance, max_distance
    for k in range(3):
        if abs(d[k]) < 1e-15:
            if p[k] < low[node, k] or p[k] > high[node, k]:
                return False
            continue
        a, b = (low[node, k] - p[k]) / d[k], (high[node, k] - p[k]) / d[k]
        near, far = max(near, min(a, b)), min(far, max(a, b))
    return near <= far


@no_type_check
@njit
def _line_triangle_distance(t, p, d, out):
    """Signed distance along d to a triangle facing along d (Möller and Trumbore 1997); inf if missed."""
    abx, aby, abz = t[1, 0] - t[0, 0], t[1, 1] - t[0, 1], t[1, 2] - t[0, 2]
    acx, acy, acz = t[2, 0] - t[0, 0], t[2, 1] - t[0, 1], t[2, 2] - t[0, 2]
    nx, ny, nz = aby * acz - abz * acy, abz * acx - abx * acz, abx * acy - aby * acx
    along = nx * d[0] + ny * d[1] + nz * d[2]
    if along <= PARALLEL_TOLERANCE * np.sqrt(nx * nx + ny * ny + nz * nz):
        return np.inf
    rx, ry, rz = t[0, 0] - p[0], t[0, 1] - p[1], t[0, 2] - p[2]
    qx, qy, qz = ry * d[2] - rz * d[1], rz * d[0] - rx * d[2], rx * d[1] - ry * d[0]
    v = (acx * qx + acy * qy + acz * qz) / along
    w = -(abx * qx + aby * qy + abz * qz) / along
    if v < -1e-9 or w < -1e-9 or v + w > 1.0 + 1e-9:
        return np.inf
    out[0], out[1], out[2] = 1.0 - v - w, v, w
    return (nx * rx + ny * ry + nz * rz) / along


@no_type_check
@njit(parallel=True)
def _intersect_lines_kernel(low, high, corners, points, directions, max_distance, face, weights, distance):
    first_leaf = low.shape[0] // 2
    for n in prange(points.shape[0]):
        p, d = points[n], directions[n]
        stack, barycentric = np.empty(STACK_DEPTH, np.int64), np.empty(3)
        stack[0], top, best = 0, 1, max_distance
        while top > 0:
            top -= 1
            node = stack[top]
            if not _line_hits_box(low, high, node, p, d, best):
                continue
            if node < first_leaf:
                stack[top], stack[top + 1] = 2 * node + 1, 2 * node + 2
                top += 2
                continue
            for i in range(LEAF_SIZE * (node - first_leaf), LEAF_SIZE * (node - first_leaf + 1)):
                along = _line_triangle_distance(corners[i], p, d, barycentric)
                if abs(along) < best:
                    best = abs(along)
                    face[n], distance[n] = i, along
                    weights[n] = barycentric


def occluded_fraction(
    bvh: BVH,
    points: Float[np.ndarray, "n 3"],
    normals: Float[np.ndarray, "n 3"],
    directions: Float[np.ndarray, "d 3"],
    max_distance: float,
) -> Float[np.ndarray, " n"]:
    """Fraction of ``directions`` from each point that hit the surface within ``max_distance``.

    Directions are given around +z and rotated to each unit normal.
    """
    out = np.zeros(len(points))
    rays = _as_float64(points), _as_float64(normals), _as_float64(directions)
    _occlusion_kernel(bvh.low, bvh.high, bvh.corners, *rays, max_distance, out)
    return out


@no_type_check
@njit
def _segment_is_blocked(low, high, corners, p, d, max_distance, stack, barycentric):
    """Test for a triangle, facing either way, on the segment from p along d."""
    first_leaf, back = low.shape[0] // 2, -d
    stack[0], top = 0, 1
    half, middle = 0.5 * max_distance, np.empty(3)
    for k in range(3):
        middle[k] = p[k] + half * d[k]  # the segment as a line around its midpoint
    while top > 0:
        top -= 1
        node = stack[top]
        if not _line_hits_box(low, high, node, middle, d, half):
            continue
        if node < first_leaf:
            stack[top], stack[top + 1] = 2 * node + 1, 2 * node + 2
            top += 2
            continue
        for i in range(LEAF_SIZE * (node - first_leaf), LEAF_SIZE * (node - first_leaf + 1)):
            if (
                0.0 < _line_triangle_distance(corners[i], p, d, barycentric) < max_distance
                or 0.0 < -_line_triangle_distance(corners[i], p, back, barycentric) < max_distance
            ):
                return True
    return False


@no_type_check
@njit(parallel=True)
def _occlusion_kernel(low, high, corners, points, normals, directions, max_distance, out):
    for n in prange(points.shape[0]):
        x, y, z = normals[n]
        # an orthonormal frame around the normal (Duff et al. 2017)
        sign = 1.0 if z >= 0 else -1.0
        a = -1.0 / (sign + z)
        b = x * y * a
        stack, barycentric, d = np.empty(STACK_DEPTH, np.int64), np.empty(3), np.empty(3)
        hits = 0
        for k in range(directions.shape[0]):
            u, v, w = directions[k]
            d[0] = u * (1.0 + sign * x * x * a) + v * b + w * x
            d[1] = u * sign * b + v * (sign + y * y * a) + w * y
            d[2] = -u * sign * x - v * y + w * z
            if _segment_is_blocked(low, high, corners, points[n], d, max_distance, stack, barycentric):
                hits += 1
        out[n] = hits / directions.shape[0]
