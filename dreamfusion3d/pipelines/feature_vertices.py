"""Move the vertices of marching cubes onto the surface of a signed distance, and onto its edges and corners.

Marching cubes cuts edges off between two samples. As Ohtake and Belyaev ("Dual/primal mesh optimization for
polygonized implicit surfaces", SMA 2002), every face gives a tangent plane, at its centroid, and a vertex moves to
where the planes around it meet.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dreamfusion3d.core.finite_differences import unit_gradient
from dreamfusion3d.core.types import Mesh
from dreamfusion3d.mesh.geometry import face_normals, normalize_vectors
from dreamfusion3d.mesh.intersections import self_intersections

MAX_HALVINGS = 3
GRADIENT_STEP = 1 / 40  # of finite differences, in cells: they must not reach across an edge
FEATURE_ANGLE_DEG = 25.0  # between the normals around a vertex: more is an edge
MIN_EIGENVALUE = 0.04  # of the planes around a vertex, relative to the largest: below, they leave a direction open

Distance = Callable[[Tensor], Tensor]


def fit_vertices(mesh: Mesh, distance: Distance, cell: float, device: torch.device) -> Mesh:
    """Move vertices onto the zero level of ``distance`` and onto its edges, by at most a cell of the grid.

    Vertices of faces that would intersect others move half as far, a few times, and then not at all.
    """
    vertices, _ = _project(mesh.vertices, distance, cell / 2, device)
    _snap_to_features(vertices, mesh.faces, distance, cell, device)
    move, halvings = vertices - mesh.vertices, np.zeros(len(vertices), np.int64)
    while len(pairs := self_intersections(Mesh(mesh.vertices + move, mesh.faces))):
        corners = np.unique(mesh.faces[pairs])
        if not move[corners].any():
            break
        halvings[corners] += 1
        move[corners] *= np.where(halvings[corners] > MAX_HALVINGS, 0.0, 0.5)[:, None]
    return Mesh(mesh.vertices + move, mesh.faces)


def _project(
    points: Float[np.ndarray, "n 3"], distance: Distance, limit: float, device: torch.device
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
    """Take a Newton step of at most ``limit``; return the points, and the unit gradient where it began."""
    x = torch.from_numpy(points).float().to(device)
    with torch.no_grad():
        normals = unit_gradient(distance, x, 2 * limit * GRADIENT_STEP)
        step = distance(x).clamp(-limit, limit)[:, None] * normals
    return points - step.double().cpu().numpy(), normals.double().cpu().numpy()


def _snap_to_features(
    vertices: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    distance: Distance,
    cell: float,
    device: torch.device,
) -> None:
    """Move vertices, in place, between faces of different normals to where the tangent planes of these faces meet."""
    # where the mesh itself has no crease, there is none
    creased = _vertices_at_creases(faces, face_normals(vertices, faces), len(vertices))
    if not creased.any():
        return
    faces = faces[creased[faces].any(1)]
    points, normals = _project(vertices[faces].mean(1), distance, cell / 2, device)
    moving = creased & _vertices_at_creases(faces, normals, len(vertices))
    if not moving.any():
        return
    # one row per (vertex, face around it)
    vertex, face = faces.ravel(), np.repeat(np.arange(len(faces)), 3)
    around = moving[vertex]
    vertex, face = (np.cumsum(moving) - 1)[vertex[around]], face[around]
    count, n, p = int(moving.sum()), normals[face], points[face]
    center = _sum_rows(p, vertex, count) / np.bincount(vertex, minlength=count)[:, None]
    planes = _sum_rows(np.einsum("ni,nj->nij", n, n).reshape(-1, 9), vertex, count).reshape(-1, 3, 3)
    offsets = _sum_rows(n * np.einsum("ni,ni->n", n, p - center[vertex])[:, None], vertex, count)
    values, axes = np.linalg.eigh(planes)
    inverse = np.where(values > MIN_EIGENVALUE * values[:, 2:], 1 / np.maximum(values, 1e-12), 0.0)
    move = center + np.einsum("nij,nj,nkj,nk->ni", axes, inverse, axes, offsets) - vertices[moving]
    length = np.linalg.norm(move, axis=1, keepdims=True)
    target = vertices[moving] + move * np.minimum(1.0, cell / np.maximum(length, 1e-12))
    vertices[moving], _ = _project(target, distance, cell / 2, device)


def _vertices_at_creases(
    faces: Int[np.ndarray, "f 3"], normals: Float[np.ndarray, "f 3"], count: int
) -> Bool[np.ndarray, "{count}"]:
    """Return the vertices with a face whose normal is far from the mean of all faces around."""
    vertex, face = faces.ravel(), np.repeat(np.arange(len(faces)), 3)
    mean = normalize_vectors(_sum_rows(normals[face], vertex, count))
    differs = np.einsum("ni,ni->n", mean[vertex], normals[face]) < np.cos(np.radians(FEATURE_ANGLE_DEG / 2))
    return np.bincount(vertex, differs, count) > 0


def _sum_rows(values: Float[np.ndarray, "n c"], row: np.ndarray, count: int) -> Float[np.ndarray, "{count} c"]:
    return np.stack([np.bincount(row, column, count) for column in values.T], 1)
