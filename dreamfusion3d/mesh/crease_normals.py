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

SHARPEST_SMOOTH_DEG = 30.0  # between the normals of two faces at an edge


def creased_normals(
    mesh: trimesh.Trimesh,
) -> tuple[Float[np.ndarray, "n 3"], Int64[np.ndarray, "f 3"]] | None:
    """Normals, and which of them each corner of each face has; None where each vertex has one of its own.

    The corners at a place share a normal when a walk around it leads from one to the other across no
    sharp edge; it is the mean of their faces, weighted by the angles there. Vertices that were parted at
    one place, as along the seams of an atlas, are one place.
    """
    bodies = [mesh]
    places, place_of = np.unique(mesh.vertices, axis=0, return_inverse=True)
    if len(places) < len(mesh.vertices):
        bodies.append(trimesh.Trimesh(places, place_of.reshape(-1)[mesh.faces], process=False))
    smooth = [body.face_adjacency_angles <= np.radians(SHARPEST_SMOOTH_DEG) for body in bodies]
    if len(bodies) == 1 and smooth[0].all():
        return None
    links = np.concatenate([_links(body, chosen) for body, chosen in zip(bodies, smooth, strict=True)])
    count = mesh.faces.size
    graph = coo_array((np.ones(len(links), bool), (links[:, 0], links[:, 1])), (count, count))
    _, label = connected_components(graph, directed=False)
    _, first = np.unique(label, return_index=True)
    corners = label.reshape(-1, 3).astype(np.int64)
    parted = trimesh.Trimesh(mesh.vertices[mesh.faces.reshape(-1)[first]], corners, process=False)
    return np.asarray(parted.vertex_normals, np.float64), corners


def _links(mesh: trimesh.Trimesh, chosen: Bool[np.ndarray, " e"]) -> Int64[np.ndarray, "l 2"]:
    """Corners (3 face + place in it) that meet at either end of the ``chosen`` edges between two faces."""
    pairs, edges = mesh.face_adjacency[chosen], mesh.face_adjacency_edges[chosen]
    one, two = (
        3 * pairs[:, k, None] + (mesh.faces[pairs[:, k]][:, None] == edges[:, :, None]).argmax(2)
        for k in (0, 1)
    )
    return np.stack([one.reshape(-1), two.reshape(-1)], 1).astype(np.int64)
