"""Smoothing and simplification that preserve the topology."""

from __future__ import annotations

import fast_simplification
import numpy as np
from jaxtyping import Int
from scipy.sparse import coo_matrix, csr_matrix, diags
from scipy.spatial import cKDTree

from dreamfusion3d.core.types import Mesh
from dreamfusion3d.mesh.edge_collapse import collapse_edges
from dreamfusion3d.mesh.intersections import self_intersections
from dreamfusion3d.mesh.quality import MeshQuality, mesh_quality

# Taubin 1995, "A signal processing approach to fair surface design": an inward step followed by a slightly
# larger outward step is a low-pass filter that preserves the volume.
TAUBIN_IN, TAUBIN_OUT = 0.5, -0.53
PRESIMPLIFY_FACTOR = 4  # times the target: fast-simplification reaches it safely, edge collapse does the rest
LOCKING_ATTEMPTS = 4  # at a result without self-intersections
BISECTION_STEPS = 4  # targets tried between the requested one and the input
VOLUME_DRIFT = 0.05  # of the volume; a larger change means that the surface folded


def taubin_smooth(mesh: Mesh, iterations: int = 5) -> Mesh:
    """Remove stair steps by Taubin smoothing, which preserves the volume to about 1 %."""
    if iterations <= 0 or len(mesh.faces) == 0:
        return mesh
    average = _neighbor_average(mesh.faces, len(mesh.vertices))
    vertices = mesh.vertices.astype(np.float64)
    for _ in range(iterations):
        for weight in (TAUBIN_IN, TAUBIN_OUT):
            vertices = vertices + weight * (average @ vertices - vertices)
    return Mesh(vertices, mesh.faces)


def simplify(mesh: Mesh, max_faces: int = 20000) -> Mesh:
    """Reduce a mesh to ``max_faces`` triangles by quadric edge collapse without changing its topology.

    fast-simplification is tried first. If its result is torn, folded, changed in topology or
    self-intersecting, `collapse_edges` takes over. If the shape does not survive so few faces,
    bisection finds how many it needs; in the worst case the input is returned, never a broken mesh.
    """
    mesh = clean_faces(mesh)
    if len(mesh.faces) <= max_faces:
        return mesh
    before = mesh_quality(mesh)
    fast = _fast_simplify(mesh, max_faces, before)
    if fast is not None and len(self_intersections(fast)) == 0:
        return fast
    if not before.manifold:
        return fast or mesh
    result = _collapse_without_intersections(_presimplify(mesh, max_faces, before), max_faces)
    sound = _is_sound(result, before)
    if fast is not None:  # sound except for self-intersections: take the result with fewer
        comparable = sound and len(result.faces) <= max_faces
        return min(fast, result, key=lambda m: len(self_intersections(m))) if comparable else fast
    if sound:
        return result
    best, low, high = mesh, max(max_faces, len(result.faces)), len(mesh.faces)
    for _ in range(BISECTION_STEPS):
        target = int(np.sqrt(low * high))
        result = clean_faces(collapse_edges(mesh, target))
        if _is_sound(result, before):
            best, high = result, target
        else:
            low = target
    return best


def _collapse_without_intersections(mesh: Mesh, max_faces: int) -> Mesh:
    """Collapse edges; where faces intersect, begin again and leave the surroundings as they are."""
    locked, tree = np.zeros(len(mesh.vertices), bool), cKDTree(mesh.vertices)
    for attempt in range(LOCKING_ATTEMPTS + 1):
        result = clean_faces(collapse_edges(mesh, max_faces, locked))
        pairs = self_intersections(result)
        if not len(pairs) or attempt == LOCKING_ATTEMPTS:
            break
        corners = result.vertices[result.faces[np.unique(pairs)]]
        centers = corners.mean(1)
        radius = (attempt + 1) * np.linalg.norm(corners - centers[:, None], axis=2).max(1)
        for rows in tree.query_ball_point(centers, radius):
            locked[rows] = True
    return result


def _presimplify(mesh: Mesh, max_faces: int, before: MeshQuality) -> Mesh:
    """Reduce the input of `collapse_edges` by fast-simplification, if the result is flawless.

    The time of the edge collapse then depends on the target, not on the resolution of the grid.
    """
    if len(mesh.faces) <= 2 * PRESIMPLIFY_FACTOR * max_faces:
        return mesh
    found = _fast_simplify(mesh, PRESIMPLIFY_FACTOR * max_faces, before)
    return mesh if found is None or len(self_intersections(found)) else found


def clean_faces(mesh: Mesh) -> Mesh:
    """Remove duplicate faces, faces with a repeated corner, and unused vertices."""
    f = mesh.faces.astype(np.int64)
    f = f[(f[:, 0] != f[:, 1]) & (f[:, 1] != f[:, 2]) & (f[:, 2] != f[:, 0])]
    _, first = np.unique(np.sort(f, axis=1), axis=0, return_index=True)
    f = f[np.sort(first)]
    used, flat = np.unique(f, return_inverse=True)
    return Mesh(mesh.vertices[used].astype(np.float64), flat.reshape(-1, 3).astype(np.int64))


def _fast_simplify(mesh: Mesh, target: int, before: MeshQuality) -> Mesh | None:
    """Run fast-simplification; None if it misses the target or breaks the mesh. The result may intersect itself."""
    vertices, faces = fast_simplification.simplify(mesh.vertices, mesh.faces.astype(np.int32), target_count=target)
    result = clean_faces(Mesh(np.asarray(vertices, np.float64), np.asarray(faces, np.int64)))
    return result if 0 < len(result.faces) <= target and _is_sound(result, before) else None


def _is_sound(result: Mesh, before: MeshQuality) -> bool:
    """Test if a simplified mesh kept the topology, quality and volume of its source."""
    after = mesh_quality(result)
    return (
        (after.euler_number, after.components) == (before.euler_number, before.components)
        and after.watertight >= before.watertight
        and after.manifold >= before.manifold
        and after.degenerate_faces == 0
        and abs(after.volume - before.volume) <= VOLUME_DRIFT * abs(before.volume)
    )


def _neighbor_average(faces: Int[np.ndarray, "f 3"], count: int) -> csr_matrix:
    """Return the sparse (v, v) matrix that averages the neighbors of each vertex."""
    i, j = faces[:, [0, 1, 2, 1, 2, 0]].ravel(), faces[:, [1, 2, 0, 0, 1, 2]].ravel()
    pairs = coo_matrix((np.ones(len(i)), (i, j)), shape=(count, count)).tocsr()
    pairs.data[:] = 1  # each edge occurs in both of its faces
    degree = np.maximum(np.asarray(pairs.sum(1)).ravel(), 1)
    return diags(1 / degree) @ pairs
