"""Bake the detail lost in simplification into a normal map and, optionally, ambient occlusion."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from dreamfusion3d.core.types import Mesh, TexturedMesh
from dreamfusion3d.mesh.bake import bake_texture, interpolate_barycentric, to_uint8
from dreamfusion3d.mesh.bvh import BVH, build_bvh, closest_points, intersect_lines, occluded_fraction
from dreamfusion3d.mesh.crease_normals import split_at_creases
from dreamfusion3d.mesh.geometry import bounding_diagonal, normalize_vectors
from dreamfusion3d.mesh.tangents import vertex_normals, vertex_tangents

PROJECTION_DISTANCE = 0.03  # of the diagonal: search range for the high-poly surface along the normal
MIN_NORMAL_Z = 0.1  # in tangent space; a more slanted normal comes from a wrong hit
OCCLUSION_RAYS = 48  # per texel
OCCLUSION_DISTANCE = 0.25  # of the diagonal: farther surfaces do not occlude
RAY_OFFSET = 1e-3  # of the diagonal: start of a ray above the surface


class HighPolySurface(NamedTuple):
    """The unsimplified surface, prepared for projection queries."""

    bvh: BVH
    faces: Int[np.ndarray, "f 3"]
    attributes: Float[np.ndarray, "v 6"]  # position and unit normal of each vertex
    diagonal: float  # of the bounding box

    def project(
        self, points: Float[np.ndarray, "n 3"], normals: Float[np.ndarray, "n 3"]
    ) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
        """Project points onto the surface; return positions and unit normals there.

        The target is the nearest intersection of the line along the normal, in either direction, with
        a face of the same orientation; if there is none in range, it is the closest point.
        """
        hit = intersect_lines(self.bvh, points, normals, PROJECTION_DISTANCE * self.diagonal)
        face, weights = hit.face.copy(), hit.weights.copy()
        missed = face < 0
        if missed.any():
            near = closest_points(self.bvh, points[missed])
            face[missed], weights[missed] = near.face, near.weights
        attributes = interpolate_barycentric(self.attributes, self.faces[face], weights)
        return attributes[:, :3], normalize_vectors(attributes[:, 3:])


def build_high_poly(mesh: Mesh, *, sharp_edges: bool = False) -> HighPolySurface:
    """Prepare the surface that all levels of detail are baked from; ``sharp_edges`` splits normals at creases."""
    normals, vertex, faces = split_at_creases(mesh) if sharp_edges else (vertex_normals(mesh), ..., mesh.faces)
    attributes = np.concatenate([mesh.vertices[vertex].astype(np.float64), normals], axis=1)
    return HighPolySurface(build_bvh(mesh), faces.astype(np.int64), attributes, bounding_diagonal(mesh))


def bake_normal_map(textured: TexturedMesh, high_poly: HighPolySurface) -> TexturedMesh:
    """Add tangents and a tangent-space normal map of the high-poly surface.

    One sample per texel suffices, because a triangle of the high-poly surface is larger than a texel.
    """
    tangents, faces = vertex_tangents(textured), textured.faces.astype(np.int64)
    vertex_frames = np.concatenate([textured.vertices, textured.normals, tangents], axis=1).astype(np.float64)

    def query_normals(face: np.ndarray, weights: np.ndarray) -> np.ndarray:
        frames = interpolate_barycentric(vertex_frames, faces[face], weights)
        normal = normalize_vectors(frames[:, 3:6])
        _, target = high_poly.project(frames[:, :3], normal)
        return _to_tangent_space(target, normal, normalize_vectors(frames[:, 6:9]), frames[:, 9:])

    mean = normalize_vectors(bake_texture(textured.uv, faces, textured.texture.shape[0], query_normals))
    return replace(textured, normal_map=to_uint8((mean + 1) / 2), tangents=tangents)


def _to_tangent_space(
    target: Float[np.ndarray, "n 3"],
    normal: Float[np.ndarray, "n 3"],
    tangent: Float[np.ndarray, "n 3"],
    handedness: Float[np.ndarray, "n 1"],
) -> Float[np.ndarray, "n 3"]:
    """Solve target = x tangent + y bitangent + z normal, the sum that a renderer evaluates.

    Interpolated tangents are not exactly orthogonal to the normal, so this uses the inverse, not the
    transpose.
    """
    bitangent = np.sign(handedness) * normalize_vectors(np.cross(normal, tangent))
    across, up = np.cross(bitangent, normal), np.cross(tangent, bitangent)
    x = (target * across).sum(1) / _away_from_zero((tangent * across).sum(1))
    y = (target * bitangent).sum(1)
    z = (target * up).sum(1) / _away_from_zero((normal * up).sum(1))
    local = normalize_vectors(np.stack([x, y, z], axis=1))
    local[local[:, 2] < MIN_NORMAL_Z] = (0.0, 0.0, 1.0)
    return local


def bake_occlusion(textured: TexturedMesh, high_poly: HighPolySurface) -> TexturedMesh:
    """Add an ambient occlusion map: the fraction of `OCCLUSION_RAYS` per texel that are not blocked.

    Directions are cosine-weighted, so the fraction is the irradiance of a uniform sky.
    """
    vertex_frames = np.concatenate([textured.vertices, textured.normals], axis=1).astype(np.float64)
    faces, directions = textured.faces.astype(np.int64), _cosine_directions(OCCLUSION_RAYS)
    diagonal = high_poly.diagonal

    def query_visibility(face: np.ndarray, weights: np.ndarray) -> np.ndarray:
        frames = interpolate_barycentric(vertex_frames, faces[face], weights)
        position, normal = high_poly.project(frames[:, :3], normalize_vectors(frames[:, 3:]))
        start, max_distance = position + RAY_OFFSET * diagonal * normal, OCCLUSION_DISTANCE * diagonal
        occluded = occluded_fraction(high_poly.bvh, start, normal, directions, max_distance)
        return np.repeat(1 - occluded[:, None], 3, axis=1)

    image = to_uint8(bake_texture(textured.uv, faces, textured.texture.shape[0], query_visibility))
    return replace(textured, occlusion=image[..., 0].copy())


def _cosine_directions(count: int) -> Float[np.ndarray, "n 3"]:
    """Cosine-weighted directions around +z: a Fibonacci spiral on the disk, projected up (Malley's method)."""
    step = np.arange(count) + 0.5
    radius, angle = np.sqrt(step / count), step * np.pi * (3 - np.sqrt(5.0))
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), np.sqrt(1 - radius**2)], axis=1)


def _away_from_zero(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    return np.where(np.abs(values) < 1e-6, 1e-6, values)
