"""What simplification took away, kept as pictures: a normal map and, if wanted, ambient occlusion."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from dreamfusion3d.core.types import Mesh, TexturedMesh
from dreamfusion3d.mesh.bake import bake_texture, interpolate_barycentric, to_uint8
from dreamfusion3d.mesh.bvh import BVH, build_bvh, closest_points, intersect_lines, occluded_fraction
from dreamfusion3d.mesh.checks import bounding_diagonal
from dreamfusion3d.mesh.tangents import vertex_normals, vertex_tangents

PROJECTION_DISTANCE = 0.03  # of the diagonal: how far the fine surface is looked for along the normal
MIN_NORMAL_Z = 0.1  # least share of a normal along the surface's own; more slanted is a wrong hit
OCCLUSION_RAYS = 48  # of a texel's ambient occlusion
OCCLUSION_DISTANCE = 0.25  # of the diagonal: what is further away casts no ambient shade
RAY_OFFSET = 1e-3  # of the diagonal: where a ray starts above the surface


class HighPolySurface(NamedTuple):
    """The unsimplified surface, ready to be asked."""

    bvh: BVH
    faces: Int[np.ndarray, "f 3"]
    attributes: Float[np.ndarray, "v 6"]  # position and unit normal of every vertex
    diagonal: float  # of the diagonal

    def project(
        self, points: Float[np.ndarray, "n 3"], normals: Float[np.ndarray, "n 3"]
    ) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
        """Positions and unit normals of the surface next to ``place``.

        The nearest sheet that faces the same way on the line along the normal, both ways; where
        there is none within reach, the nearest point.
        """
        hit = intersect_lines(self.bvh, points, normals, PROJECTION_DISTANCE * self.diagonal)
        face, weights = hit.face.copy(), hit.weights.copy()
        missed = face < 0
        if missed.any():
            near = closest_points(self.bvh, points[missed])
            face[missed], weights[missed] = near.face, near.weights
        attributes = interpolate_barycentric(self.attributes, self.faces[face], weights)
        return attributes[:, :3], _unit(attributes[:, 3:])


def build_high_poly(mesh: Mesh) -> HighPolySurface:
    """Made once for all levels of detail."""
    attributes = np.concatenate([mesh.vertices.astype(np.float64), vertex_normals(mesh)], axis=1)
    return HighPolySurface(build_bvh(mesh), mesh.faces.astype(np.int64), attributes, bounding_diagonal(mesh))


def bake_normal_map(textured: TexturedMesh, high_poly: HighPolySurface) -> TexturedMesh:
    """``textured`` with tangents, and the normals of ``fine`` as a map of its texture's size.

    Asked once a texel, for a triangle of the fine surface is larger than that.
    """
    tangents = vertex_tangents(textured)
    vertex_frames = np.concatenate([textured.vertices, textured.normals, tangents], axis=1).astype(np.float64)
    faces = textured.faces.astype(np.int64)

    def query_normals(face: np.ndarray, weights: np.ndarray) -> np.ndarray:
        frames = interpolate_barycentric(vertex_frames, faces[face], weights)
        normal = _unit(frames[:, 3:6])
        _, target = high_poly.project(frames[:, :3], normal)
        return _to_tangent_space(target, normal, _unit(frames[:, 6:9]), frames[:, 9:])

    mean = _unit(bake_texture(textured.uv, faces, textured.texture.shape[0], query_normals))
    return replace(textured, normal_map=to_uint8((mean + 1) / 2), tangents=tangents)


def _to_tangent_space(
    target: Float[np.ndarray, "n 3"],
    normal: Float[np.ndarray, "n 3"],
    tangent: Float[np.ndarray, "n 3"],
    handedness: Float[np.ndarray, "n 1"],
) -> Float[np.ndarray, "n 3"]:
    """(x, y, z) with wanted = x tangent + y bitangent + z normal, as a renderer puts it together again.

    Interpolated tangents are not quite across the normal: the inverse is taken, not the transpose.
    """
    bitangent = np.sign(handedness) * _unit(np.cross(normal, tangent))
    across, up = np.cross(bitangent, normal), np.cross(tangent, bitangent)
    x = (target * across).sum(1) / _away_from_zero((tangent * across).sum(1))
    y = (target * bitangent).sum(1)
    z = (target * up).sum(1) / _away_from_zero((normal * up).sum(1))
    local = _unit(np.stack([x, y, z], axis=1))
    local[local[:, 2] < MIN_NORMAL_Z] = (0.0, 0.0, 1.0)
    return local


def bake_occlusion(textured: TexturedMesh, high_poly: HighPolySurface) -> TexturedMesh:
    """``textured`` with the share of RAYS that leave the surface unhindered at each texel.

    Directions are spread by the cosine, so that the mean is the light of an even sky.
    """
    vertex_frames = np.concatenate([textured.vertices, textured.normals], axis=1).astype(np.float64)
    faces, directions = textured.faces.astype(np.int64), _cosine_directions(OCCLUSION_RAYS)

    def query_visibility(face: np.ndarray, weights: np.ndarray) -> np.ndarray:
        frames = interpolate_barycentric(vertex_frames, faces[face], weights)
        position, normal = high_poly.project(frames[:, :3], _unit(frames[:, 3:]))
        start, max_distance = (
            position + RAY_OFFSET * high_poly.diagonal * normal,
            OCCLUSION_DISTANCE * high_poly.diagonal,
        )
        return np.repeat(
            1 - occluded_fraction(high_poly.bvh, start, normal, directions, max_distance)[:, None], 3, axis=1
        )

    image = to_uint8(bake_texture(textured.uv, faces, textured.texture.shape[0], query_visibility))
    return replace(textured, occlusion=image[..., 0].copy())


def _cosine_directions(count: int) -> Float[np.ndarray, "n 3"]:
    """Over the hemisphere around +z, dense by the cosine: a sunflower's disc, lifted (Malley)."""
    step = np.arange(count) + 0.5
    radius, angle = np.sqrt(step / count), step * np.pi * (3 - np.sqrt(5.0))
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), np.sqrt(1 - radius**2)], axis=1)


def _away_from_zero(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    return np.where(np.abs(values) < 1e-6, 1e-6, values)


def _unit(v: np.ndarray) -> np.ndarray:
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-30)
