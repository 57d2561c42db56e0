"""What can be said of a mesh's shape in numbers. Ask before the UV split: seams tear edges apart."""

from __future__ import annotations

import dataclasses
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from dreamfusion3d.core.types import Mesh, TexturedMesh
from dreamfusion3d.mesh.isosurface import signed_volume

DEGENERATE_AREA = 1e-12  # of the squared bounding diagonal: a triangle of less area is degenerate


@dataclass(frozen=True)
class MeshQuality:
    """``genus`` counts the handles of all components together; None where the surface is open."""

    vertices: int
    faces: int
    components: int
    watertight: bool  # every edge has exactly two faces, which run along it in opposite directions
    manifold: bool  # and the faces around every vertex form one fan
    euler_number: int
    genus: int | None
    volume: float  # scene units cubed
    bounds: tuple[tuple[float, float, float], tuple[float, float, float]]
    degenerate_faces: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def mesh_quality(mesh: Mesh) -> MeshQuality:
    """Count, close, orient: the facts that `asset.json` states. Unused vertices are not counted."""
    faces = mesh.faces
    used, flat = np.unique(faces, return_inverse=True)
    faces = flat.reshape(-1, 3)
    vertices = mesh.vertices[used]
    edges = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    unique, counts = np.unique(edges[:, 0] * np.int64(len(used) + 1) + edges[:, 1], return_counts=True)
    watertight = len(faces) > 0 and bool((counts == 2).all()) and _is_consistently_oriented(faces)
    manifold = watertight and _count_vertex_fans(faces, len(used)) == len(used)
    components = _count_components(faces, len(used))
    euler = len(used) - len(unique) + len(faces)
    extent = np.ptp(vertices, axis=0) if len(used) else np.zeros(3)
    low, high = (vertices.min(0), vertices.max(0)) if len(used) else (np.zeros(3), np.zeros(3))
    return MeshQuality(
        vertices=len(used),
        faces=len(faces),
        components=components,
        watertight=watertight,
        manifold=manifold,
        euler_number=int(euler),
        genus=int(2 * components - euler) // 2 if manifold else None,
        volume=signed_volume(mesh),
        bounds=(_triple(low), _triple(high)),
        degenerate_faces=int(np.count_nonzero(degenerate_face_mask(mesh, float(extent @ extent)))),
    )


def _triple(point: Float[np.ndarray, " 3"]) -> tuple[float, float, float]:
    x, y, z = map(float, point)
    return x, y, z


def degenerate_face_mask(mesh: Mesh, diagonal_squared: float) -> Bool[np.ndarray, " f"]:
    """Faces (f,) bool with a repeated corner or no area."""
    f = mesh.faces
    a, b, c = (mesh.vertices[f[:, i]].astype(np.float64) for i in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
    repeated = (f[:, 0] == f[:, 1]) | (f[:, 1] == f[:, 2]) | (f[:, 2] == f[:, 0])
    return repeated | (area <= DEGENERATE_AREA * diagonal_squared)


def _is_consistently_oriented(faces: Int[np.ndarray, "f 3"]) -> bool:
    """No directed edge twice: then of two faces at an edge each runs its own way."""
    directed = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    # sorted: numpy's unique hashes, and is five times slower once the table outgrows the caches
    keys = np.sort(directed[:, 0] * np.int64(faces.max() + 1) + directed[:, 1])
    return bool((keys[1:] != keys[:-1]).all())


def _count_components(faces: Int[np.ndarray, "f 3"], count: int) -> int:
    """Bodies, joined through shared vertices."""
    if count == 0:
        return 0
    i, j = faces[:, [0, 1]].ravel(), faces[:, [1, 2]].ravel()
    graph = coo_matrix((np.ones(len(i), np.int8), (i, j)), shape=(count, count))
    return int(connected_components(graph, directed=False, return_labels=False))


def _count_vertex_fans(faces: Int[np.ndarray, "f 3"], count: int) -> int:
    """Fans of faces around vertices, all vertices together; equal to their number on a manifold.

    Corners of faces are nodes; at every edge the corners of its two faces at either end are tied.
    """
    first = 3 * np.arange(len(faces))
    tail, head = faces.T.ravel(), faces[:, [1, 2, 0]].T.ravel()
    start = np.concatenate([first, first + 1, first + 2])
    end = np.concatenate([first + 1, first + 2, first])
    key = np.minimum(tail, head) * np.int64(count) + np.maximum(tail, head)
    order = np.argsort(key, kind="stable")
    side_a, side_b = order[0::2], order[1::2]  # watertight: every edge comes exactly twice
    # the two faces run along the edge in opposite directions: the one's tail is the other's head
    corners = coo_matrix(
        (
            np.ones(2 * len(side_a), np.int8),
            (np.concatenate([start[side_a], end[side_a]]), np.concatenate([end[side_b], start[side_b]])),
        ),
        shape=(3 * len(faces), 3 * len(faces)),
    )
    return int(connected_components(corners, directed=False, return_labels=False))


def face_areas(vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> Float[np.ndarray, " f"]:
    a, b, c = (vertices[faces[:, k]].astype(np.float64) for k in range(3))
    return np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2


def quality_in_meters(quality: MeshQuality, placed: TexturedMesh) -> MeshQuality:
    """The facts of the mesh in scene units (its UV split would tear the edges), as of the placed one."""
    low, high = placed.vertices.min(0), placed.vertices.max(0)
    scale = float(high[1] - low[1]) / (quality.bounds[1][1] - quality.bounds[0][1])
    bounds = (_triple(low), _triple(high))
    return dataclasses.replace(quality, volume=quality.volume * scale**3, bounds=bounds)
