"""Generalized winding numbers: how often a mesh, closed or not, surrounds a point.

Jacobson et al. 2013, "Robust inside-outside segmentation using generalized winding numbers": the sum of the signed
solid angles of all faces over 4 pi. It is an integer for closed meshes and varies smoothly across holes, so 0.5
separates inside from outside. Distant branches of the hierarchy count as one dipole each (Barill et al. 2018).
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from jaxtyping import Float
from numba import prange

from dreamfusion3d.core.numba_cache import njit
from dreamfusion3d.core.types import Mesh
from dreamfusion3d.mesh.bvh import LEAF_SIZE, STACK_DEPTH, build_bvh

DIPOLE_DISTANCE = 2.0  # radii of a branch from which it counts as a dipole


def winding_numbers(mesh: Mesh, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
    """Return the winding number of the mesh around each point: 1 inside of a closed mesh, 0 outside."""
    if not len(mesh.faces):
        return np.zeros(len(points))
    bvh = build_bvh(mesh)
    corners = bvh.corners.copy()
    corners[len(mesh.faces) :] = corners[-1, 0]  # padding has no area
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    dipoles = np.cross(b - a, c - a) / 2
    weights = np.linalg.norm(dipoles, axis=1)
    moments = [dipoles.reshape(-1, LEAF_SIZE, 3).sum(1)]
    masses = [weights.reshape(-1, LEAF_SIZE).sum(1)]
    firsts = [(weights[:, None] * corners.mean(1)).reshape(-1, LEAF_SIZE, 3).sum(1)]
    while len(moments[0]) > 1:
        for levels in (moments, masses, firsts):
            levels.insert(0, levels[0].reshape(-1, 2, *levels[0].shape[1:]).sum(1))
    mass = np.concatenate(masses)
    middle = (bvh.low + bvh.high) / 2
    center = np.where(mass[:, None] > 0, np.concatenate(firsts) / np.maximum(mass, 1e-300)[:, None], middle)
    radius = np.linalg.norm(np.maximum(bvh.high - center, center - bvh.low), axis=1)
    out = np.empty(len(points))
    _winding_kernel(corners, np.concatenate(moments), center, radius, np.ascontiguousarray(points, np.float64), out)
    return out


@no_type_check
@njit
def _solid_angle(t, p):
    """Signed solid angle of a triangle (Van Oosterom and Strackee 1983)."""
    ax, ay, az = t[0, 0] - p[0], t[0, 1] - p[1], t[0, 2] - p[2]
    bx, by, bz = t[1, 0] - p[0], t[1, 1] - p[1], t[1, 2] - p[2]
    cx, cy, cz = t[2, 0] - p[0], t[2, 1] - p[1], t[2, 2] - p[2]
    la, lb, lc = (
        np.sqrt(ax * ax + ay * ay + az * az),
        np.sqrt(bx * bx + by * by + bz * bz),
        np.sqrt(cx * cx + cy * cy + cz * cz),
    )
    volume = ax * (by * cz - bz * cy) + ay * (bz * cx - bx * cz) + az * (bx * cy - by * cx)
    ab, bc, ca = ax * bx + ay * by + az * bz, bx * cx + by * cy + bz * cz, cx * ax + cy * ay + cz * az
    return 2.0 * np.arctan2(volume, la * lb * lc + ab * lc + bc * la + ca * lb)


@no_type_check
@njit(parallel=True, fastmath=True)
def _winding_kernel(corners, moments, center, radius, points, out):
    first_leaf = moments.shape[0] // 2
    for n in prange(points.shape[0]):
        p, total = points[n], 0.0
        stack = np.empty(STACK_DEPTH, np.int64)
        stack[0], top = 0, 1
        while top > 0:
            top -= 1
            node = stack[top]
            x, y, z = center[node, 0] - p[0], center[node, 1] - p[1], center[node, 2] - p[2]
            distance = np.sqrt(x * x + y * y + z * z)
            if distance > DIPOLE_DISTANCE * radius[node]:
                along = x * moments[node, 0] + y * moments[node, 1] + z * moments[node, 2]
                total += along / max(distance * distance * distance, 1e-300)
            elif node < first_leaf:
                stack[top], stack[top + 1] = 2 * node + 1, 2 * node + 2
                top += 2
            else:
                for i in range(LEAF_SIZE * (node - first_leaf), LEAF_SIZE * (node - first_leaf + 1)):
                    total += _solid_angle(corners[i], p)
        out[n] = total / (4.0 * np.pi)
