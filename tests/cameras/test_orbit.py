"""Orbit cameras: rigid matrices, projection as the inverse of rays, and axis conventions."""

from __future__ import annotations

import pytest
import torch

from dreamfusion3d.cameras.orbit import (
    ORBIT_DISTANCE,
    OrbitCameras,
    orbit_cameras,
    sample_orbit_cameras,
    turntable_cameras,
)
from dreamfusion3d.core.errors import InputError


def random_orbits(height=12, width=20) -> OrbitCameras:
    return sample_orbit_cameras(6, generator=torch.Generator().manual_seed(0), spread=False).resized(height, width)


def test_camera_to_world_is_rigid():
    pose = random_orbits().camera_to_world
    rotation = pose[:, :3, :3]
    identity = torch.eye(3).expand(6, 3, 3)
    torch.testing.assert_close(rotation @ rotation.transpose(1, 2), identity, rtol=0, atol=1e-6)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(6))
    assert torch.equal(pose[:, 3], torch.tensor([0.0, 0, 0, 1]).expand(6, 4))
    torch.testing.assert_close(pose[:, :3, 3].norm(dim=-1), torch.full((6,), ORBIT_DISTANCE))


def test_orbit_project_inverts_rays():
    cameras = random_orbits()
    origins, directions = cameras.rays()
    torch.testing.assert_close(directions.norm(dim=-1), torch.ones(6, 12, 20))
    v, u = torch.meshgrid(torch.arange(12) + 0.5, torch.arange(20) + 0.5, indexing="ij")
    for i in range(6):
        points = (origins[i] + 2.5 * directions[i]).reshape(-1, 3)
        pixel = cameras.project(points)[i]
        torch.testing.assert_close(pixel[:, 0], u.flatten(), rtol=0, atol=2e-4)
        torch.testing.assert_close(pixel[:, 1], v.flatten(), rtol=0, atol=2e-4)
        axis = -cameras.camera_to_world[i, :3, 2]
        torch.testing.assert_close(pixel[:, 2], 2.5 * (directions[i].reshape(-1, 3) @ axis))


def test_project_puts_the_origin_in_the_center():
    pixel = random_orbits().project(torch.zeros(1, 3))
    torch.testing.assert_close(pixel[:, 0], torch.tensor([10.0, 6.0, ORBIT_DISTANCE]).expand(6, 3))


@pytest.mark.parametrize(
    ("azimuth", "elevation", "direction"),
    [
        (0.0, 0.0, (0, 0, 1)),
        (90.0, 0.0, (1, 0, 0)),
        (180.0, 0.0, (0, 0, -1)),
        (270.0, 0.0, (-1, 0, 0)),
        (0.0, 90.0, (0, 1, 0)),
        (0.0, 45.0, (0, 0.5**0.5, 0.5**0.5)),
    ],
)
def test_orbit_cameras_azimuth_and_elevation(azimuth, elevation, direction):
    position = orbit_cameras([azimuth], elevation).camera_to_world[0, :3, 3]
    torch.testing.assert_close(position / ORBIT_DISTANCE, torch.tensor(direction).float(), rtol=0, atol=1e-6)


def test_project_keeps_up_and_right():
    points = torch.tensor([[0.0, 0.5, 0.0], [0.5, 0.0, 0.0]])
    front = orbit_cameras([0.0], 0.0, height=10, width=10).project(points)[0]
    assert front[0, 1] < 5 and front[0, 0] == pytest.approx(5), "+Y is up, and row 0 is the top"
    assert front[1, 0] > 5 and front[1, 1] == pytest.approx(5), "+X is on the right, seen from the front"
    back = orbit_cameras([180.0], 0.0, height=10, width=10).project(points)[0]
    assert back[1, 0] < 5


def test_fov_deg_is_vertical():
    cameras = orbit_cameras([0.0], 0.0, height=8, width=16, fov_deg=60.0, distance=2.0)
    edge = torch.tensor([[0.0, 2 * 3**-0.5, 0.0]])
    assert cameras.project(edge)[0, 0, 1].item() == pytest.approx(0, abs=1e-4)


def test_sample_orbit_cameras_is_uniform_on_the_sphere():
    cameras = sample_orbit_cameras(400, generator=torch.Generator().manual_seed(0), elevation_range_deg=(-10.0, 60.0))
    assert cameras.elevation_deg.min() >= -10.001 and cameras.elevation_deg.max() <= 60.001
    # equal areas of the band: half of the heights lie above the middle height
    height = torch.sin(torch.deg2rad(cameras.elevation_deg))
    assert height.mean().item() == pytest.approx((height.min() + height.max()).item() / 2, abs=0.05)
    assert cameras.azimuth_deg.min() >= 0 and cameras.azimuth_deg.max() < 360
    four = sample_orbit_cameras(4, generator=torch.Generator().manual_seed(5)).azimuth_deg
    gaps = (four.roll(-1) - four) % 360
    torch.testing.assert_close(gaps, torch.full((4,), 90.0), rtol=0, atol=1e-3)


@pytest.mark.parametrize("spread", [True, False])
def test_sample_orbit_cameras_antipodal(spread):
    def draw(count, antipodal):
        generator = torch.Generator().manual_seed(5)
        return sample_orbit_cameras(count, generator=generator, spread=spread, antipodal=antipodal)

    cameras = draw(6, True)
    first, second = cameras.select(torch.arange(3)), cameras.select(torch.arange(3, 6))
    torch.testing.assert_close(first.elevation_deg, second.elevation_deg)
    torch.testing.assert_close((second.azimuth_deg - first.azimuth_deg) % 360, torch.full((3,), 180.0))
    assert len(set(first.elevation_deg.tolist())) == 3
    if spread:
        torch.testing.assert_close(cameras.azimuth_deg, draw(6, False).azimuth_deg)
    with pytest.raises(InputError, match="even"):
        draw(3, True)


def test_select_and_resized_keep_the_rest():
    cameras = random_orbits()
    rows = torch.tensor([3, 0])
    torch.testing.assert_close(cameras.select(rows).camera_to_world, cameras.camera_to_world[rows])
    bigger = cameras.resized(24, 40)
    assert len(bigger) == 6 and (bigger.height, bigger.width) == (24, 40)
    torch.testing.assert_close(bigger.focal, 2 * cameras.focal)
    assert turntable_cameras(4).azimuth_deg.tolist() == [0, 90, 180, 270]
