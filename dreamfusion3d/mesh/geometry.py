"""Elementary geometry of triangle meshes: areas, volume, extent, welding."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from dreamfusion3d.core.types import Mesh, TexturedMesh


def normalize_vectors(vectors: Float[np.ndarray, "*n d"]) -> Float[np.ndarray, "*n d"]:
    """Scale vectors to unit length; zero vectors stay zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-30)


def face_areas(vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> Float[np.ndarray, " f"]:
    """Area of every triangle, in double precision."""
    a, b, c = (vertices[faces[:, k]].astype(np.float64) for k in range(3))
    return np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2


def face_normals(vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> Float[np.ndarray, "f 3"]:
    """Unit normal of every triangle, in double precision; 0 for one without an area."""
    a, b, c = (vertices[faces[:, k]].astype(np.float64) for k in range(3))
    return normalize_vectors(np.cross(b - a, c - a))


def signed_volume(mesh: Mesh) -> float:
    """Volume enclosed by a closed mesh (cubic scene units); negative if the faces are wound inwards."""
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)


def bounding_diagonal(mesh: Mesh) -> float:
    """Length of the diagonal of the bounding box; vertices without a face are ignored."""
    return float(np.linalg.norm(np.ptp(mesh.vertices[np.unique(mesh.faces)], axis=0)))


def weld_vertices(vertices: Float[np.ndarray, "v 3"]) -> tuple[Int[np.ndarray, " w"], Int[np.ndarray, " v"]]:
    """Return the first vertex at each of the w distinct positions, and the position index of every vertex."""
    _, first, position_index = np.unique(vertices, axis=0, return_index=True, return_inverse=True)
    return first, position_index.reshape(-1)


def weld_mesh(mesh: TexturedMesh) -> Mesh:
    """Merge vertices with identical coordinates, which a UV atlas splits along its seams."""
    first, position_index = weld_vertices(mesh.vertices)
    return Mesh(mesh.vertices[first], position_index[mesh.faces])
