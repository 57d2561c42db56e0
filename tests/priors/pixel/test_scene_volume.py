"""The scene of a prompt: a volume is seen as a camera would see it, and learns from pictures."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from dreamfusion3d.cameras.orbit import orbit_cameras
from dreamfusion3d.core.shading import MEAN_SHADING, light_direction
from dreamfusion3d.priors.pixel import scene_volume as scenes
from dreamfusion3d.priors.pixel.scene_volume import (
    OCCUPANCY_EXTENT,
    OCCUPANCY_RESOLUTION,
    PALETTE_SIZE,
    SAMPLES_PER_RAY,
    SCENE_IMAGE_CHANNELS,
    VOLUME_CHANNELS,
    SceneVolume,
    render_scene_volume,
)

EMPTY, FULL = -20.0, 20.0


def volume(x=slice(None), y=slice(None), z=slice(None), normal=(0.0, 0.0, 0.0), shares=(1.0, 0, 0, 0, 0)):
    """One that is empty but for a solid block of cells, all of the given shares of the palette."""
    cells = torch.full((1, VOLUME_CHANNELS, OCCUPANCY_RESOLUTION, OCCUPANCY_RESOLUTION, OCCUPANCY_RESOLUTION), 0.0)
    cells[:, 0] = EMPTY
    cells[:, 0, z, y, x] = FULL
    cells[:, 1:6] = torch.tensor(shares)[:, None, None, None]
    cells[:, 6:] = torch.tensor(normal)[:, None, None, None]
    return cells


def opacity(seen):
    return (seen[:, PALETTE_SIZE] + 1) / 2


MIDDLE = slice(13, 19)


@pytest.mark.parametrize(("azimuth", "expected"), [(0.0, 1), (90.0, 0), (180.0, -1), (270.0, 0)])
def test_a_block_at_plus_x_is_on_the_right_of_the_front_view(azimuth, expected):
    seen = render_scene_volume(volume(x=slice(26, 31), y=MIDDLE, z=MIDDLE), orbit_cameras([azimuth], 0.0), 32, 32)
    share = opacity(seen)[0]
    assert float(share.max()) > 0.95
    centre = float((share.sum(0) * (torch.arange(32) - 15.5)).sum() / share.sum())
    assert centre == pytest.approx(12.5 * expected, abs=2.0)


def test_up_is_up_and_the_nearer_block_hides_the_other():
    high = opacity(render_scene_volume(volume(x=MIDDLE, y=slice(26, 31), z=MIDDLE), orbit_cameras([0.0], 0.0), 32, 32))[
        0
    ]
    assert high[:16].sum() > 100 * high[16:].sum()
    both = volume(x=MIDDLE, y=MIDDLE, z=slice(25, 30)) + 0
    both[:, 0, 2:7, MIDDLE, MIDDLE] = FULL
    both[:, 1:4, 16:] = torch.tensor([1.0, 0.0, 0.0])[:, None, None, None]  # the first colour in front (+Z)
    both[:, 1:4, :16] = torch.tensor([0.0, 0.0, 1.0])[:, None, None, None]
    front, back = (
        s[:3, 15:17, 15:17]
        for s in render_scene_volume(both.expand(2, -1, -1, -1, -1), orbit_cameras([0.0, 180.0], 0.0), 32, 32)
    )
    assert front[0].min() > 0.7 and front[2].max() < 0.05
    assert back[2].min() > 0.7 and back[0].max() < 0.05


def test_an_empty_volume_is_transparent_and_nothing_is_outside_of_it():
    assert opacity(render_scene_volume(volume(x=slice(0, 0)), orbit_cameras([30.0], 20.0), 16, 16)).max() < 1e-3
    whole = opacity(render_scene_volume(volume(), orbit_cameras([0.0], 0.0, fov_deg=60.0), 64, 64))[0]
    assert whole[32, 32] > 0.99 and whole[0].max() < 1e-3


def test_light_comes_from_the_camera_and_normals_are_in_its_frame():
    towards_x = volume(x=MIDDLE, y=MIDDLE, z=MIDDLE, normal=(0.2, 0.0, 0.0))
    cameras = orbit_cameras([0.0, 90.0, 180.0, 270.0], 0.0)
    seen = render_scene_volume(towards_x.expand(4, -1, -1, -1, -1), cameras, 32, 32)[:, :, 15:17, 15:17].mean((2, 3))
    light = light_direction(cameras.camera_to_world)
    lit = MEAN_SHADING + 0.2 * light[:, 0]
    torch.testing.assert_close(seen[:, 0], lit, atol=2e-3, rtol=0)
    assert seen[:, 1:PALETTE_SIZE].abs().max() == 0, "no light of a colour that has no share"
    expected = torch.tensor([[1.0, 0, 0], [0, 0, 1.0], [-1.0, 0, 0], [0, 0, -1.0]])
    torch.testing.assert_close(seen[:, 6:9], 2 * 0.2 * expected, atol=1e-3, rtol=0)


def test_a_picture_equals_a_ray_marched_by_hand():
    """One sample after the other along one ray, as the sums over all of them have it at once."""
    generator = torch.Generator().manual_seed(0)
    cells = (
        torch.randn(
            1, VOLUME_CHANNELS, OCCUPANCY_RESOLUTION, OCCUPANCY_RESOLUTION, OCCUPANCY_RESOLUTION, generator=generator
        )
        * 3
    )
    camera = orbit_cameras([40.0], 25.0, height=8, width=8)
    seen = render_scene_volume(cells, camera, 8, 8)[0, :, 4, 3]
    origins, directions = camera.rays()
    origin, direction = origins[0, 4, 3], directions[0, 4, 3]
    light = light_direction(camera.camera_to_world)[0]
    length = 2.2 * OCCUPANCY_EXTENT
    left, lights, normal, near = 1.0, torch.zeros(PALETTE_SIZE), torch.zeros(3), 0.0
    for i in range(SAMPLES_PER_RAY):
        depth = 2.9 + ((i + 0.5) / SAMPLES_PER_RAY - 0.5) * length
        point = origin + depth * direction
        if (point.abs() >= OCCUPANCY_EXTENT).any():
            continue
        cell = F.grid_sample(cells, (point / OCCUPANCY_EXTENT).view(1, 1, 1, 1, 3), align_corners=False).flatten()
        thick = 40.0 * math.log1p(math.exp(float(cell[0]) - 4.0)) * length / SAMPLES_PER_RAY
        weight = left * (1 - math.exp(-thick))
        left *= math.exp(-thick)
        lights += weight * cell[1:6] * (MEAN_SHADING + float(cell[6:] @ light))
        normal += weight * cell[6:]
        near += weight * (2.9 - depth)
    expected = torch.cat(
        [lights, torch.tensor([1 - 2 * left]), 2 * normal @ camera.camera_to_world[0, :3, :3], torch.tensor([near])]
    )
    torch.testing.assert_close(seen, expected, atol=1e-4, rtol=1e-4)


def test_weights_sum_to_what_does_not_pass():
    optical = torch.rand(2, 9, 3, 3, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(scenes._ray_weights(optical).sum(1), 1 - torch.exp(-optical.sum(1)))


def test_shifted_samples_change_little_and_come_from_the_generator():
    cells, camera = volume(x=MIDDLE, y=MIDDLE, z=MIDDLE), orbit_cameras([10.0], 0.0)
    still = render_scene_volume(cells, camera, 32, 32)
    first, again = (
        render_scene_volume(cells, camera, 32, 32, generator=torch.Generator().manual_seed(4)) for _ in range(2)
    )
    assert torch.equal(first, again) and not torch.equal(first, still)
    assert float((first - still)[:, : PALETTE_SIZE + 1].abs().mean()) < 0.05


def test_a_scene_is_kept_and_has_the_promised_shapes(tmp_path):
    torch.manual_seed(0)
    scene = SceneVolume(24, (16, 8, 8)).requires_grad_(False)
    made = scene(torch.randn(2, 24))
    assert made.shape == (2, VOLUME_CHANNELS, OCCUPANCY_RESOLUTION, OCCUPANCY_RESOLUTION, OCCUPANCY_RESOLUTION)
    assert torch.equal(scene.unflatten_volumes(made.flatten(1)), made)
    assert render_scene_volume(made, orbit_cameras([0.0, 90.0], 10.0), 8, 8).shape == (2, SCENE_IMAGE_CHANNELS, 8, 8)
    scene.save(tmp_path / "scene")
    again = SceneVolume.load(tmp_path / "scene").requires_grad_(False)
    told = torch.full((1, 24), 0.5)
    torch.testing.assert_close(again(told), scene(told), atol=5e-3, rtol=5e-3)
    torch.testing.assert_close(again.colors(told), scene.colors(told), atol=5e-3, rtol=5e-3)


def test_every_cell_is_shared_out_among_the_colours_and_colours_are_colours():
    torch.manual_seed(0)
    scene = SceneVolume(24, (16, 8, 8)).requires_grad_(False)
    shares = scene(3 * torch.randn(2, 24))[:, 1 : 1 + PALETTE_SIZE]
    assert shares.min() >= 0
    torch.testing.assert_close(shares.sum(1), torch.ones_like(shares[:, 0]))
    colours = scene.colors(10 * torch.randn(2, 24))
    assert colours.shape == (2, PALETTE_SIZE, 3) and colours.min() >= 0 and colours.max() <= 1


def test_maps_lie_still_in_the_world_and_tell_of_colours_alone():
    """A map's cell acts on that cell of every prompt, and on nothing but its shares."""
    torch.manual_seed(0)
    scene = SceneVolume(24, (16, 8, 8)).requires_grad_(False)
    shape = torch.randn(2, 24)
    before = scene(shape)
    scene.maps[3, 5, 6, 7] += 4.0
    changed = (scene(shape) - before).abs() > 1e-6
    expected = torch.zeros_like(changed)
    expected[:, 1 : 1 + PALETTE_SIZE, 5, 6, 7] = True
    assert torch.equal(changed, expected)


def test_fog_is_the_volume_in_the_worlds_axes():
    cells = volume(x=slice(24, 30), y=slice(10, 16), z=MIDDLE, shares=(0.25, 0.75, 0, 0, 0))
    colours = torch.rand(PALETTE_SIZE, 3, generator=torch.Generator().manual_seed(0))
    density, colour = scenes.sample_initial_volume(cells[0], colours, 65)
    axis = torch.linspace(-1, 1, 65)
    inside = torch.nonzero(density > 100)
    low, high = (axis[inside.amin(0)], axis[inside.amax(0)])
    cell = 2 * OCCUPANCY_EXTENT / OCCUPANCY_RESOLUTION
    torch.testing.assert_close(low, torch.tensor([24, 10, 13]) * cell - OCCUPANCY_EXTENT, atol=cell, rtol=0)
    torch.testing.assert_close(high, torch.tensor([30, 16, 19]) * cell - OCCUPANCY_EXTENT, atol=cell, rtol=0)
    assert density[0, 0, 0] == 0 and density[32, 32, 0] == 0, "nothing outside of the cube"
    torch.testing.assert_close(colour[tuple(inside[0])], 0.25 * colours[0] + 0.75 * colours[1])
