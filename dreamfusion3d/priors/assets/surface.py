"""The surface of any mesh as training data: signed distances and materials at points around it.

The solid is where the winding number exceeds one half, so overlapping parts unite, and holes are closed by the
smoothest surface. Faces inside the solid are no surface; sheets without an inside get a thickness.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh
from jaxtyping import Bool, Float, Int
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from dreamfusion3d.core.types import Mesh
from dreamfusion3d.mesh.geometry import face_areas, face_normals, weld_vertices
from dreamfusion3d.mesh.io.colors import sample_materials
from dreamfusion3d.mesh.io.load import read_mesh
from dreamfusion3d.mesh.user_mesh import mesh_normalization
from dreamfusion3d.mesh.voxelize import sample_surface_barycentric
from dreamfusion3d.mesh.winding import winding_numbers

PROBE_DISTANCE = 2e-3  # from the surface, on both sides, in scene units
SHEET_HALF_THICKNESS = 0.012  # scene units
SHEET_TEST_POINTS = 200
MAX_REPAIRED_FACES = 50_000  # of a component whose faces do not agree on a side
MIN_SOLID_WINDING = 0.65  # behind the faces of a component, in the median
GRID = 64  # samples per axis of the grid on which holes and cavities are found
MIN_CAVITY_SAMPLES = 27  # of the grid; a smaller space is a crack between parts
CAP_POINTS_PER_EDGE = 4
BISECTIONS = 12


@dataclass(frozen=True)
class AssetSurface:
    """The visible surface of a mesh, in the scene.

    Attributes:
        solid: Faces that surround something, in scene units.
        cavity: Samples of a grid over [-1, 1]^3 that are nearest to a closed cavity, which counts as solid.
        num_faces: Faces of the file, those of sheets included.
        points: Points on the surface, dense enough to measure distances to it.
        normals: Unit normals of the points; of sheets, either side's.
        materials: sRGB base color, roughness and metallic at the points.
        spacing: Radius of the disk that each point stands for.
        sheet: Whether the point belongs to a sheet.
    """

    solid: Mesh
    cavity: Bool[np.ndarray, "r r r"]
    num_faces: int
    points: Float[np.ndarray, "n 3"]
    normals: Float[np.ndarray, "n 3"]
    materials: Float[np.ndarray, "n 5"]
    spacing: Float[np.ndarray, " n"]
    sheet: Bool[np.ndarray, " n"]

    def distance(self, points: Float[np.ndarray, "m 3"]) -> Float[np.ndarray, " m"]:
        """Return signed distances, negative inside, in scene units."""
        sign = np.where(self._is_inside(points), -1.0, 1.0)
        distance = sign * self._unsigned(points, np.arange(len(self.points)))
        sheet = np.flatnonzero(self.sheet)
        if len(sheet):
            distance = np.minimum(distance, self._unsigned(points, sheet) - SHEET_HALF_THICKNESS)
        return distance

    def materials_at(self, points: Float[np.ndarray, "m 3"]) -> Float[np.ndarray, "m 5"]:
        """Return the materials of the nearest surface points."""
        return self.materials[cKDTree(self.points).query(points)[1]]

    def _is_inside(self, points: Float[np.ndarray, "m 3"]) -> Bool[np.ndarray, " m"]:
        return (winding_numbers(self.solid, points) > 0.5) | _lookup(self.cavity, points)

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
    mesh, is_sheet, is_hidden = _orient(Mesh(normalization.to_scene(user_mesh.vertices), user_mesh.faces))
    points, face, materials = sample_materials(path, count)
    points, normals = normalization.to_scene(points), face_normals(mesh.vertices, mesh.faces)[face]
    solid, sheet = Mesh(mesh.vertices, mesh.faces[~is_sheet & ~is_hidden]), is_sheet[face]
    sides = np.concatenate([points + PROBE_DISTANCE * normals, points - PROBE_DISTANCE * normals])
    grid_inside = _grid_inside(solid)
    cavity = _find_cavities(grid_inside, points)
    inside = ((winding_numbers(solid, sides) > 0.5) | _lookup(cavity, sides)).reshape(2, -1)
    # most of a face of a thin wall has no inside; single points at sharp edges may have none either
    num_thin, num_points = (np.bincount(face, weights, len(mesh.faces)) for weights in (~inside.any(0), None))
    sheet |= (2 * num_thin > num_points)[face]
    exposed = ~inside.all(0) & ~is_hidden[face]
    area = face_areas(mesh.vertices, mesh.faces).sum()
    spacing = np.full(len(points), np.sqrt(area / len(points) / np.pi))
    columns = (column[exposed] for column in (points, normals, materials, spacing, sheet))
    surface = AssetSurface(solid, cavity, len(mesh.faces), *columns)
    return _with_caps(surface, grid_inside | cavity)


def _grid_points() -> Float[np.ndarray, "r r r 3"]:
    axis = np.linspace(-1, 1, GRID)
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1)


def _grid_inside(mesh: Mesh) -> Bool[np.ndarray, "r r r"]:
    return (winding_numbers(mesh, _grid_points().reshape(-1, 3)) > 0.5).reshape(GRID, GRID, GRID)


def _lookup(grid: Bool[np.ndarray, "r r r"], points: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, " n"]:
    """Return the nearest sample of a grid over [-1, 1]^3."""
    return grid[_nearest_sample(points)]


def _nearest_sample(points: Float[np.ndarray, "n 3"]) -> tuple[np.ndarray, ...]:
    return tuple(np.clip(np.round((points + 1) / 2 * (GRID - 1)).astype(np.int64), 0, GRID - 1).T)


def _find_cavities(inside: Bool[np.ndarray, "r r r"], surface: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, "r r r"]:
    """Mark the samples that are nearest to a space which the surface closes off, such as the inside of a fridge."""
    touched = np.zeros_like(inside)
    touched[_nearest_sample(surface)] = True
    free = ~(inside | touched)
    label, count = ndimage.label(free)
    sizes = np.bincount(label.ravel(), minlength=count + 1)
    is_cavity = sizes >= MIN_CAVITY_SAMPLES
    is_cavity[[0, label[0, 0, 0]]] = False
    if not is_cavity.any():
        return np.zeros_like(inside)
    nearest = ndimage.distance_transform_edt(~free, return_distances=False, return_indices=True)
    return is_cavity[label[tuple(nearest)]]


def _orient(mesh: Mesh) -> tuple[Mesh, Bool[np.ndarray, " f"], Bool[np.ndarray, " f"]]:
    """Turn the faces of each connected component outwards.

    Returns:
        The mesh, whether a face belongs to a sheet (a component that surrounds nothing, such as a flat piece of cloth),
        and whether it is the back of a face that looks the other way.
    """
    _, welded = weld_vertices(mesh.vertices.astype(np.float32))
    faces = welded[mesh.faces]
    backs = _repeated_faces(faces)
    edges = np.concatenate([faces[:, :2], faces[:, 1:]])
    graph = coo_matrix((np.ones(len(edges)), edges.T), shape=(welded.max() + 1,) * 2)
    component = connected_components(graph, directed=False)[1][faces[:, 0]]
    turned, sheets = mesh.faces.copy(), np.zeros(len(faces), bool)
    for index in np.unique(component):
        rows = np.flatnonzero((component == index) & ~backs)
        part = trimesh.Trimesh(mesh.vertices, mesh.faces[rows], process=False)
        if len(rows) <= MAX_REPAIRED_FACES and not _is_consistent(faces[rows]):
            welded_part = trimesh.Trimesh(mesh.vertices, faces[rows], process=False)
            trimesh.repair.fix_winding(welded_part)
            is_turned = (welded_part.faces != faces[rows]).any(1)
            part.faces[is_turned] = part.faces[is_turned][:, ::-1]
        side = Mesh(mesh.vertices, np.asarray(part.faces))
        points, (face, _) = sample_surface_barycentric(side, SHEET_TEST_POINTS)
        offset = PROBE_DISTANCE * face_normals(side.vertices, side.faces)[face]
        behind, ahead = (float(np.median(winding_numbers(side, points + s * offset))) for s in (-1, 1))
        turned[rows] = side.faces[:, ::-1] if -ahead > behind else side.faces
        sheets[component == index] = max(behind, -ahead) < MIN_SOLID_WINDING
    return Mesh(mesh.vertices, turned), sheets, backs


def _repeated_faces(faces: Int[np.ndarray, "f 3"]) -> Bool[np.ndarray, " f"]:
    """Mark faces with the same corners as an earlier one: the backs of two-sided surfaces."""
    _, first = np.unique(np.sort(faces, 1), axis=0, return_index=True)
    repeated = np.ones(len(faces), bool)
    repeated[first] = False
    return repeated


def _is_consistent(faces: Int[np.ndarray, "f 3"]) -> bool:
    """Return whether no two faces run along an edge in the same direction."""
    directed = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    return len(np.unique(directed, axis=0)) == len(directed)


def _with_caps(surface: AssetSurface, inside: Bool[np.ndarray, "r r r"]) -> AssetSurface:
    """Add points where the solid ends in a hole of the mesh."""
    grid = _grid_points()
    starts, ends = [], []
    for k in range(3):
        first, second = np.moveaxis(inside, k, 0)[:-1], np.moveaxis(inside, k, 0)[1:]
        corners = np.moveaxis(grid, k, 0)
        change = first != second
        starts.append(np.where(first[..., None], corners[:-1], corners[1:])[change])
        ends.append(np.where(first[..., None], corners[1:], corners[:-1])[change])
    start, end = np.concatenate(starts), np.concatenate(ends)
    step = 2 / (GRID - 1)
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
        surface.cavity,
        surface.num_faces,
        np.concatenate([surface.points, cap]),
        np.concatenate([surface.normals, normals]),
        np.concatenate([surface.materials, surface.materials_at(cap)]),
        np.concatenate([surface.spacing, spacing]),
        np.concatenate([surface.sheet, np.zeros(len(cap), bool)]),
    )
