"""Voxelize any mesh, closed or not: depth below the surface and color on grids.

Axis-aligned rays in both directions vote (Nooruddin and Turk 2003, "Simplification and repair of
polygonal models using volumetric techniques"): a sample is inside for a ray if the orientations of the
faces it crosses do not cancel. Four of six votes decide, so that an open bottom or a missing face does
not empty the inside. Walls thinner than the grid and open sheets get a thickness of about one sample,
so that they do not vanish.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage
from scipy.spatial import cKDTree

from dreamfusion3d.core.numba_cache import njit
from dreamfusion3d.core.types import Mesh
from dreamfusion3d.mesh.geometry import face_areas
from dreamfusion3d.mesh.user_mesh import MeshNormalization, UserMesh

MIN_VOTES = 4  # of six
RAY_OFFSETS = (1.31e-5, 2.17e-5, 0.73e-5)  # scene units: no ray coincides with an edge of an axis-aligned mesh
SHEET_HALF_THICKNESS = 0.75  # of the sample spacing
EXACT_BAND = 4  # samples on either side of the surface with exact distances
SURFACE_SAMPLES = 200_000


@dataclass(frozen=True)
class VoxelizedMesh:
    """Initial geometry and color of a field, on grids over [-1, 1]^3 including its corners, [x, y, z]."""

    depth: np.ndarray  # (r, r, r) float32, scene units below the surface
    color: np.ndarray  # (s, s, s, 3) float32, sRGB


def voxelize_mesh(
    mesh: UserMesh,
    normalization: MeshNormalization,
    colored_points: tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]] | None,
    resolution: int,
    color_resolution: int,
) -> VoxelizedMesh:
    """Voxelize a user's mesh in scene coordinates.

    ``colored_points`` are surface points in file coordinates and their sRGB colors; without them the
    mesh is gray.
    """
    depth = depth_grid(Mesh(normalization.to_scene(mesh.vertices), mesh.faces), resolution)
    if colored_points is None:
        return VoxelizedMesh(depth, np.full((2, 2, 2, 3), 0.5, np.float32))
    points, colors = colored_points
    return VoxelizedMesh(depth, color_grid(normalization.to_scene(points), colors, color_resolution))


@no_type_check
@njit
def accumulate_crossings(a, b, c, counts, low, step):
    """Add the orientation of each face at the first sample behind it, on lines along the first axis."""
    r = counts.shape[1]
    for f in range(a.shape[0]):
        ay, az, by, bz, cy, cz = a[f, 1], a[f, 2], b[f, 1], b[f, 2], c[f, 1], c[f, 2]
        area = (by - ay) * (cz - az) - (bz - az) * (cy - ay)
        if area == 0.0:
            continue
        first_j = max(0, int(np.ceil((min(ay, by, cy) - low) / step)))
        last_j = min(r - 1, int(np.floor((max(ay, by, cy) - low) / step)))
        first_k = max(0, int(np.ceil((min(az, bz, cz) - low) / step)))
        last_k = min(r - 1, int(np.floor((max(az, bz, cz) - low) / step)))
        for j in range(first_j, last_j + 1):
            y = low + j * step
            for k in range(first_k, last_k + 1):
                z = low + k * step
                u = ((by - y) * (cz - z) - (bz - z) * (cy - y)) / area
                v = ((cy - y) * (az - z) - (cz - z) * (ay - y)) / area
                w = 1.0 - u - v
                if u < 0.0 or v < 0.0 or w < 0.0:
                    continue
                x = u * a[f, 0] + v * b[f, 0] + w * c[f, 0]
                i = min(max(int(np.ceil((x - low) / step)), 0), r)
                counts[i, j, k] += 1 if area > 0.0 else -1


def inside_grid(mesh: Mesh, resolution: int) -> Bool[np.ndarray, "r r r"]:
    """Mask of the samples of [-1, 1]^3 (corners included, [x, y, z]) inside the mesh, in scene units."""
    corners = [mesh.vertices[mesh.faces[:, k]].astype(np.float64) + RAY_OFFSETS for k in range(3)]
    votes = np.zeros((resolution,) * 3, np.int8)
    for axis in range(3):
        order = [axis, (axis + 1) % 3, (axis + 2) % 3]
        counts = np.zeros((resolution + 1, resolution, resolution), np.int32)
        accumulate_crossings(*(np.ascontiguousarray(c[:, order]) for c in corners), counts, -1.0, 2 / (resolution - 1))
        behind = counts.cumsum(0)
        vote = (behind[:-1] != 0).astype(np.int8) + (behind[:-1] != behind[-1:])
        votes += np.moveaxis(vote, (0, 1, 2), order)
    return votes >= MIN_VOTES


def depth_grid(mesh: Mesh, resolution: int) -> Float[np.ndarray, "r r r"]:
    """Signed depth below the surface at samples of [-1, 1]^3, in scene units, negative outside.

    Near the surface this is the distance to the nearest of many points on it, farther away a distance
    transform of the grid. Overlapping solids are united.
    """
    solid, step = inside_grid(mesh, resolution), 2 / (resolution - 1)
    surface, _ = sample_surface_barycentric(mesh)
    cell = np.clip(np.round((surface + 1) / step).astype(np.int64), 0, resolution - 1)
    # where solids overlap, faces inside another solid are not part of the surface
    exposed = ~ndimage.binary_erosion(solid, iterations=2)[tuple(cell.T)]
    surface, cell = surface[exposed], cell[exposed]
    # surface points without an inside sample nearby
    thin = ~ndimage.binary_dilation(solid, iterations=2)[tuple(cell.T)]
    touched = np.zeros_like(solid)
    touched[tuple(cell.T)] = True
    out = ndimage.distance_transform_edt(~solid) if solid.any() else np.full(solid.shape, float(resolution))
    depth = np.where(solid, ndimage.distance_transform_edt(solid) - 0.5, 0.5 - out) * step
    near = ndimage.binary_dilation(touched, iterations=EXACT_BAND)
    positions = np.argwhere(near) * step - 1
    distance, _ = cKDTree(surface).query(positions)
    depth[near] = np.where(solid[near], distance, -distance)
    if thin.any():
        distance, _ = cKDTree(surface[thin]).query(positions)
        depth[near] = np.maximum(depth[near], SHEET_HALF_THICKNESS * step - distance)
    return depth.astype(np.float32)


def sample_surface_barycentric(
    mesh: Mesh, count: int = SURFACE_SAMPLES
) -> tuple[Float[np.ndarray, "n 3"], tuple[np.ndarray, Float[np.ndarray, "n 3"]]]:
    """Sample points uniformly over the surface; return points, and their faces and barycentric weights."""
    area = np.cumsum(face_areas(mesh.vertices, mesh.faces))
    # stratified: one point in each of `count` equal parts of the area
    face = np.searchsorted(area, (np.arange(count) + 0.5) * area[-1] / count).clip(max=len(area) - 1)
    # position within a face by the low-discrepancy R2 sequence (Roberts 2018)
    n = np.arange(count)
    r, s = (n * 0.7548776662466927) % 1, (n * 0.5698402909980532) % 1
    root = np.sqrt(r)
    weights = np.stack([1 - root, root * (1 - s), root * s], 1)
    corners = mesh.vertices[mesh.faces[face]].astype(np.float64)
    return np.einsum("nk,nkc->nc", weights, corners), (face, weights)


def color_grid(
    points: Float[np.ndarray, "n 3"], colors: Float[np.ndarray, "n 3"], resolution: int
) -> Float[np.ndarray, "r r r 3"]:
    """Color of the nearest surface point at samples of [-1, 1]^3."""
    axis = np.linspace(-1, 1, resolution)
    positions = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    _, row = cKDTree(points).query(positions, k=1)
    return colors[row].reshape(resolution, resolution, resolution, 3).astype(np.float32)
