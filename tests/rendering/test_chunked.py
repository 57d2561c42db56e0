"""Chunked rendering: the bits of the unchunked renderer, for both kinds of cameras."""

from __future__ import annotations

import pytest
import torch

from dreamfusion3d.cameras.orbit import OrbitCameras, orbit_cameras
from dreamfusion3d.cameras.pinhole import PinholeCameras
from dreamfusion3d.cameras.protocol import RayCameras
from dreamfusion3d.core.config import FieldConfig
from dreamfusion3d.fields.nerf import NerfField
from dreamfusion3d.rendering.chunked import render_field_chunked
from dreamfusion3d.rendering.occupancy_grid import OccupancyGrid
from dreamfusion3d.rendering.volume import Rays, RenderSettings, render_field, render_field_with_aux, render_rays

ORBIT = orbit_cameras([30.0, 200.0, 310.0], 20.0, height=12, width=10)
PINHOLE = PinholeCameras.from_orbit(ORBIT)
RAYS_PER_CAMERA = 12 * 10


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="module")
def field() -> NerfField:
    field = NerfField(FieldConfig(num_levels=4, log2_table_size=10, max_resolution=32), generator=generator())
    with torch.no_grad():
        field.table.normal_(0, 0.5, generator=generator())
    return field


@pytest.fixture(scope="module")
def occupancy(field: NerfField) -> OccupancyGrid:
    return OccupancyGrid.from_field(field.density, 16, generator())


@pytest.mark.parametrize("cameras", [ORBIT, PINHOLE])
@pytest.mark.parametrize("shading", ["lambert", "albedo", "textureless"])
def test_render_field_chunked_equals_render_field(cameras: RayCameras, shading, field, occupancy):
    settings = RenderSettings(step_size=0.04, shading=shading, max_shaded_per_ray=100.0)
    render, aux = render_field_with_aux(field, cameras, occupancy=occupancy, generator=generator(), settings=settings)
    drawn = generator()
    chunked, albedo = render_field_chunked(
        field, cameras, occupancy=occupancy, generator=drawn, settings=settings, rays_per_chunk=100
    )
    for name in ("rgb", "opacity", "depth", "normals"):
        a, b = getattr(render, name), getattr(chunked, name)
        assert (a is None and b is None) or torch.allclose(a, b, atol=1e-5), name
    assert torch.allclose(aux.albedo, albedo, atol=1e-5)
    expected = generator()
    torch.rand(3 * RAYS_PER_CAMERA, generator=expected)
    assert torch.equal(drawn.get_state(), expected.get_state()), "one jitter per ray"


def test_render_field_chunked_by_camera_equals_render_field_of_each_camera(field, occupancy):
    """Silhouettes: one chunk per camera gives the bits of rendering the cameras in turn."""
    settings, drawn = RenderSettings(step_size=0.04, shading="albedo"), generator()
    chunked, _ = render_field_chunked(
        field, ORBIT, occupancy=occupancy, generator=generator(), settings=settings, rays_per_chunk=RAYS_PER_CAMERA
    )
    for i in range(len(ORBIT)):
        camera = ORBIT.select(torch.tensor([i]))
        with torch.no_grad():
            render = render_field(field, camera, occupancy=occupancy, generator=drawn, settings=settings)
        assert torch.equal(render.opacity[0], chunked.opacity[i]) and torch.equal(render.rgb[0], chunked.rgb[i])


def test_render_rays_equals_render_field_chunked(field, occupancy):
    """Photos: the pixels of a training step have the bits of the evaluated images."""
    settings, drawn = RenderSettings(step_size=0.04, shading="albedo"), generator()
    chunked, _ = render_field_chunked(
        field, PINHOLE, occupancy=occupancy, generator=generator(), settings=settings, rays_per_chunk=100
    )
    parts = []
    for pixels in torch.arange(3 * RAYS_PER_CAMERA).split(100):
        rays = Rays.from_cameras(PINHOLE, pixels)
        parts.append(render_rays(field, rays, occupancy=occupancy, generator=drawn, settings=settings))
    assert torch.equal(torch.cat([part.rgb for part in parts]), chunked.rgb.reshape(-1, 3))
    assert torch.equal(torch.cat([part.opacity for part in parts]), chunked.opacity.flatten())


@pytest.mark.parametrize("cameras", [ORBIT, PINHOLE])
def test_rays_through_has_the_bits_of_rays(cameras: OrbitCameras | PinholeCameras):
    pixels = torch.randint(3 * RAYS_PER_CAMERA, (50,), generator=generator())
    for whole, part in zip(cameras.rays(), cameras.rays_through(pixels), strict=True):
        assert torch.equal(whole.reshape(-1, 3)[pixels], part)


def test_intrinsics_of_both_cameras_agree():
    assert torch.equal(ORBIT.intrinsics, PINHOLE.intrinsics)
    assert torch.equal(ORBIT.resized(24, 20).intrinsics, PINHOLE.resized(24, 20).intrinsics)


def test_lights_follow_the_pixels_camera():
    every = Rays.from_cameras(ORBIT)
    pixels = torch.tensor([0, 125, 359, 240])
    assert torch.equal(Rays.from_cameras(ORBIT, pixels).light_directions, every.light_directions[pixels])
    assert len(every) == 360 and torch.equal(every[120:240].light_directions[0], every.light_directions[239])
