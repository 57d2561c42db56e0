"""What simplification took away, kept as pictures: a normal map and, if wanted, ambient occlusion."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from dreamfusion3d.core.types import Mesh, TexturedMesh
from dreamfusion3d.mesh.bake import baked, interpolated, quantised
from dreamfusion3d.mesh.bvh import Tree, cross, hidden, nearest, tree_of
from dreamfusion3d.mesh.checks import diagonal
from dreamfusion3d.mesh.tangents import vertex_normals, vertex_tangents

REACH = 0.03  # of the diagonal: how far the fine surface is looked for along the normal
STEEPEST = 0.1  # least share of a normal along the surface's own; more slanted is a wrong hit
RAYS = 48  # of a texel's ambient occlusion
SHADE_REACH = 0.25  # of the diagonal: what is further away casts no ambient shade
LIFT = 1e-3  # of the diagonal: where a ray starts above the surface


class Fine(NamedTuple):
    """The unsimplified surface, ready to be asked."""

    tree: Tree
    faces: Int[np.ndarray, "f 3"]
    points: Float[np.ndarray, "v 6"]  # position and unit normal of every vertex
    size: float  # of the diagonal

    def under(
        self, place: Float[np.ndarray, "n 3"], normal: Float[np.ndarray, "n 3"]
    ) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
        """Positions and unit normals of the surface next to ``place``.

        The nearest sheet that faces the same way on the line along the normal, both ways; where
        there is none within reach, the nearest point.
        """
        hit = cross(self.tree, place, normal, REACH * self.size)
        found, where = hit.face.copy(), hit.weights.copy()
        lost = found < 0
        if lost.any():
            near = nearest(self.tree, place[lost])
            found[lost], where[lost] = near.face, near.weights
        both = interpolated(self.points, self.faces[found], where)
        return both[:, :3], _unit(both[:, 3:])


def fine_surface(mesh: Mesh) -> Fine:
    """Made once for all levels of detail."""
    points = np.concatenate([mesh.vertices.astype(np.float64), vertex_normals(mesh)], axis=1)
    return Fine(tree_of(mesh), mesh.faces.astype(np.int64), points, diagonal(mesh))


def with_normal_map(textured: TexturedMesh, fine: Fine) -> TexturedMesh:
    """``textured`` with tangents, and the normals of ``fine`` as a map of its texture's size.

    Asked once a texel, for a triangle of the fine surface is larger than that.
    """
    tangents = vertex_tangents(textured)
    frame = np.concatenate([textured.vertices, textured.normals, tangents], axis=1).astype(np.float64)
    faces = textured.faces.astype(np.int64)

    def normals(face: np.ndarray, weights: np.ndarray) -> np.ndarray:
        at = interpolated(frame, faces[face], weights)
        normal = _unit(at[:, 3:6])
        _, wanted = fine.under(at[:, :3], normal)
        return _in_frame(wanted, normal, _unit(at[:, 6:9]), at[:, 9:])

    mean = _unit(baked(textured.uv, faces, textured.texture.shape[0], normals))
    return replace(textured, normal_map=quantised((mean + 1) / 2), tangents=tangents)


def _in_frame(
    wanted: Float[np.ndarray, "n 3"], normal: Float[np.ndarray, "n 3"], tangent: Float[np.ndarray, "n 3"],
    hand: Float[np.ndarray, "n 1"],
) -> Float[np.ndarray, "n 3"]:
    """(x, y, z) with wanted = x tangent + y bitangent + z normal, as a renderer puts it together again.

    Interpolated tangents are not quite across the normal: the inverse is taken, not the transpose.
    """
    bitangent = np.sign(hand) * _unit(np.cross(normal, tangent))
    across, up = np.cross(bitangent, normal), np.cross(tangent, bitangent)
    x = (wanted * across).sum(1) / _away_from_zero((tangent * across).sum(1))
    y = (wanted * bitangent).sum(1)
    z = (wanted * up).sum(1) / _away_from_zero((normal * up).sum(1))
    local = _unit(np.stack([x, y, z], axis=1))
    local[local[:, 2] < STEEPEST] = (0.0, 0.0, 1.0)
    return local


def with_occlusion(textured: TexturedMesh, fine: Fine) -> TexturedMesh:
    """``textured`` with the share of RAYS that leave the surface unhindered at each texel.

    Directions are spread by the cosine, so that the mean is the light of an even sky.
    """
    frame = np.concatenate([textured.vertices, textured.normals], axis=1).astype(np.float64)
    faces, directions = textured.faces.astype(np.int64), _cosine_directions(RAYS)

    def light(face: np.ndarray, weights: np.ndarray) -> np.ndarray:
        at = interpolated(frame, faces[face], weights)
        place, normal = fine.under(at[:, :3], _unit(at[:, 3:]))
        start, reach = place + LIFT * fine.size * normal, SHADE_REACH * fine.size
        return np.repeat(1 - hidden(fine.tree, start, normal, directions, reach)[:, None], 3, axis=1)

    picture = quantised(baked(textured.uv, faces, textured.texture.shape[0], light))
    return replace(textured, occlusion=picture[..., 0].copy())


def _cosine_directions(count: int) -> Float[np.ndarray, "n 3"]:
    """Over the hemisphere around +z, dense by the cosine: a sunflower's disc, lifted (Malley)."""
    step = np.arange(count) + 0.5
    radius, turn = np.sqrt(step / count), step * np.pi * (3 - np.sqrt(5.0))
    return np.stack([radius * np.cos(turn), radius * np.sin(turn), np.sqrt(1 - radius**2)], axis=1)


def _away_from_zero(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    return np.where(np.abs(values) < 1e-6, 1e-6, values)


def _unit(v: np.ndarray) -> np.ndarray:
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-30)
