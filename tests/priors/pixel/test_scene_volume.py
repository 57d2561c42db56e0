"""The scene volume of a prompt: its renders, palette and resampling."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from dreamfusion3d.cameras.orbit import orbit_cameras
from dreamfusion3d.core.shading import MEAN_SHADING, light_direction
from dreamfusion3d.priors.pixel.scene_volume import (
    OCCUPANCY_EXTENT,
    OCCUPANCY_RESOLUTION,
    PALETTE_SIZE,
    SAMPLES_PER_RAY,
    SCENE_IMAGE_CHANNELS,
    VOLUME_CHANNELS,
    SceneVolume,
    _ray_weights,
    render_scene_volume,
    sample_initial_volume,
    sample_jitter,
)

EMPTY, FULL = -20.0, 20.0


def volume(x=slice(None), y=slice(None), z=slice(None), normal=(0.0, 0.0, 0.0), fractions=(1.0, 0, 0, 0, 0)):
    """An empty volume with an opaque block of the given palette fractions."""
    cells = torch.full((1, VOLUME_CHANNELS, OCCUPANCY_RESOLUTION, OCCUPANCY_RESOLUTION, OCCUPANCY_RESOLUTION), 0.0)
    cells[:, 0] = EMPTY
    cells[:, 0, z, y, x] = FULL
    cells[:, 1:6] = torch.tensor(fractions)[:, None, None, None]
    cells[:, 6:] = torch.tensor(normal)[:, None, None, None]
    return cells


def opacity(images):
    return (images[:, PALETTE_SIZE] + 1) / 2


MIDDLE = slice(13, 19)


@pytest.mark.parametrize(("azimuth", "expected"), [(0.0, 1), (90.0, 0), (180.0, -1), (270.0, 0)])
def test_render_scene_volume_places_plus_x_on_the_right_of_the_front_view(azimuth, expected):
    images = render_scene_volume(volume(x=slice(26, 31), y=MIDDLE, z=MIDDLE), orbit_cameras([azimuth], 0.0), 32, 32)
    alpha = opacity(images)[0]
    assert float(alpha.max()) > 0.95
    center = float((alpha.sum(0) * (torch.arange(32) - 15.5)).sum() / alpha.sum())
    assert center == pytest.approx(12.5 * expected, abs=2.0)


def test_render_scene_volume_up_axis_and_occlusion():
    high = opacity(render_scene_volume(volume(x=MIDDLE, y=slice(26, 31), z=MIDDLE), orbit_cameras([0.0], 0.0), 32, 32))[
        0
    ]
    assert high[:16].sum() > 100 * high[16:].sum()
    both = volume(x=MIDDLE, y=MIDDLE, z=slice(25, 30)) + 0
    both[:, 0, 2:7, MIDDLE, MIDDLE] = FULL
    both[:, 1:4, 16:] = torch.tensor([1.0, 0.0, 0.0])[:, None, None, None]  # the first color in front (+Z)
    both[:, 1:4, :16] = torch.tensor([0.0, 0.0, 1.0])[:, None, None, None]
    front, back = (
        s[:3, 15:17, 15:17]
        for s in render_scene_volume(both.expand(2, -1, -1, -1, -1), orbit_cameras([0.0, 180.0], 0.0), 32, 32)
    )
    assert front[0].min() > 0.7 and front[2].max() < 0.05
    assert back[2].min() > 0.7 and back[0].max() < 0.05


def test_render_scene_volume_of_an_empty_and_a_full_volume():
    assert opacity(render_scene_volume(volume(x=slice(0, 0)), orbit_cameras([30.0], 20.0), 16, 16)).max() < 1e-3
    whole = opacity(render_scene_volume(volume(), orbit_cameras([0.0], 0.0, fov_deg=60.0), 64, 64))[0]
    assert whole[32, 32] > 0.99 and whole[0].max() < 1e-3


def test_render_scene_volume_light_and_normals_follow_the_camera():
    towards_x = volume(x=MIDDLE, y=MIDDLE, z=MIDDLE, normal=(0.2, 0.0, 0.0))
    cameras = orbit_cameras([0.0, 90.0, 180.0, 270.0], 0.0)
    images = render_scene_volume(towards_x.expand(4, -1, -1, -1, -1), cameras, 32, 32)[:, :, 15:17, 15:17].mean((2, 3))
    light = light_direction(cameras.camera_to_world)
    expected_shading = MEAN_SHADING + 0.2 * light[:, 0]
    torch.testing.assert_close(images[:, 0], expected_shading, atol=2e-3, rtol=0)
    assert images[:, 1:PALETTE_SIZE].abs().max() == 0, "colors without a fraction have no shading"
    expected = torch.tensor([[1.0, 0, 0], [0, 0, 1.0], [-1.0, 0, 0], [0, 0, -1.0]])
    torch.testing.assert_close(images[:, 6:9], 2 * 0.2 * expected, atol=1e-3, rtol=0)


def test_render_scene_volume_equals_a_ray_marched_by_hand():
    """Accumulate the samples of one ray one after the other."""
    generator = torch.Generator().manual_seed(0)
    cells = (
        torch.randn(
            1, VOLUME_CHANNELS, OCCUPANCY_RESOLUTION, OCCUPANCY_RESOLUTION, OCCUPANCY_RESOLUTION, generator=generator
        )
        * 3
    )
    camera = orbit_cameras([40.0], 25.0, height=8, width=8)
    images = render_scene_volume(cells, camera, 8, 8)[0, :, 4, 3]
    origins, directions = camera.rays()
    origin, direction = origins[0, 4, 3], directions[0, 4, 3]
    light = light_direction(camera.camera_to_world)[0]
    length = 2.2 * OCCUPANCY_EXTENT
    transmittance, shading, normal, depth_sum = 1.0, torch.zeros(PALETTE_SIZE), torch.zeros(3), 0.0
    for i in range(SAMPLES_PER_RAY):
        depth = 2.9 + ((i + 0.5) / SAMPLES_PER_RAY - 0.5) * length
        point = origin + depth * direction
        if (point.abs() >= OCCUPANCY_EXTENT).any():
            continue
        cell = F.grid_sample(cells, (point / OCCUPANCY_EXTENT).view(1, 1, 1, 1, 3), align_corners=False).flatten()
        optical_depth = 40.0 * math.log1p(math.exp(float(cell[0]) - 4.0)) * length / SAMPLES_PER_RAY
        weight = transmittance * (1 - math.exp(-optical_depth))
        transmittance *= math.exp(-optical_depth)
        shading += weight * cell[1:6] * (MEAN_SHADING + float(cell[6:] @ light))
        normal += weight * cell[6:]
        depth_sum += weight * (2.9 - depth)
    expected = torch.cat(
        [
            shading,
            torch.tensor([1 - 2 * transmittance]),
            2 * normal @ camera.camera_to_world[0, :3, :3],
            torch.tensor([depth_sum]),
        ]
    )
    torch.testing.assert_close(images, expected, atol=1e-4, rtol=1e-4)


def test_ray_weights_sum_to_the_opacity():
    optical_depth = torch.rand(2, 9, 3, 3, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(_ray_weights(optical_depth).sum(1), 1 - torch.exp(-optical_depth.sum(1)))


def test_render_scene_volume_with_jitter_changes_little():
    cells, camera = volume(x=MIDDLE, y=MIDDLE, z=MIDDLE), orbit_cameras([10.0], 0.0)
    regular = render_scene_volume(cells, camera, 32, 32)
    generator = torch.Generator().manual_seed(4)
    jitter = sample_jitter(1, 32, 32, generator=generator, device=torch.device("cpu"))
    jittered = render_scene_volume(cells, camera, 32, 32, jitter=jitter)
    assert not torch.equal(jittered, regular)
    assert float((jittered - regular)[:, : PALETTE_SIZE + 1].abs().mean()) < 0.05


def test_scene_volume_shapes_and_save(tmp_path):
    torch.manual_seed(0)
    scene = SceneVolume(24, (16, 8, 8)).requires_grad_(False)
    volumes = scene(torch.randn(2, 24))
    assert volumes.shape == (2, VOLUME_CHANNELS, OCCUPANCY_RESOLUTION, OCCUPANCY_RESOLUTION, OCCUPANCY_RESOLUTION)
    assert torch.equal(scene.unflatten_volumes(volumes.flatten(1)), volumes)
    assert render_scene_volume(volumes, orbit_cameras([0.0, 90.0], 10.0), 8, 8).shape == (2, SCENE_IMAGE_CHANNELS, 8, 8)
    scene.save(tmp_path / "scene")
    again = SceneVolume.load(tmp_path / "scene").requires_grad_(False)
    text = torch.full((1, 24), 0.5)
    torch.testing.assert_close(again(text), scene(text), atol=5e-3, rtol=5e-3)
    torch.testing.assert_close(again.colors(text), scene.colors(text), atol=5e-3, rtol=5e-3)


def test_scene_volume_color_fractions_sum_to_one():
    torch.manual_seed(0)
    scene = SceneVolume(24, (16, 8, 8)).requires_grad_(False)
    fractions = scene(3 * torch.randn(2, 24))[:, 1 : 1 + PALETTE_SIZE]
    assert fractions.min() >= 0
    torch.testing.assert_close(fractions.sum(1), torch.ones_like(fractions[:, 0]))
    colors = scene.colors(10 * torch.randn(2, 24))
    assert colors.shape == (2, PALETTE_SIZE, 3) and colors.min() >= 0 and colors.max() <= 1


def test_scene_volume_maps_change_color_fractions_only():
    """A voxel of a map affects the same voxel of every prompt, and only its color fractions."""
    torch.manual_seed(0)
    scene = SceneVolume(24, (16, 8, 8)).requires_grad_(False)
    shape = torch.randn(2, 24)
    before = scene(shape)
    scene.maps[3, 5, 6, 7] += 4.0
    changed = (scene(shape) - before).abs() > 1e-6
    expected = torch.zeros_like(changed)
    expected[:, 1 : 1 + PALETTE_SIZE, 5, 6, 7] = True
    assert torch.equal(changed, expected)


def test_sample_initial_volume_is_in_world_axes():
    cells = volume(x=slice(24, 30), y=slice(10, 16), z=MIDDLE, fractions=(0.25, 0.75, 0, 0, 0))
    colors = torch.rand(PALETTE_SIZE, 3, generator=torch.Generator().manual_seed(0))
    initial = sample_initial_volume(cells[0], colors, 65)
    density, color = initial.density, initial.color
    assert initial.material is None
    axis = torch.linspace(-1, 1, 65)
    inside = torch.nonzero(density > 100)
    low, high = (axis[inside.amin(0)], axis[inside.amax(0)])
    voxel = 2 * OCCUPANCY_EXTENT / OCCUPANCY_RESOLUTION
    torch.testing.assert_close(low, torch.tensor([24, 10, 13]) * voxel - OCCUPANCY_EXTENT, atol=voxel, rtol=0)
    torch.testing.assert_close(high, torch.tensor([30, 16, 19]) * voxel - OCCUPANCY_EXTENT, atol=voxel, rtol=0)
    assert density[0, 0, 0] == 0 and density[32, 32, 0] == 0, "empty outside the cube"
    torch.testing.assert_close(color[tuple(inside[0])], 0.25 * colors[0] + 0.75 * colors[1])


def test_sample_initial_volume_takes_the_material_of_the_largest_fraction():
    cells = volume(x=slice(0, 32), fractions=(0.55, 0.45, 0, 0, 0))
    cells[:, 1, :, 16:], cells[:, 2, :, 16:] = 0.45, 0.55  # the upper half
    surfaces = torch.tensor([[0.3, 1.0], [0.7, 0.0], *[[0.5, 0.0]] * 3])
    material = sample_initial_volume(cells[0], torch.zeros(PALETTE_SIZE, 3), 33, surfaces).material
    torch.testing.assert_close(material[8, 12, 8], surfaces[0])
    torch.testing.assert_close(material[8, 20, 8], surfaces[1])
    assert set(material[..., 1].unique().tolist()) == {0.0, 1.0}, "nothing is half a metal"
