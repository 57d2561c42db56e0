"""A mesh provided by the user: normalization to the scene, and UVs that a texture can be baked into."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Int64

from dreamfusion3d.core.types import Mesh
from dreamfusion3d.mesh.geometry import face_areas, weld_vertices
from dreamfusion3d.mesh.rasterize import uv_overlap_counts
from dreamfusion3d.mesh.unwrap import MAX_UV_OVERLAP, unwrap

SCENE_HALF_EXTENT = 0.62  # largest half extent; the median of the procedural objects is 0.61
SCENE_RADIUS = 0.82  # largest distance of a vertex from the center, within the view of the cameras
MIN_UV_COVERAGE = 0.02  # of the texture; UVs that cover less cannot hold an image
MAX_DEGENERATE_UV_AREA = 1e-3  # fraction of the surface that may have UVs without area


@dataclass(frozen=True)
class UserMesh:
    """A mesh as stored in its file, with the transforms of its nodes applied.

    Vertices, their order and the faces are those of the file; several objects are concatenated, and the
    vertices of an OBJ are split where UVs or normals differ. Coordinates are float32, as in glTF.
    """

    vertices: Float[np.ndarray, "v 3"]
    faces: Int64[np.ndarray, "f 3"]
    normals: Float[np.ndarray, "n 3"]  # per vertex, or of the shape and split at sharp edges
    uv: Float[np.ndarray, "v 2"] | None  # None if there are several parts, each with its own texture
    corners: Int64[np.ndarray, "f 3"] | None = None  # normal of each face corner; None: that of its vertex


class MeshNormalization(NamedTuple):
    """Transform of a mesh into the scene: (vertex - center) * scale."""

    center: Float[np.ndarray, " 3"]
    scale: float

    def to_scene(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Transform points from file coordinates to scene coordinates."""
        return (points.astype(np.float64) - self.center) * self.scale


@dataclass(frozen=True)
class UVMesh:
    """A mesh whose vertices are split at UV seams and sharp edges; faces and corners keep their order."""

    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    normals: Float[np.ndarray, "v 3"]
    uv: Float[np.ndarray, "v 2"]


def mesh_normalization(vertices: Float[np.ndarray, "v 3"]) -> MeshNormalization:
    """Center a mesh and scale it to the size of the objects that the prior was trained on; +Y stays up."""
    points = vertices.astype(np.float64)
    low, high = points.min(0), points.max(0)
    center = (low + high) / 2
    farthest = float(np.linalg.norm(points - center, axis=1).max())
    return MeshNormalization(center, min(SCENE_HALF_EXTENT / (float((high - low).max()) / 2), SCENE_RADIUS / farthest))


def ensure_uvs(mesh: UserMesh, texture_size: int, padding: int = 4) -> UVMesh:
    """Keep the UVs of the mesh if a texture can be baked into them, else unwrap it."""
    if mesh.uv is not None and uv_problem(mesh, texture_size) is None:
        if mesh.corners is None:
            return UVMesh(mesh.vertices, mesh.faces, mesh.normals, mesh.uv)
        uv, uv_faces = mesh.uv, mesh.faces
    else:
        # weld first, because split vertices would separate the charts
        first, position_index = weld_vertices(mesh.vertices)
        welded = mesh.vertices[first]
        scaled = mesh_normalization(welded).to_scene(welded)
        charts = unwrap(Mesh(scaled, position_index[mesh.faces]), texture_size, padding)
        uv, uv_faces = charts.uv.astype(np.float32), charts.faces
    # a corner has a UV, a position and a normal
    normal_faces = mesh.faces if mesh.corners is None else mesh.corners
    triples = np.stack([uv_faces.reshape(-1), mesh.faces.reshape(-1), normal_faces.reshape(-1)], 1)
    vertex_triples, corners = np.unique(triples, axis=0, return_inverse=True)
    uv_index, vertex, normal = vertex_triples.T
    return UVMesh(mesh.vertices[vertex], corners.reshape(-1, 3), mesh.normals[normal], uv[uv_index])


def uv_problem(mesh: UserMesh, texture_size: int) -> str | None:
    """Describe why a texture cannot be baked into the UVs of the mesh, or return None."""
    if mesh.uv is None:
        return "there are no UVs"
    if not np.isfinite(mesh.uv).all() or mesh.uv.min() < 0 or mesh.uv.max() > 1:
        return "UVs leave the unit square"
    counts = uv_overlap_counts(mesh.uv, mesh.faces, texture_size)
    covered = int((counts > 0).sum())
    if covered < MIN_UV_COVERAGE * texture_size**2:
        return "UVs cover almost nothing of the texture"
    if int((counts > 1).sum()) > MAX_UV_OVERLAP * covered:
        return "UVs overlap"
    a, b, c = (mesh.uv[mesh.faces[:, k]].astype(np.float64) for k in range(3))
    degenerate = np.abs((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]) < 1e-12
    area = face_areas(mesh.vertices, mesh.faces)
    if area[degenerate].sum() > MAX_DEGENERATE_UV_AREA * area.sum():
        return "UVs of some faces have no area"
    return None
