"""Inside and outside of any mesh, closed or not, on a grid; and its colours there.

Votes of rays along the axes, in both directions (Nooruddin and Turk 2003, "Simplification and
repair of polygonal models using volumetric techniques"): a sample is inside for a ray when the
faces crossed on the way out do not cancel. Four of six votes decide, so that an open bottom or a
missing face does not spill the inside out. A wall thinner than the grid, or a sheet without any
inside, gets a thickness of about a sample, so that it does not vanish.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, no_type_check

import numpy as np
import trimesh
from jaxtyping import Bool, Float
from scipy import ndimage
from scipy.spatial import cKDTree

from dreamfusion3d.core.numba_cache import njit
from dreamfusion3d.core.types import Mesh
from dreamfusion3d.mesh.io.load import MeshNormalization, UserMesh, read_mesh_parts
from dreamfusion3d.mesh.quality import face_areas

MIN_VOTES = 4  # of six
RAY_OFFSETS = (1.31e-5, 2.17e-5, 0.73e-5)  # scene units: no ray runs along an edge of a tidy mesh
SHEET_HALF_THICKNESS = 0.75  # of a sample's spacing: half the thickness of what has no inside
EXACT_BAND = 4  # samples on either side of the surface whose distance is measured, not counted
SURFACE_SAMPLES = 200_000  # on the surface


@dataclass(frozen=True)
class VoxelizedMesh:
    """What a field can start from, on grids over [-1, 1]^3 with corners, [x, y, z]."""

    depth: np.ndarray  # (r, r, r) float32, scene units below the surface
    color: np.ndarray  # (s, s, s, 3) float32, sRGB


def voxelize_mesh(
    path: Path, mesh: UserMesh, normalization: MeshNormalization, resolution: int, color_resolution: int
) -> VoxelizedMesh:
    """The solid of a user's mesh that stands at ``place`` in the scene; without colours it is grey."""
    depth = depth_grid(Mesh(normalization.to_scene(mesh.vertices), mesh.faces), resolution)
    sampled = sample_colored_points(path)
    if sampled is None:
        return VoxelizedMesh(depth, np.full((2, 2, 2, 3), 0.5, np.float32))
    points, colors = sampled
    return VoxelizedMesh(depth, color_grid(normalization.to_scene(points), colors, color_resolution))


@no_type_check
@njit
def _accumulate_crossings(a, b, c, counts, low, step):
    """Add each face's sign at the first sample behind it, on every line along the first axis."""
    r = counts.shape[0]
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
    """Which samples of [-1, 1]^3 (corners included, [x, y, z]) lie within the mesh, in scene units."""
    corners = [mesh.vertices[mesh.faces[:, k]].astype(np.float64) + RAY_OFFSETS for k in range(3)]
    votes = np.zeros((resolution,) * 3, np.int8)
    for axis in range(3):
        order = [axis, (axis + 1) % 3, (axis + 2) % 3]
        counts = np.zeros((resolution + 1, resolution, resolution), np.int32)
        _accumulate_crossings(*(np.ascontiguousarray(c[:, order]) for c in corners), counts, -1.0, 2 / (resolution - 1))
        behind = counts.cumsum(0)
        vote = (behind[:-1] != 0).astype(np.int8) + (behind[:-1] != behind[-1:])
        votes += np.moveaxis(vote, (0, 1, 2), order)
    return votes >= MIN_VOTES


