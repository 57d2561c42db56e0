"""Edges that are too sharp to be shaded smoothly, of a mesh whose file says nothing of normals.

A box of eight vertices has three faces at each corner, and one normal for them all would make a pillow of
it. Blender's auto smooth draws the line at the same angle. trimesh's `smooth_shade` parts a mesh into
patches; here a corner is parted from its neighbours around the vertex, so that a crease may run out
within a patch, as on a pinched cloth.
"""

from __future__ import annotations

import numpy as np
import trimesh
from jaxtyping import Bool, Float, Int64
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

CREASE_ANGLE_DEG = 30.0  # between the normals of two faces at an edge


def crease_normals(mesh: trimesh.Trimesh) -> tuple[Float[np.ndarray, "n 3"], Int64[np.ndarray, "f 3"]] | None:
    """Normals, and which of them each corner of each face has; None where each vertex has one of its own.

    The corners at a place share a normal when a walk around it leads from one to the other across no
    sharp edge; it is the mean of their faces, weighted by the angles there. Vertices that were parted at
    one place, as along the seams of an atlas, are one place.
    """
    meshes = [mesh]
    positions, position_index = np.unique(mesh.vertices, axis=0, return_inverse=True)
    if len(positions) < len(mesh.vertices):
        meshes.append(trimesh.Trimesh(positions, position_index.reshape(-1)[mesh.faces], process=False))
    smooth = [part.face_adjacency_angles <= np.radians(CREASE_ANGLE_DEG) for part in meshes]
    if len(meshes) == 1 and smooth[0].all():
        return None
    pairs = np.concatenate(
        [_smooth_corner_pairs(part, edge_mask) for part, edge_mask in zip(meshes, smooth, strict=True)]
    )
    count = mesh.faces.size
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), (count, count))
    _, label = connected_components(graph, directed=False)
    _, first = np.unique(label, return_index=True)
    corners = label.reshape(-1, 3).astype(np.int64)
    split = trimesh.Trimesh(mesh.vertices[mesh.faces.reshape(-1)[first]], corners, process=False)
    return np.asarray(split.vertex_normals, np.float64), corners


def _smooth_corner_pairs(mesh: trimesh.Trimesh, edge_mask: Bool[np.ndarray, " e"]) -> Int64[np.ndarray, "l 2"]:
    """Corners (3 face + place in it) that meet at either end of the ``chosen`` edges between two faces."""
    pairs, edges = mesh.face_adjacency[edge_mask], mesh.face_adjacency_edges[edge_mask]
    one, two = (
        3 * pairs[:, k, None] + (mesh.faces[pairs[:, k]][:, None] == edges[:, :, None]).argmax(2) for k in (0, 1)
    )
    return np.stack([one.reshape(-1), two.reshape(-1)], 1).astype(np.int64)
