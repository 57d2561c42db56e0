"""Voxel grids of closed meshes in the comparison frame of assets and ground-truth objects.

An asset's size is up to the user (``--height``), so both are normalized: the bounding box is
centered at the origin and its longest edge spans [-0.8, 0.8]. Nothing is rotated.
"""

from __future__ import annotations

import dataclasses
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, Float

from dreamfusion3d.core.types import Mesh, TexturedMesh
from dreamfusion3d.mesh.voxelize import accumulate_crossings

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
    z_first = scaled.astype(np.float64)[:, [2, 0, 1]]
    counts = np.zeros((resolution + 1, resolution, resolution), np.int32)
    accumulate_crossings(*(np.ascontiguousarray(z_first[mesh.faces[:, k]]) for k in range(3)), counts, 0.0, 1.0)
    above = counts[::-1].cumsum(0)[-2::-1]
    return np.moveaxis(above % 2 == 1, 0, 2)


def voxel_iou(a: Bool[np.ndarray, "r r r"], b: Bool[np.ndarray, "r r r"]) -> float:
    """Intersection over union; 0 for two empty grids."""
    union = int(np.count_nonzero(a | b))
    return int(np.count_nonzero(a & b)) / union if union else 0.0
