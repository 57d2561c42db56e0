"""Reflections of metal and gloss against a Monte Carlo integral, and none where there was none before."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from jaxtyping import Float

from dreamfusion3d.cameras.orbit import orbit_cameras
from dreamfusion3d.core.types import TexturedMesh
from dreamfusion3d.mesh.isosurface import marching_cubes, sample_grid
from dreamfusion3d.mesh.tangents import vertex_normals
from dreamfusion3d.rendering import mesh_renderer
from dreamfusion3d.rendering.mesh_renderer import environment_brdf, environment_radiance, render_mesh

LIGHT = np.array([0.35, 0.55, 0.76]) / np.linalg.norm([0.35, 0.55, 0.76])
CAMERAS = orbit_cameras([0.0], 0.0, height=64, width=64)
DIRECTIONS = [(0, 1, 0), (0, -1, 0), (1, 0, 0), (0, 0.3, -1), (1, -0.3, 0), (0.35, 0.55, 0.76), (0.2, 0.8, 0.5)]


@pytest.fixture(scope="module")
def ball() -> TexturedMesh:
    """A gray sphere of 0.6."""
    mesh = marching_cubes(sample_grid(lambda p: 0.6 - np.linalg.norm(p, axis=1), 32), 0.0)
    texture, uv = np.full((4, 4, 3), 150, np.uint8), np.full((len(mesh.vertices), 2), 0.5, np.float32)
    return TexturedMesh(mesh.vertices.astype(np.float32), mesh.faces, vertex_normals(mesh), uv, texture)


def with_material(ball: TexturedMesh, roughness: float, metallic: float) -> TexturedMesh:
    texel = np.round([255 * roughness, 255 * metallic]).astype(np.uint8)
    return replace(ball, metallic_roughness=np.broadcast_to(texel, (4, 4, 2)))


def environment(directions: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
    """The environment that the prefiltered one is an average of."""
    sky, ground, y = mesh_renderer.SKY, mesh_renderer.GROUND, directions[:, 1]
    step = y / np.sqrt(mesh_renderer.HORIZON_WIDTH**2 + y * y)
    softbox = np.exp(mesh_renderer.SOFTBOX_SHARPNESS * (directions @ LIGHT - 1))
    return (sky + ground + (sky - ground) * step) / 2 + mesh_renderer.SOFTBOX * softbox


def ggx_half_vectors(roughness: float, count: int, rng: np.random.Generator) -> Float[np.ndarray, "n 3"]:
    """Half vectors around +z (Walter et al. 2007, equation 35)."""
    u, angle = rng.random(count), 2 * np.pi * rng.random(count)
    cosine = np.sqrt((1 - u) / (1 + (roughness**4 - 1) * u))
    sine = np.sqrt(1 - cosine**2)
    return np.stack([sine * np.cos(angle), sine * np.sin(angle), cosine], 1)


@pytest.mark.parametrize("roughness", [0.1, 0.3, 0.5, 0.75, 1.0])
def test_environment_radiance_is_the_mean_over_the_lobe(roughness: float) -> None:
    half = ggx_half_vectors(roughness, 20000, np.random.default_rng(0))
    for direction in DIRECTIONS:
        z = np.array(direction) / np.linalg.norm(direction)
        x = np.cross(z, (0, 0, 1) if abs(z[0]) > 0.9 else (1, 0, 0))
        x /= np.linalg.norm(x)
        h = half @ np.stack([x, np.cross(z, x), z])
        reflected = 2 * (h @ z)[:, None] * h - z
        weight = np.maximum(reflected @ z, 0)
        expected = (environment(reflected) * weight).sum() / weight.sum()
        assert environment_radiance(*z, LIGHT, roughness) == pytest.approx(expected, rel=0.2)


@pytest.mark.parametrize("roughness", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("cosine", [0.3, 0.7, 1.0])
def test_environment_brdf_is_the_reflectance_under_a_white_sky(roughness: float, cosine: float) -> None:
    """Fresnel (Schlick 1994) and Smith's shadowing, integrated over half vectors (Karis 2013)."""
    h = ggx_half_vectors(roughness, 20000, np.random.default_rng(1))
    view = np.array([np.sqrt(1 - cosine**2), 0, cosine])
    vh = np.maximum(h @ view, 0)
    light_cosine = 2 * vh * h[:, 2] - cosine
    k = roughness**2 / 2
    shadow = cosine / (cosine * (1 - k) + k) * light_cosine / (light_cosine * (1 - k) + k)
    visible = np.where(light_cosine > 0, shadow * vh / (h[:, 2] * cosine), 0)
    fresnel = (1 - vh) ** 5
    expected = (((1 - fresnel) * visible).mean(), (fresnel * visible).mean())
    assert environment_brdf(roughness, cosine) == pytest.approx(expected, abs=0.19)


