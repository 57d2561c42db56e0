"""Split normals at sharp edges for meshes whose file has no normals.

A box with eight vertices has three faces at each corner; one shared normal would shade it like a
pillow. Blender's auto smooth uses the same angle. trimesh's `smooth_shade` splits a mesh into whole
patches; here corners are split around each vertex, so that a crease can end within a patch, as on
pinched cloth.
"""

from __future__ import annotations

import numpy as np
import trimesh
from jaxtyping import Bool, Float, Int64

from dreamfusion3d.core.types import Mesh
from dreamfusion3d.mesh.geometry import weld_vertices
from dreamfusion3d.mesh.tangents import vertex_normals

CREASE_ANGLE_DEG = 30.0  # largest angle between the normals across a smooth edge


def crease_normals(mesh: trimesh.Trimesh) -> tuple[Float[np.ndarray, "n 3"], Int64[np.ndarray, "f 3"]] | None:
    """Compute normals that are split at sharp edges.

    Corners at one position share a normal if they are connected around it without crossing a sharp
    edge; the normal is the angle-weighted mean of their faces. Vertices with identical coordinates, as
    along UV seams, count as one position.

    Returns:
        Normals and the normal index of each face corner, or None if one normal per vertex suffices.
    """
    meshes = [mesh]
    first, position_index = weld_vertices(mesh.vertices)
    if len(first) < len(mesh.vertices):
        meshes.append(trimesh.Trimesh(mesh.vertices[first], position_index[mesh.faces], process=False))
    smooth = [part.face_adjacency_angles <= np.radians(CREASE_ANGLE_DEG) for part in meshes]
    if len(meshes) == 1 and smooth[0].all():
        return None
    pairs = np.concatenate([_smooth_corner_pairs(part, mask) for part, mask in zip(meshes, smooth, strict=True)])
    label = trimesh.graph.connected_component_labels(pairs, mesh.faces.size)
    _, first = np.unique(label, return_index=True)
    corners = label.reshape(-1, 3).astype(np.int64)
    split = trimesh.Trimesh(mesh.vertices[mesh.faces.reshape(-1)[first]], corners, process=False)
    return np.asarray(split.vertex_normals, np.float64), corners


def split_at_creases(mesh: Mesh) -> tuple[Float[np.ndarray, "n 3"], Int64[np.ndarray, " n"], Int64[np.ndarray, "f 3"]]:
    """Return normals, the vertex that each belongs to, and the normal index of each face corner."""
    creased = crease_normals(trimesh.Trimesh(mesh.vertices, mesh.faces, process=False))
    if creased is None:
        return vertex_normals(mesh), np.arange(len(mesh.vertices)), mesh.faces.astype(np.int64)
    normals, corners = creased
    vertex = np.empty(len(normals), np.int64)
    vertex[corners.ravel()] = mesh.faces.ravel()
    return normals, vertex, corners


def _smooth_corner_pairs(mesh: trimesh.Trimesh, edge_mask: Bool[np.ndarray, " e"]) -> Int64[np.ndarray, "l 2"]:
    """Pair the corners (3 * face + corner) of adjacent faces at both ends of the selected edges."""
    pairs, edges = mesh.face_adjacency[edge_mask], mesh.face_adjacency_edges[edge_mask]
    one, two = (
        3 * pairs[:, k, None] + (mesh.faces[pairs[:, k]][:, None] == edges[:, :, None]).argmax(2) for k in (0, 1)
    )
    return np.stack([one.reshape(-1), two.reshape(-1)], 1).astype(np.int64)
