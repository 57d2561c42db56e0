"""Fewer triangles, the same topology."""

from __future__ import annotations

import fast_simplification
import numpy as np
from jaxtyping import Int
from scipy.sparse import coo_matrix, csr_matrix, diags

from dreamfusion3d.core.types import Mesh
from dreamfusion3d.mesh.edge_collapse import collapse_edges
from dreamfusion3d.mesh.intersections import self_intersections
from dreamfusion3d.mesh.quality import MeshQuality, mesh_quality

# Taubin 1995, "A signal processing approach to fair surface design": a step inwards and a
# slightly longer one outwards pass the shape and stop the ripple, and the volume stays.
TAUBIN_IN, TAUBIN_OUT = 0.5, -0.53
PRESIMPLIFY_FACTOR = 4  # times the faces wished for: so many survive the fast way, and are slowly reduced in no time
BISECTION_STEPS = 4  # targets tried between the wished one and the input
VOLUME_DRIFT = 0.05  # of the volume; a result that moved by more has folded over


def taubin_smooth(mesh: Mesh, iterations: int = 5) -> Mesh:
    """Taubin smoothing: voxel stair-steps go, the volume stays to about a percent."""
    if iterations <= 0 or len(mesh.faces) == 0:
        return mesh
    average = _neighbor_average(mesh.faces, len(mesh.vertices))
    vertices = mesh.vertices.astype(np.float64)
    for _ in range(iterations):
        for weight in (TAUBIN_IN, TAUBIN_OUT):
            vertices = vertices + weight * (average @ vertices - vertices)
    return Mesh(vertices, mesh.faces)


def simplify(mesh: Mesh, max_faces: int = 20000) -> Mesh:
    """At most ``faces`` triangles by quadric edge collapse, watertight and with the input's topology.

    fast-simplification is tried first; what it tears, folds or unhandles is done again by
    `collapse`, which cannot, and so is what it makes pass through itself. A shape that does not
    survive so few faces keeps more, as many as bisection finds needed; at worst the input comes
    back, never a broken mesh.
    """
    mesh = clean_faces(mesh)
    if len(mesh.faces) <= max_faces:
        return mesh
    before = mesh_quality(mesh)
    fast = _fast_simplify(mesh, max_faces)
    if fast is not None and not _is_sound(fast, before):
        fast = None
    if fast is not None and len(self_intersections(fast)) == 0:
        return fast
    if not before.manifold:
        return fast or mesh
    result = clean_faces(collapse_edges(_presimplify(mesh, max_faces, before), max_faces))
    if fast is not None:  # sound but for crossings: whichever has fewer
        better = _is_sound(result, before) and len(result.faces) <= max_faces
        return min(fast, result, key=lambda m: len(self_intersections(m))) if better else fast
    if _is_sound(result, before):
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


def _presimplify(mesh: Mesh, max_faces: int, before: MeshQuality) -> Mesh:
    """What the slow way may start from: a mesh already made smaller by the fast one, if it is flawless.

    The slow way's time is then that of the faces wished for, not of the grid's resolution.
    """
    if len(mesh.faces) <= 2 * PRESIMPLIFY_FACTOR * max_faces:
        return mesh
    found = _fast_simplify(mesh, PRESIMPLIFY_FACTOR * max_faces)
    if found is None or not _is_sound(found, before) or len(self_intersections(found)):
        return mesh
    return found


def clean_faces(mesh: Mesh) -> Mesh:
    """The mesh without repeated faces, faces with a repeated corner, and unused vertices."""
    f = mesh.faces.astype(np.int64)
    f = f[(f[:, 0] != f[:, 1]) & (f[:, 1] != f[:, 2]) & (f[:, 2] != f[:, 0])]
    _, first = np.unique(np.sort(f, axis=1), axis=0, return_index=True)
    f = f[np.sort(first)]
    used, flat = np.unique(f, return_inverse=True)
    return Mesh(mesh.vertices[used].astype(np.float64), flat.reshape(-1, 3).astype(np.int64))


def _fast_simplify(mesh: Mesh, target: int) -> Mesh | None:
    """What fast-simplification makes of it, sound or not; None where it misses the budget."""
    vertices, faces = fast_simplification.simplify(mesh.vertices, mesh.faces.astype(np.int32), target_count=target)
    result = clean_faces(Mesh(np.asarray(vertices, np.float64), np.asarray(faces, np.int64)))
    return result if 0 < len(result.faces) <= target else None


def _is_sound(result: Mesh, before: MeshQuality) -> bool:
    """Whether a decimated mesh is as good as the one it came from."""
    after = mesh_quality(result)
    return (
        (after.euler_number, after.components) == (before.euler_number, before.components)
        and after.watertight >= before.watertight
        and after.manifold >= before.manifold
        and after.degenerate_faces == 0
        and abs(after.volume - before.volume) <= VOLUME_DRIFT * abs(before.volume)
    )


def _neighbor_average(faces: Int[np.ndarray, "f 3"], count: int) -> csr_matrix:
    """Sparse (v, v) matrix that replaces each vertex by the mean of its neighbours."""
    i, j = faces[:, [0, 1, 2]].ravel(), faces[:, [1, 2, 0]].ravel()
    ones = np.ones(2 * len(i))
    pairs = coo_matrix((ones, (np.concatenate([i, j]), np.concatenate([j, i]))), shape=(count, count)).tocsr()
    pairs.data[:] = 1  # an edge is met from both of its faces
    degree = np.maximum(np.asarray(pairs.sum(1)).ravel(), 1)
    return diags(1 / degree) @ pairs
