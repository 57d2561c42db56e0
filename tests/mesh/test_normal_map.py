"""A normal map restores the normals of the high-poly surface in glTF's tangent space."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dreamfusion3d.mesh.bake import bake_albedo
from dreamfusion3d.mesh.bvh import build_bvh, closest_points
from dreamfusion3d.mesh.clean import extract_solid
from dreamfusion3d.mesh.normal_map import bake_normal_map, bake_occlusion, build_high_poly
from dreamfusion3d.mesh.rasterize import rasterize_triangles, uv_to_pixels
from dreamfusion3d.mesh.simplify import simplify
from dreamfusion3d.mesh.tangents import vertex_normals, vertex_tangents
from tests.support.shapes import grid_of, position_color, sphere, textured_of, torus

SIZE = 256


def bumpy(p: np.ndarray) -> np.ndarray:
    return sphere(p) + 0.012 * np.sin(18 * p[:, 0]) * np.sin(18 * p[:, 1])


@pytest.fixture(scope="module")
def fine():
    return extract_solid(grid_of(bumpy, 80), 0.0)


@pytest.fixture(scope="module")
def normal_mapped(fine):
    return bake_normal_map(bake_albedo(simplify(fine, 400), position_color, SIZE), build_high_poly(fine))


def pixels(textured):
    """Inputs of a renderer at every covered texel: position, unit normal, tangent, sign, and the map value."""
    face, weights, _ = rasterize_triangles(uv_to_pixels(textured.uv, SIZE), textured.faces, SIZE, SIZE)
    where = face >= 0

    def mixed(values):
        return np.einsum("nk,nkc->nc", weights[where], values[textured.faces[face[where]]])

    unit = [
        v / np.linalg.norm(v, axis=1, keepdims=True) for v in (mixed(textured.normals), mixed(textured.tangents[:, :3]))
    ]
    return mixed(textured.vertices), *unit, mixed(textured.tangents[:, 3:]), textured.normal_map[where]


def test_bake_normal_map_restores_high_poly_normals(fine, normal_mapped):
    position, normal, tangent, sign, stored = pixels(normal_mapped)
    bitangent = np.sign(sign) * np.cross(normal, tangent)
    x, y, z = (stored / 127.5 - 1).T
    restored = x[:, None] * tangent + y[:, None] * bitangent + z[:, None] * normal
    restored /= np.linalg.norm(restored, axis=1, keepdims=True)
    hit = closest_points(build_bvh(fine), position)
    truth = np.einsum("nk,nkc->nc", hit.weights, vertex_normals(fine)[fine.faces[hit.face]])
    truth /= np.linalg.norm(truth, axis=1, keepdims=True)

    def degrees(a):
        return np.degrees(np.arccos(np.clip((a * truth).sum(1), -1, 1)))

    assert np.median(degrees(normal)) > 5  # the simplified mesh lost the bumps
    assert np.median(degrees(restored)) < 1.5
    assert np.percentile(degrees(restored), 95) < 8


def test_vertex_tangents_follow_the_texture(normal_mapped):
    t, n = normal_mapped.tangents, normal_mapped.normals
    np.testing.assert_allclose(np.linalg.norm(t[:, :3], axis=1), 1, atol=1e-5)
    assert np.abs((t[:, :3] * n).sum(1)).max() < 1e-5
    assert (t[:, 3] == 1).all()  # no chart is mirrored
    corners, uv = (
        normal_mapped.vertices[normal_mapped.faces].astype(float),
        normal_mapped.uv[normal_mapped.faces].astype(float),
    )
    edges = np.stack([corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]], axis=1)
    flat = np.stack([uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]], axis=1)
    along_u, along_v = np.moveaxis(np.linalg.solve(flat, edges), 1, 0)
    bitangent = np.cross(n, t[:, :3]) * t[:, 3:]
    for direction, vectors in ((along_u, t[:, :3]), (along_v, bitangent)):
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        cosine = np.einsum("fc,fkc->fk", direction, vectors[normal_mapped.faces])
        assert np.median(cosine) > 0.98 and (cosine > 0).mean() > 0.99


def slow_tangent(mesh, vertex: int) -> np.ndarray:
    """MikkTSpace at one vertex, face by face as in the thesis."""
    n, total = mesh.normals[vertex].astype(float), np.zeros(3)

    def flat(v):
        v = v - n * (n @ v)
        return v / np.linalg.norm(v)

    for face in mesh.faces[(mesh.faces == vertex).any(1)]:
        k = int(np.flatnonzero(face == vertex)[0])
        p, uv = mesh.vertices[face].astype(float), mesh.uv[face].astype(float)
        (a, b), (c, d) = uv[1] - uv[0], uv[2] - uv[0]
        direction = (d * (p[1] - p[0]) - b * (p[2] - p[0])) * np.sign(a * d - b * c)
        before, after = flat(p[k - 1] - p[k]), flat(p[(k + 1) % 3] - p[k])
        total += np.arccos(np.clip(before @ after, -1, 1)) * flat(direction)
    return total / np.linalg.norm(total)


def test_vertex_tangents_match_mikktspace():
    mesh = textured_of(torus, 64)
    tangents = vertex_tangents(mesh)
    for vertex in np.random.default_rng(0).integers(len(mesh.vertices), size=60):
        np.testing.assert_allclose(tangents[vertex, :3], slow_tangent(mesh, vertex), atol=1e-5)


def test_vertex_tangents_flip_for_a_mirrored_texture():
    mesh = textured_of(torus, 64)
    mirrored = dataclasses.replace(mesh, uv=mesh.uv * np.float32([-1, 1]) + np.float32([1, 0]))
    one, two = vertex_tangents(mesh), vertex_tangents(mirrored)
    assert (two[:, 3] == -1).all()
    np.testing.assert_allclose(two[:, :3], -one[:, :3], atol=1e-5)


def test_vertex_tangents_exist_without_uv_area():
    mesh = textured_of(torus, 64)
    tangents = vertex_tangents(dataclasses.replace(mesh, uv=np.zeros_like(mesh.uv)))
    assert np.isfinite(tangents).all()
    np.testing.assert_allclose(np.linalg.norm(tangents[:, :3], axis=1), 1, atol=1e-5)


def test_bake_occlusion_darkens_the_hole_of_a_ring():
    ring = extract_solid(grid_of(lambda p: torus(p, 0.45, 0.3), 32), 0.0)
    shaded = bake_occlusion(bake_albedo(simplify(ring, 600), position_color, 64), build_high_poly(ring))
    face, weights, _ = rasterize_triangles(uv_to_pixels(shaded.uv, 64), shaded.faces, 64, 64)
    where = face >= 0
    position = np.einsum("nk,nkc->nc", weights[where], shaded.vertices[shaded.faces[face[where]]])
    light, radius = shaded.occlusion[where], np.hypot(position[:, 0], position[:, 1])
    assert light[radius > 0.6].mean() > 250  # convex there: nothing occludes
    assert light[(radius < 0.25)].mean() < 180
