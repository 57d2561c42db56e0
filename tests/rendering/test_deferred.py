"""Deferred rendering against the compiled mesh renderer and against ray casting."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dreamfusion3d.cameras.orbit import orbit_cameras
from dreamfusion3d.core.shading import lambert_shading, light_direction
from dreamfusion3d.core.types import Mesh, TexturedMesh
from dreamfusion3d.mesh.tangents import vertex_normals
from dreamfusion3d.rendering.deferred import rasterize_gbuffer, sample_texture, shade_gbuffer
from dreamfusion3d.rendering.mesh_renderer import render_mesh

CAMERAS = orbit_cameras([25.0, 160.0], [15.0, 40.0], height=20, width=20)


@pytest.fixture(scope="module")
def solid() -> TexturedMesh:
    """An octahedron, stretched along x, with a texture of noise."""
    vertices = np.array([[0.7, 0, 0], [-0.7, 0, 0], [0, 0.5, 0], [0, -0.5, 0], [0, 0, 0.5], [0, 0, -0.5]])
    faces = np.array([[0, 2, 4], [4, 2, 1], [1, 2, 5], [5, 2, 0], [4, 3, 0], [1, 3, 4], [5, 3, 1], [0, 3, 5]])
    rng = np.random.default_rng(0)
    uv = rng.uniform(0.05, 0.95, (6, 2)).astype(np.float32)
    texture = rng.integers(0, 256, (9, 7, 3)).astype(np.uint8)
    normals = vertex_normals(Mesh(vertices, faces)).astype(np.float32)
    return TexturedMesh(vertices.astype(np.float32), faces, normals, uv, texture)


def render_texture(solid: TexturedMesh, texture: torch.Tensor, supersample: int = 1):
    gbuffer = rasterize_gbuffer(Mesh(solid.vertices, solid.faces), solid.normals, CAMERAS, supersample=supersample)
    uv = gbuffer.interpolate(torch.from_numpy(solid.uv), torch.from_numpy(solid.faces))
    return shade_gbuffer(gbuffer, sample_texture(texture, uv))


def cast(solid: TexturedMesh, texture: torch.Tensor) -> torch.Tensor:
    """Naive reference: every ray against every triangle (Moeller and Trumbore 1997), four texels by hand."""
    origins, rays = (t.double().reshape(-1, 1, 3) for t in CAMERAS.rays())
    vertices = torch.from_numpy(solid.vertices).double()
    faces = torch.from_numpy(solid.faces)
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    one, two = b - a, c - a
    p = torch.linalg.cross(rays, two[None].expand(len(rays), -1, -1))
    volume = (one * p).sum(-1)
    s = origins - a
    v = (s * p).sum(-1) / volume
    q = torch.linalg.cross(s, one[None].expand_as(s))
    w = (rays * q).sum(-1) / volume
    t = (two * q).sum(-1) / volume
    t = torch.where((v >= 0) & (w >= 0) & (v + w <= 1) & (t > 0), t, torch.inf)
    nearest, face = t.min(1)
    row = torch.arange(len(rays))
    weights = torch.stack([1 - v[row, face] - w[row, face], v[row, face], w[row, face]], -1)[..., None]
    corners = faces[face]
    uv = (torch.from_numpy(solid.uv).double()[corners] * weights).sum(1)
    normal = (torch.from_numpy(solid.normals).double()[corners] * weights).sum(1)
    normal = normal / normal.norm(dim=-1, keepdim=True)
    light = light_direction(CAMERAS.camera_to_world).double().repeat_interleave(20 * 20, 0)
    height, width = texture.shape[:2]
    x, y = uv[:, 0] * width - 0.5, (1 - uv[:, 1]) * height - 0.5
    i, j = y.floor().long(), x.floor().long()
    color = torch.zeros(len(rays), 3, dtype=torch.float64)
    for di in (0, 1):
        for dj in (0, 1):
            fraction = (1 - (y - i - di).abs()) * (1 - (x - j - dj).abs())
            texel = texture[(i + di).clamp(0, height - 1), (j + dj).clamp(0, width - 1)]
            color = color + fraction[:, None] * texel
    hit = nearest.isfinite()[:, None]
    return torch.where(hit, color * lambert_shading(normal, light)[:, None], 0.0).reshape(2, 20, 20, 3)


def test_shade_gbuffer_equals_render_mesh(solid):
    theirs = render_mesh(solid, CAMERAS, supersample=3)
    ours, albedo = render_texture(solid, torch.from_numpy(solid.texture) / 255, supersample=3)
    for name in ("rgb", "opacity", "normals"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), atol=2e-4, rtol=0)
    seen = theirs.opacity > 0
    torch.testing.assert_close(ours.depth[seen], theirs.depth[seen], atol=2e-3, rtol=0)
    bare = render_mesh(solid, CAMERAS, supersample=3, shading=False).rgb
    torch.testing.assert_close(albedo, bare, atol=2e-4, rtol=0)


def test_shade_gbuffer_equals_ray_casting(solid):
    texture = (torch.from_numpy(solid.texture) / 255).requires_grad_()
    weight = torch.rand(2, 20, 20, 3, generator=torch.Generator().manual_seed(1))
    ours = render_texture(solid, texture)[0].rgb
    (gradient,) = torch.autograd.grad((weight * ours).sum(), texture)
    double = texture.detach().double().requires_grad_()
    reference = cast(solid, double)
    (expected,) = torch.autograd.grad((weight * reference).sum(), double)
    torch.testing.assert_close(ours.double(), reference, atol=1e-4, rtol=0)
    torch.testing.assert_close(gradient.double(), expected, atol=2e-3, rtol=0)
    assert expected.abs().max() > 1  # there is something to compare


def test_shade_gbuffer_gradient_is_the_difference_quotient(solid):
    texture = torch.from_numpy(solid.texture).float() / 255
    rows = [(0, 0, 0), (4, 3, 1), (6, 5, 2), (2, 6, 0)]

    def energy(values: torch.Tensor) -> torch.Tensor:
        return render_texture(solid, values)[0].rgb.double().square().sum()

    moving = texture.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(energy(moving), moving)
    for row in rows:
        up, down = texture.clone(), texture.clone()
        up[row] += 0.05
        down[row] -= 0.05
        quotient = float(energy(up) - energy(down)) / 0.1
        assert quotient == pytest.approx(float(gradient[row]), abs=2e-3, rel=1e-3)
