"""Z-buffer rasterizer: the visible triangle of each pixel and its barycentric weights.

It is used in image space to render meshes and in UV space to map texels to faces. The kernels are
serial and therefore deterministic. ``no_type_check`` keeps jaxtyping's import hook away from compiled
code.
"""

from __future__ import annotations

from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Float, Int, Int32

from dreamfusion3d.core.numba_cache import njit

EDGE_SLACK = 1e-9  # of a triangle's area: no cracks along shared edges
INSIDE_MARGIN = 1e-4  # of a triangle's area: a texel on a shared edge is no overlap
NEAR_PLANE = 1e-3  # scene units; triangles that cross it are skipped


class Raster(NamedTuple):
    """Nearest face of each pixel (-1: none), perspective-correct barycentric weights, and depth."""

    face: Int32[np.ndarray, "h w"]
    weights: Float[np.ndarray, "h w 3"]
    depth: Float[np.ndarray, "h w"]


@no_type_check
@njit(nogil=True)
def _rasterize_kernel(points, faces, face, weights, depth, slack, near):
    height, width = face.shape
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ax, ay, az = points[a, 0], points[a, 1], points[a, 2]
        bx, by, bz = points[b, 0], points[b, 1], points[b, 2]
        cx, cy, cz = points[c, 0], points[c, 1], points[c, 2]
        if az < near or bz < near or cz < near:
            continue
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0.0:
            continue
        # pixel centers lie at +0.5
        left = max(0, int(np.ceil(min(ax, bx, cx) - 0.5 - 1e-6)))
        right = min(width - 1, int(np.floor(max(ax, bx, cx) - 0.5 + 1e-6)))
        top = max(0, int(np.ceil(min(ay, by, cy) - 0.5 - 1e-6)))
        bottom = min(height - 1, int(np.floor(max(ay, by, cy) - 0.5 + 1e-6)))
        inverse = 1.0 / area
        for row in range(top, bottom + 1):
            y = row + 0.5
            for col in range(left, right + 1):
                x = col + 0.5
                u = ((bx - x) * (cy - y) - (by - y) * (cx - x)) * inverse
                v = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) * inverse
                w = ((ax - x) * (by - y) - (ay - y) * (bx - x)) * inverse
                if u < slack or v < slack or w < slack:
                    continue
                pu, pv, pw = u / az, v / bz, w / cz
                z = 1.0 / (pu + pv + pw)
                if z < depth[row, col]:
                    depth[row, col] = z
                    face[row, col] = f
                    weights[row, col, 0] = pu * z
                    weights[row, col, 1] = pv * z
                    weights[row, col, 2] = pw * z


@no_type_check
@njit
def _overlap_kernel(points, faces, counts, margin):
    """Count the triangles that contain each pixel center in their interior."""
    height, width = counts.shape
    for f in range(faces.shape[0]):
        ax, ay = points[faces[f, 0], 0], points[faces[f, 0], 1]
        bx, by = points[faces[f, 1], 0], points[faces[f, 1], 1]
        cx, cy = points[faces[f, 2], 0], points[faces[f, 2], 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0.0:
            continue
        left, right = max(0, int(min(ax, bx, cx) - 0.5)), min(width - 1, int(max(ax, bx, cx) + 0.5))
        top, bottom = max(0, int(min(ay, by, cy) - 0.5)), min(height - 1, int(max(ay, by, cy) + 0.5))
        for row in range(top, bottom + 1):
            y = row + 0.5
            for col in range(left, right + 1):
                x = col + 0.5
                u = ((bx - x) * (cy - y) - (by - y) * (cx - x)) / area
                v = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) / area
                if u > margin and v > margin and 1.0 - u - v > margin:
                    counts[row, col] += 1


def rasterize_triangles(
    points: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], height: int, width: int
) -> Raster:
    """Rasterize triangles of either winding at pixel centers; on a tie in depth the first face wins.

    ``points`` are pixels right, pixels down, and depth along the optical axis.
    """
    face = np.full((height, width), -1, np.int32)
    weights = np.zeros((height, width, 3), np.float32)
    depth = np.full((height, width), np.inf)
    points, faces = np.ascontiguousarray(points, np.float64), np.ascontiguousarray(faces, np.int64)
    _rasterize_kernel(points, faces, face, weights, depth, -EDGE_SLACK, NEAR_PLANE)
    return Raster(face, weights, np.where(face >= 0, depth, 0).astype(np.float32))


def uv_to_pixels(uv: Float[np.ndarray, "v 2"], size: int) -> Float[np.ndarray, "v 3"]:
    """Convert UV (origin at the bottom left) to pixels of a square texture with row 0 at the top, depth 1."""
    uv = uv.astype(np.float64)
    return np.stack([uv[:, 0] * size, (1 - uv[:, 1]) * size, np.ones(len(uv))], axis=1)


def uv_overlap_counts(
    uv: Float[np.ndarray, "v 2"], faces: Int[np.ndarray, "f 3"], size: int
) -> Int32[np.ndarray, "size size"]:
    """Count the faces that contain each texel center in their interior; more than one is an overlap."""
    counts = np.zeros((size, size), np.int32)
    _overlap_kernel(uv_to_pixels(uv, size), np.ascontiguousarray(faces, np.int64), counts, INSIDE_MARGIN)
    return counts
