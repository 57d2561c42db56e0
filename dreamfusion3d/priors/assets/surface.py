"""The surface of any mesh as training data: signed distances and materials at points around it.

The solid is where the winding number exceeds one half, so overlapping parts unite, and holes are closed by the
smoothest surface. Faces inside the solid are no surface; sheets without an inside get a thickness.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from dreamfusion3d.core.types import Mesh
from dreamfusion3d.mesh.geometry import face_areas, face_normals, signed_volume, weld_vertices
from dreamfusion3d.mesh.io.colors import sample_materials
from dreamfusion3d.mesh.io.load import read_mesh
from dreamfusion3d.mesh.user_mesh import mesh_normalization
from dreamfusion3d.mesh.voxelize import sample_surface_barycentric
from dreamfusion3d.mesh.winding import winding_numbers

PROBE_DISTANCE = 2e-3  # from the surface, on both sides, in scene units
SHEET_HALF_THICKNESS = 0.012  # scene units
SHEET_TEST_POINTS = 200
MIN_SOLID_WINDING = 0.65  # behind the faces of a component, in the median
CAP_GRID = 64  # samples per axis of the grid on which holes are found
CAP_POINTS_PER_EDGE = 4
BISECTIONS = 12


@dataclass(frozen=True)
class AssetSurface:
    """The visible surface of a mesh, in the scene.

    Attributes:
        solid: Faces that surround something, in scene units.
        num_faces: Faces of the file, those of sheets included.
        points: Points on the surface, dense enough to measure distances to it.
        normals: Unit normals of the points; of sheets, either side's.
        materials: sRGB base color, roughness and metallic at the points.
        spacing: Radius of the disk that each point stands for.
        sheet: Whether the point belongs to a sheet.
    """

    solid: Mesh
    num_faces: int
    points: Float[np.ndarray, "n 3"]
    normals: Float[np.ndarray, "n 3"]
    materials: Float[np.ndarray, "n 5"]
    spacing: Float[np.ndarray, " n"]
    sheet: Bool[np.ndarray, " n"]

    def distance(self, points: Float[np.ndarray, "m 3"]) -> Float[np.ndarray, " m"]:
        """Return signed distances, negative inside, in scene units."""
        solid, sheet = np.flatnonzero(~self.sheet), np.flatnonzero(self.sheet)
        distance = np.full(len(points), np.inf)
        if len(solid):
            sign = np.where(self._is_inside(points), -1.0, 1.0)
            distance = sign * self._unsigned(points, solid)
        if len(sheet):
            distance = np.minimum(distance, self._unsigned(points, sheet) - SHEET_HALF_THICKNESS)
        return distance

    def materials_at(self, points: Float[np.ndarray, "m 3"]) -> Float[np.ndarray, "m 5"]:
        """Return the materials of the nearest surface points."""
        return self.materials[cKDTree(self.points).query(points)[1]]

    def _is_inside(self, points: Float[np.ndarray, "m 3"]) -> Bool[np.ndarray, " m"]:
        return winding_numbers(self.solid, points) > 0.5

    def _unsigned(self, points: Float[np.ndarray, "m 3"], rows: np.ndarray) -> Float[np.ndarray, " m"]:
        """Distance to the disk around the nearest of the surface points ``rows``."""
        _, nearest = cKDTree(self.points[rows]).query(points)
        nearest = rows[nearest]
        offset = points - self.points[nearest]
        along = np.einsum("nk,nk->n", offset, self.normals[nearest])
        aside = np.sqrt(np.maximum((offset**2).sum(1) - along**2, 0))
        return np.hypot(along, np.maximum(aside - self.spacing[nearest], 0))


def read_asset_surface(path: Path, count: int) -> AssetSurface:
    """Read a mesh file and sample about ``count`` points of its visible surface.

    Raises InputError if the file cannot be read.
    """
    user_mesh = read_mesh(path)
    normalization = mesh_normalization(user_mesh.vertices[np.unique(user_mesh.faces)])
    mesh = Mesh(normalization.to_scene(user_mesh.vertices), user_mesh.faces)
    if signed_volume(mesh) < 0:  # inside out
        mesh = Mesh(mesh.vertices, mesh.faces[:, ::-1])
    points, face, materials = sample_materials(path, count)
    points, normals = normalization.to_scene(points), face_normals(mesh.vertices, mesh.faces)[face]
    sheet_faces = _find_sheets(mesh)
    solid, sheet = Mesh(mesh.vertices, mesh.faces[~sheet_faces]), sheet_faces[face]
    sides = np.concatenate([points + PROBE_DISTANCE * normals, points - PROBE_DISTANCE * normals])
    inside = (winding_numbers(solid, sides) > 0.5).reshape(2, -1)
    exposed, sheet = ~inside.all(0), sheet | ~inside.any(0)
    area = face_areas(mesh.vertices, mesh.faces).sum()
    spacing = np.full(len(points), np.sqrt(area / len(points) / np.pi))
    columns = (column[exposed] for column in (points, normals, materials, spacing, sheet))
    surface = AssetSurface(solid, len(mesh.faces), *columns)
    return _with_caps(surface)


def _find_sheets(mesh: Mesh) -> Bool[np.ndarray, " f"]:
    """Mark the faces of connected components that surround nothing, such as a flat piece of cloth."""
    _, welded = weld_vertices(mesh.vertices.astype(np.float32))
    faces = welded[mesh.faces]
    edges = np.concatenate([faces[:, :2], faces[:, 1:]])
    graph = coo_matrix((np.ones(len(edges)), edges.T), shape=(welded.max() + 1,) * 2)
    component = connected_components(graph, directed=False)[1][faces[:, 0]]
    sheets = np.zeros(len(faces), bool)
    for index in np.unique(component):
        part = Mesh(mesh.vertices, mesh.faces[component == index])
        points, (face, _) = sample_surface_barycentric(part, SHEET_TEST_POINTS)
        behind = points - PROBE_DISTANCE * face_normals(part.vertices, part.faces)[face]
        sheets[component == index] = np.median(winding_numbers(part, behind)) < MIN_SOLID_WINDING
    return sheets


def _with_caps(surface: AssetSurface) -> AssetSurface:
    """Add points where the solid ends in a hole of the mesh."""
    axis = np.linspace(-1, 1, CAP_GRID)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1)
    inside = surface._is_inside(grid.reshape(-1, 3)).reshape(grid.shape[:3])
    starts, ends = [], []
    for k in range(3):
        first, second = np.moveaxis(inside, k, 0)[:-1], np.moveaxis(inside, k, 0)[1:]
        corners = np.moveaxis(grid, k, 0)
        change = first != second
        starts.append(np.where(first[..., None], corners[:-1], corners[1:])[change])
        ends.append(np.where(first[..., None], corners[1:], corners[:-1])[change])
    start, end = np.concatenate(starts), np.concatenate(ends)
    step = 2 / (CAP_GRID - 1)
    far = cKDTree(surface.points).query((start + end) / 2)[0] > step
    start, end = start[far], end[far]
    if not len(start) or not len(surface.solid.faces):
        return surface
    jitter = np.random.default_rng(0).uniform(-step / 2, step / 2, (CAP_POINTS_PER_EDGE, len(start), 3))
    low, high = (start + jitter).reshape(-1, 3), (end + jitter).reshape(-1, 3)
    crosses = surface._is_inside(low) & ~surface._is_inside(high)
    low, high = low[crosses], high[crosses]
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        is_inside = surface._is_inside(middle)[:, None]
        low, high = np.where(is_inside, middle, low), np.where(is_inside, high, middle)
    cap = (low + high) / 2
    steps = PROBE_DISTANCE * np.eye(3)
    gradient = [winding_numbers(surface.solid, cap + s) - winding_numbers(surface.solid, cap - s) for s in steps]
    normals = -np.stack(gradient, 1)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    spacing = np.full(len(cap), step / np.sqrt(CAP_POINTS_PER_EDGE))
    return AssetSurface(
        surface.solid,
        surface.num_faces,
        np.concatenate([surface.points, cap]),
        np.concatenate([surface.normals, normals]),
        np.concatenate([surface.materials, surface.materials_at(cap)]),
        np.concatenate([surface.spacing, spacing]),
        np.concatenate([surface.sheet, np.zeros(len(cap), bool)]),
    )
