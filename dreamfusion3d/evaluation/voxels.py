"""Voxel grids of closed meshes in the comparison frame of assets and ground-truth objects.

An asset's size is up to the user (``--height``), so both are normalized: the bounding box is
centered at the origin and its longest edge spans [-0.8, 0.8]. Nothing is rotated.
"""

from __future__ import annotations

import dataclasses
from typing import TypeVar, no_type_check

import numpy as np
from jaxtyping import Bool, Float

from dreamfusion3d.core.numba_cache import njit
from dreamfusion3d.core.types import Mesh, TexturedMesh

FRAME_HALF_EXTENT = 0.8  # half of the longest edge of the bounding box
VOXEL_RESOLUTION = 48  # voxels per edge
AnyMesh = TypeVar("AnyMesh", Mesh, TexturedMesh)


def normalize_mesh(mesh: AnyMesh) -> AnyMesh:
    """Move and scale a mesh into the comparison frame."""
    low, high = mesh.vertices.min(0), mesh.vertices.max(0)
    scale = 2 * FRAME_HALF_EXTENT / max(float((high - low).max()), 1e-9)
    return dataclasses.replace(mesh, vertices=(mesh.vertices - (low + high) / 2) * scale)


def voxel_centers(resolution: int = VOXEL_RESOLUTION) -> Float[np.ndarray, " r"]:
    """Coordinates of the voxel centers along one edge."""
    return ((np.arange(resolution) + 0.5) / resolution * 2 - 1) * FRAME_HALF_EXTENT


def solid_voxels(mesh: AnyMesh, resolution: int = VOXEL_RESOLUTION) -> Bool[np.ndarray, "r r r"]:
    """Voxels whose center lies inside a closed mesh: an odd number of faces lies above it."""
    scaled = (mesh.vertices / FRAME_HALF_EXTENT + 1) / 2 * resolution - 0.5
    # shifted off the lattice, so that no column runs through a vertex or along an edge
    scaled = scaled + np.array([1.3e-5, 0.7e-5, 2.1e-5])
    inside = np.zeros((resolution,) * 3, np.bool_)
    _toggle_voxels_below(np.ascontiguousarray(scaled, np.float64), np.ascontiguousarray(mesh.faces, np.int64), inside)
    return inside


@no_type_check
@njit
def _toggle_voxels_below(vertices, faces, inside):
    """Let every face toggle all voxels below it (along z) in each column that it covers."""
    resolution = inside.shape[0]
    for f in range(faces.shape[0]):
        a, b, c = vertices[faces[f, 0]], vertices[faces[f, 1]], vertices[faces[f, 2]]
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        if area == 0.0:
            continue
        first_x = max(int(np.ceil(min(a[0], b[0], c[0]))), 0)
        last_x = min(int(np.floor(max(a[0], b[0], c[0]))), resolution - 1)
        first_y = max(int(np.ceil(min(a[1], b[1], c[1]))), 0)
        last_y = min(int(np.floor(max(a[1], b[1], c[1]))), resolution - 1)
        for i in range(first_x, last_x + 1):
            for j in range(first_y, last_y + 1):
                u = ((b[0] - i) * (c[1] - j) - (b[1] - j) * (c[0] - i)) / area
                v = ((c[0] - i) * (a[1] - j) - (c[1] - j) * (a[0] - i)) / area
                w = 1.0 - u - v
                if u < 0 or v < 0 or w < 0:
                    continue
                height = u * a[2] + v * b[2] + w * c[2]
                for k in range(min(int(np.floor(height)), resolution - 1) + 1):
                    inside[i, j, k] = not inside[i, j, k]


def voxel_iou(a: Bool[np.ndarray, "r r r"], b: Bool[np.ndarray, "r r r"]) -> float:
    """Intersection over union; 0 for two empty grids."""
    union = int(np.count_nonzero(a | b))
    return int(np.count_nonzero(a & b)) / union if union else 0.0
