"""Vertex normals, and tangents that make every program read a normal map alike."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from dreamfusion3d.core.types import Mesh, TexturedMesh
from dreamfusion3d.mesh.geometry import normalize_vectors

MIN_UV_AREA = 1e-20  # of the texture's area: smaller faces do not define a tangent


def vertex_tangents(textured: TexturedMesh) -> Float[np.ndarray, "v 4"]:
    """Unit tangents along +u with handedness w: bitangent = w cross(normal, tangent), along +v.

    Implements MikkTSpace (Mikkelsen, "Simulation of Wrinkled Surfaces Revisited", 2008), as glTF
    requires: the u direction of each face is projected into the tangent plane of the vertex and
    weighted by the face's angle there. Vertices are already split at UV seams and no chart is
    mirrored, so faces need no further grouping; if a chart touches a vertex with two fans they are
    averaged, where MikkTSpace would keep them apart.
    """
    faces = textured.faces.astype(np.int64)
    corners, flat = (a[faces].astype(np.float64) for a in (textured.vertices, textured.uv))
    d1, d2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    t1, t2 = flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]
    area = t1[:, 0] * t2[:, 1] - t1[:, 1] * t2[:, 0]
    along = np.sign(area)[:, None] * (t2[:, 1:] * d1 - t1[:, 1:] * d2)
    along[np.abs(area) < MIN_UV_AREA] = 0
    normals = textured.normals.astype(np.float64)
    total, handedness = np.zeros_like(normals), np.zeros(len(normals))
    for k in range(3):
        vertex, n = faces[:, k], normals[faces[:, k]]
        weight = _corner_angle(corners, k, n)[:, None]
        part = weight * normalize_vectors(_project_to_plane(along, n))
        for axis in range(3):  # bincount sums in a fixed order
            total[:, axis] += np.bincount(vertex, part[:, axis], len(total))
        handedness += np.bincount(vertex, weight[:, 0] * np.sign(area), len(total))
    length = np.linalg.norm(total, axis=1)
    undefined = length < 1e-9
    total[undefined] = _project_to_plane(np.eye(3)[np.abs(normals[undefined]).argmin(1)], normals[undefined])
    sign = np.where(handedness < 0, -1.0, 1.0)
    return np.concatenate([normalize_vectors(total), sign[:, None]], axis=1).astype(np.float32)


def _corner_angle(
    corners: Float[np.ndarray, "f 3 3"], k: int, normal: Float[np.ndarray, "f 3"]
) -> Float[np.ndarray, " f"]:
    """Angle of each face at its corner k, projected along the normal."""
    edges = (corners[:, (k + step) % 3] - corners[:, k] for step in (1, 2))
    one, two = (normalize_vectors(_project_to_plane(edge, normal)) for edge in edges)
    return np.arccos(np.clip((one * two).sum(1), -1, 1))


def _project_to_plane(v: Float[np.ndarray, "n 3"], normal: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    return v - (v * normal).sum(1, keepdims=True) * normal


def vertex_normals(mesh: Mesh) -> Float[np.ndarray, "v 3"]:
    """Smooth unit normals: face normals weighted by the angle at the vertex."""
    f = mesh.faces
    corners = [mesh.vertices[f[:, k]].astype(np.float64) for k in range(3)]
    face_normal = normalize_vectors(np.cross(corners[1] - corners[0], corners[2] - corners[0]))
    total = np.zeros((len(mesh.vertices), 3))
    for k in range(3):
        edge_a, edge_b = corners[(k + 1) % 3] - corners[k], corners[(k + 2) % 3] - corners[k]
        angle = np.arctan2(np.linalg.norm(np.cross(edge_a, edge_b), axis=1), np.einsum("ij,ij->i", edge_a, edge_b))
        for axis in range(3):  # bincount is fast and sums in a fixed order
            total[:, axis] += np.bincount(f[:, k], angle * face_normal[:, axis], len(total))
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return np.where(length > 1e-12, total / np.maximum(length, 1e-12), (0.0, 1.0, 0.0))
