"""Self-intersections of a triangle mesh."""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from jaxtyping import Int
from numba import prange

from dreamfusion3d.core.numba_cache import njit
from dreamfusion3d.core.types import Mesh
from dreamfusion3d.mesh.bvh import LEAF_SIZE, STACK_DEPTH, build_bvh

MAX_CROSSINGS = 32  # per face; further ones are not counted
TOUCH_TOLERANCE = 1e-9  # of a triangle's side: touching is no intersection


def self_intersections(mesh: Mesh) -> Int[np.ndarray, "p 2"]:
    """Find all pairs (i < j) of faces where an edge of one passes through the interior of the other.

    Faces with a common vertex are tested too; faces with a common edge cannot intersect. Coplanar
    overlaps are not counted. The pairs are sorted.
    """
    if len(mesh.faces) == 0:
        return np.zeros((0, 2), np.int64)
    tree = build_bvh(mesh)
    faces = np.ascontiguousarray(mesh.faces, np.int64)[tree.order]
    found = np.full((len(mesh.faces), MAX_CROSSINGS), -1, np.int64)
    _find_crossings(tree.low, tree.high, tree.corners, faces, found)
    i, slot = np.nonzero(found >= 0)
    pairs = np.sort(tree.order[np.stack([i, found[i, slot]], axis=1)], axis=1)
    return np.unique(pairs, axis=0)


@no_type_check
@njit
def _tetrahedron_volume(p, q, a, b):
    """Six times the signed volume of the tetrahedron p, q, a, b."""
    x, y, z = q[0] - p[0], q[1] - p[1], q[2] - p[2]
    ax, ay, az = a[0] - p[0], a[1] - p[1], a[2] - p[2]
    bx, by, bz = b[0] - p[0], b[1] - p[1], b[2] - p[2]
    return x * (ay * bz - az * by) + y * (az * bx - ax * bz) + z * (ax * by - ay * bx)


@no_type_check
@njit
def _pierces(p, q, t):
    """Test if the segment from p to q passes through the interior of the triangle."""
    scale = 0.0
    for k in range(3):
        scale = max(scale, abs(t[1, k] - t[0, k]), abs(t[2, k] - t[0, k]), abs(q[k] - p[k]))
    tolerance = TOUCH_TOLERANCE * scale**3
    one, two = _tetrahedron_volume(p, t[0], t[1], t[2]), _tetrahedron_volume(q, t[0], t[1], t[2])
    if not ((one > tolerance and two < -tolerance) or (one < -tolerance and two > tolerance)):
        return False
    a, b = _tetrahedron_volume(p, q, t[0], t[1]), _tetrahedron_volume(p, q, t[1], t[2])
    c = _tetrahedron_volume(p, q, t[2], t[0])
    return (a > tolerance and b > tolerance and c > tolerance) or (a < -tolerance and b < -tolerance and c < -tolerance)


@no_type_check
@njit
def _triangles_cross(t, s, f, g):
    """Test if two triangles with corners t, s and vertex indices f, g intersect."""
    common, i_common, j_common = 0, 0, 0
    for i in range(3):
        for j in range(3):
            if f[i] == g[j]:
                common += 1
                i_common, j_common = i, j
    if common >= 2:
        return False
    for k in range(3):
        # of triangles with a common vertex, only the edges opposite to it can do more than touch
        if (common == 0 or k == (i_common + 1) % 3) and _pierces(t[k], t[(k + 1) % 3], s):
            return True
        if (common == 0 or k == (j_common + 1) % 3) and _pierces(s[k], s[(k + 1) % 3], t):
            return True
    return False


@no_type_check
@njit(parallel=True)
def _find_crossings(low, high, corners, faces, found):
    """Collect, for each face in BVH order, the later faces that intersect it."""
    first_leaf = low.shape[0] // 2
    for n in prange(found.shape[0]):
        t = corners[n]
        stack = np.empty(STACK_DEPTH, np.int64)
        stack[0], top, count = 0, 1, 0
        box_min, box_max = np.empty(3), np.empty(3)
        for k in range(3):
            box_min[k] = min(t[0, k], t[1, k], t[2, k])
            box_max[k] = max(t[0, k], t[1, k], t[2, k])
        while top > 0 and count < found.shape[1]:
            top -= 1
            node = stack[top]
            disjoint = False
            for k in range(3):
                disjoint = disjoint or low[node, k] > box_max[k] or high[node, k] < box_min[k]
            if disjoint:
                continue
            if node < first_leaf:
                stack[top], stack[top + 1] = 2 * node + 1, 2 * node + 2
                top += 2
                continue
            for i in range(LEAF_SIZE * (node - first_leaf), LEAF_SIZE * (node - first_leaf + 1)):
                # only later faces, and not the repeated last one that pads the tree
                later = n < i < found.shape[0] and count < found.shape[1]
                if later and _triangles_cross(t, corners[i], faces[n], faces[i]):
                    found[n, count] = i
                    count += 1