def test_the_default_material_renders_as_before(ball: TexturedMesh) -> None:
    before = render_mesh(ball, CAMERAS)
    matte = render_mesh(with_material(ball, 0.8, 0.0), CAMERAS)
    assert torch.equal(before.rgb, matte.rgb) and torch.equal(before.normals, matte.normals)
    metal = with_material(ball, 0.2, 1.0)
    assert not torch.equal(before.rgb, render_mesh(metal, CAMERAS).rgb)
    black = render_mesh(replace(with_material(ball, 1.0, 1.0), texture=0 * ball.texture), CAMERAS)
    assert black.rgb.isfinite().all() and black.rgb.max() < 0.1
    bare = render_mesh(ball, CAMERAS, shading=False)
    assert torch.equal(bare.rgb, render_mesh(metal, CAMERAS, shading=False).rgb)


def test_metal_reflects_the_sky_and_roughness_blurs_it(ball: TexturedMesh) -> None:
    polished, rough = (render_mesh(with_material(ball, r, 1.0), CAMERAS).rgb[0, ..., 0] for r in (0.15, 0.7))
    column = slice(20, 24)  # left of the softbox
    assert polished[18:24, column].mean() > 1.5 * polished[42:48, column].mean(), "the sky is brighter"
    middle = polished[26:40, column].mean(1), rough[26:40, column].mean(1)
    assert middle[0].diff().abs().max() > 1.5 * middle[1].diff().abs().max(), "the horizon is blurred"
    assert polished.max() > 1.2 * rough.max(), "the softbox is blurred"


def test_a_pixel_is_the_split_sum(ball: TexturedMesh) -> None:
    """One subpixel per pixel: normal, view and reflection by hand."""
    for roughness, metallic in ((0.2, 1.0), (0.4, 0.0)):
        textured = with_material(ball, roughness, metallic)
        cameras = orbit_cameras([40.0], 20.0, height=24, width=24)
        image, matte = (render_mesh(mesh, cameras, supersample=1) for mesh in (textured, ball))
        light = mesh_renderer.light_direction(cameras.camera_to_world)[0].double().numpy()
        _, rays = cameras.rays()
        assert image.normals is not None
        stored, base = (np.asarray(textured.metallic_roughness)[0, 0, 0] / 255, 150 / 255)
        for row, col in ((12, 12), (9, 15), (15, 8)):
            n, v = image.normals[0, row, col].double().numpy(), -rays[0, row, col].double().numpy()
            scale, offset = environment_brdf(stored, n @ v)
            radiance = environment_radiance(*(2 * (n @ v) * n - v), light, stored)
            reflectance = base**2 if metallic else 0.04
            diffuse = (1 - metallic) * float(matte.rgb[0, row, col, 0]) ** 2
            expected = np.sqrt(diffuse + radiance * (reflectance * scale + offset))
            assert float(image.rgb[0, row, col, 0]) == pytest.approx(min(expected, 1), abs=2e-3)