def depth_grid(mesh: Mesh, resolution: int) -> Float[np.ndarray, "r r r"]:
    """Depth below the surface at samples of [-1, 1]^3, scene units, negative outside.

    Next to the surface it is the distance of the nearest of many points on it; further off it
    counts samples. Solids that overlap are one.
    """
    solid, step = inside_grid(mesh, resolution), 2 / (resolution - 1)
    surface, _ = sample_surface_barycentric(mesh)
    cell = np.clip(np.round((surface + 1) / step).astype(np.int64), 0, resolution - 1)
    # where solids overlap, the faces of one within the other bound nothing
    exposed = ~ndimage.binary_erosion(solid, iterations=2)[tuple(cell.T)]
    surface, cell = surface[exposed], cell[exposed]
    # points that no inside sample is next to
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
    """Points spread evenly over the surface, and the face and corner weights of each."""
    area = np.cumsum(face_areas(mesh.vertices, mesh.faces))
    # one point in each of `count` equal shares of the area; the places within a face by a fixed sequence
    face = np.searchsorted(area, (np.arange(count) + 0.5) * area[-1] / count).clip(max=len(area) - 1)
    # R2, the plastic number's sequence (Roberts 2018): as even as random points are not
    n = np.arange(count)
    r, s = (n * 0.7548776662466927) % 1, (n * 0.5698402909980532) % 1
    root = np.sqrt(r)
    weights = np.stack([1 - root, root * (1 - s), root * s], 1)
    corners = mesh.vertices[mesh.faces[face]].astype(np.float64)
    return np.einsum("nk,nkc->nc", weights, corners), (face, weights)


def sample_colored_points(path: Path) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]] | None:
    """Points of a file's surface (in its own coordinates) and their sRGB colours; None: it has none."""
    points, colors = [], []
    parts = read_mesh_parts(path)
    areas = [_part_area(geometry, matrix) for geometry, matrix in parts]
    for (geometry, matrix), area in zip(parts, areas, strict=True):
        count = max(64, round(SURFACE_SAMPLES * area / max(sum(areas), 1e-30)))
        mesh = Mesh(np.asarray(geometry.vertices, np.float64), np.asarray(geometry.faces, np.int64))
        part_points, (face, weights) = sample_surface_barycentric(mesh, count)
        part_colors = _surface_colors(geometry, face, weights, linear=path.suffix.lower() == ".glb")
        if part_colors is None:
            continue
        points.append(part_points @ matrix[:3, :3].T + matrix[:3, 3])
        colors.append(part_colors)
    return (np.concatenate(points), np.concatenate(colors)) if points else None


def _part_area(geometry: trimesh.Trimesh, matrix: Float[np.ndarray, "4 4"]) -> float:
    vertices = np.asarray(geometry.vertices, np.float64) @ matrix[:3, :3].T
    return float(face_areas(vertices, np.asarray(geometry.faces)).sum())


def _surface_colors(
    geometry: trimesh.Trimesh, face: np.ndarray, weights: np.ndarray, *, linear: bool
) -> Float[np.ndarray, "n 3"] | None:
    """The base colour at points given by face and weights: texture, material, or vertex colours."""
    corners = np.asarray(geometry.faces)[face]
    visual: Any = geometry.visual  # of one of several classes, told apart by their kind
    if visual.kind == "texture":
        material = visual.material
        image = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
        if image is not None and visual.uv is not None:
            uv = np.einsum("nk,nkc->nc", weights, np.asarray(visual.uv)[corners])
            return np.asarray(trimesh.visual.color.uv_to_interpolated_color(uv, image))[:, :3] / 255
        factor = np.asarray(material.main_color, np.float64)[:3] / 255
        return np.broadcast_to(_linear_to_srgb(factor) if linear else factor, (len(face), 3))
    if visual.kind == "vertex":
        each = np.asarray(visual.vertex_colors, np.float64)[:, :3] / 255
        mixed = np.einsum("nk,nkc->nc", weights, each[corners])
        return _linear_to_srgb(mixed) if linear else mixed
    if visual.kind == "face":
        return np.asarray(visual.face_colors, np.float64)[face, :3] / 255
    return None


def _linear_to_srgb(color: np.ndarray) -> np.ndarray:
    """Linear light as sRGB (IEC 61966-2-1): glTF's factors and vertex colours are linear."""
    curve = 1.055 * np.maximum(color, 1e-9) ** (1 / 2.4) - 0.055
    return np.where(color <= 0.0031308, 12.92 * color, curve)


def color_grid(
    points: Float[np.ndarray, "n 3"], colors: Float[np.ndarray, "n 3"], resolution: int
) -> Float[np.ndarray, "r r r 3"]:
    """The colour of the nearest surface point at samples of [-1, 1]^3."""
    axis = np.linspace(-1, 1, resolution)
    positions = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    _, row = cKDTree(points).query(positions, k=1)
    return colors[row].reshape(resolution, resolution, resolution, 3).astype(np.float32)
