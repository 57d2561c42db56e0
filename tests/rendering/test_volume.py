"""Volume rendering: physics of a ball, consistent outputs, and a field that learns a torus."""

from __future__ import annotations

import math

import pytest
import torch

from dreamfusion3d.cameras.orbit import orbit_cameras, turntable_cameras
from dreamfusion3d.fields.nerf import FieldConfig, NerfField
from dreamfusion3d.rendering.occupancy_grid import OccupancyGrid
from dreamfusion3d.rendering.volume import RenderSettings, density_normals, render_field, render_field_with_aux
from tests.support.reference import render_torus

FULL = torch.ones(8, 8, 8, dtype=torch.bool)


class Ball:
    """Constant density inside a radius; implements `Field` only."""

    def __init__(self, density, radius=0.5):
        self.sigma, self.radius = density, radius

    def density(self, x):
        return self.sigma * (x.norm(dim=-1) < self.radius)

    def albedo(self, x):
        return torch.tensor([0.5, 0.25, 1.0]).expand(len(x), 3)


class SoftBall(Ball):
    """A ball with a smooth density, so that it has normals."""

    def density(self, x):
        return self.sigma * torch.sigmoid((self.radius - x.norm(dim=-1)) * 30)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 4.0])
def test_render_field_obeys_beer_lambert(sigma):
    # the middle pixel of an odd image looks through the center: a chord of two radii
    camera = orbit_cameras([30.0], 20.0, height=9, width=9)
    settings = RenderSettings(step_size=0.01, shading="albedo")
    image = render_field(Ball(sigma), camera, occupancy=FULL, generator=generator(), settings=settings)
    assert image.opacity[0, 4, 4].item() == pytest.approx(1 - math.exp(-sigma), abs=sigma * 0.011)
    assert image.opacity[0, 0, 0] == 0 and image.depth[0, 0, 0] == 0
    torch.testing.assert_close(
        image.rgb, image.opacity[..., None] * torch.tensor([0.5, 0.25, 1.0]), rtol=1e-4, atol=1e-6
    )
    assert image.normals is None


def test_render_field_depth_and_normals_of_a_ball():
    camera = orbit_cameras([40.0], 10.0, height=9, width=9)
    settings = RenderSettings(step_size=0.01)
    image = render_field(SoftBall(500.0), camera, occupancy=FULL, generator=generator(), settings=settings)
    # the density is already high just in front of the surface
    assert image.depth[0, 4, 4].item() == pytest.approx(2.9 - 0.5, abs=0.15)
    normal = image.normals[0, 4, 4] / image.opacity[0, 4, 4]
    towards_camera = camera.camera_to_world[0, :3, 2]
    assert (normal @ towards_camera).item() == pytest.approx(1, abs=0.05)


def test_density_normals_of_a_ball_point_outwards():
    x = torch.nn.functional.normalize(torch.randn(50, 3, generator=generator()), dim=-1) * 0.5
    normals = density_normals(SoftBall(30.0), x, 1 / 48)
    assert ((normals * x * 2).sum(-1) > 0.99).all()
    flat = density_normals(Ball(1.0), torch.zeros(1, 3), 1 / 48)
    assert torch.equal(flat, torch.zeros(1, 3))


@pytest.mark.parametrize("shading", ["lambert", "albedo", "textureless"])
def test_render_field_color_stays_below_opacity(shading):
    field = NerfField(FieldConfig(), generator=generator())
    camera = orbit_cameras([0.0, 120.0], 15.0, height=16, width=16)
    image, aux = render_field_with_aux(
        field, camera, occupancy=FULL, generator=generator(), settings=RenderSettings(shading=shading)
    )
    assert (image.rgb <= image.opacity[..., None] + 1e-5).all() and (image.rgb >= 0).all()
    assert (image.opacity <= 1 + 1e-5).all()
    summed = torch.zeros(512).index_add(0, aux.samples.ray_indices, aux.weights)
    torch.testing.assert_close(summed.view(2, 16, 16), image.opacity)
    if shading != "albedo":
        assert (image.normals.norm(dim=-1) <= image.opacity + 1e-5).all()


def test_render_field_gradients_are_finite():
    field = NerfField(FieldConfig(), generator=generator())
    camera = orbit_cameras([0.0], 15.0, height=16, width=16)
    image, aux = render_field_with_aux(field, camera, occupancy=FULL, generator=generator())
    loss = image.rgb.square().sum() + image.depth.sum() + aux.orientation_loss()
    (loss + image.normals.square().sum()).backward()
    for name, parameter in field.named_parameters():
        assert torch.isfinite(parameter.grad).all() and parameter.grad.abs().sum() > 0, name


def test_orientation_loss_penalizes_normals_that_face_away():
    camera = orbit_cameras([0.0], 0.0, height=16, width=16)

    class InsideOut(SoftBall):
        def density(self, x):
            return self.sigma * torch.sigmoid((x.norm(dim=-1) - self.radius) * 30)

    _, outside = render_field_with_aux(SoftBall(60.0), camera, occupancy=FULL, generator=generator())
    _, inside = render_field_with_aux(InsideOut(0.5), camera, occupancy=FULL, generator=generator())
    assert outside.orientation_loss() < 0.02 * outside.weights.sum() / 256
    assert inside.orientation_loss() > outside.orientation_loss()


def test_max_shaded_per_ray():
    settings = RenderSettings(max_shaded_per_ray=0.5)
    camera = orbit_cameras([0.0], 0.0, height=16, width=16)
    _, aux = render_field_with_aux(SoftBall(8.0), camera, occupancy=FULL, generator=generator(), settings=settings)
    assert len(aux.shaded) == 128
    unshaded = torch.ones(len(aux.weights), dtype=torch.bool)
    unshaded[aux.shaded] = False
    assert aux.weights[aux.shaded].min() >= aux.weights[unshaded].max()


def test_render_field_with_empty_occupancy():
    field = NerfField(FieldConfig(), generator=generator())
    camera = orbit_cameras([0.0], 0.0, height=8, width=8)
    image, aux = render_field_with_aux(
        field, camera, occupancy=torch.zeros(8, 8, 8, dtype=torch.bool), generator=generator()
    )
    for value in (image.rgb, image.opacity, image.depth, image.normals):
        assert (value == 0).all()
    (image.rgb.sum() + image.opacity.sum() + aux.orientation_loss()).backward()


def test_render_field_is_reproducible():
    state = torch.random.get_rng_state()
    results = []
    for _ in range(2):
        field = NerfField(FieldConfig(), generator=generator(7))
        occupancy, rng = OccupancyGrid(16), generator(8)
        occupancy.update(field.density, generator=rng, step=0)
        image = render_field(field, orbit_cameras([10.0], 5.0, height=16, width=16), occupancy=occupancy, generator=rng)
        image.rgb.square().sum().backward()
        results.append((image.rgb.detach(), image.depth.detach(), field.table.grad))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    assert torch.equal(torch.random.get_rng_state(), state)


def fit_torus(steps, seed=0):
    """Fit a field to 24 images; return it and its occupancy grid."""
    rng = generator(seed)
    cameras = [orbit_cameras([15.0 * i], [(-10.0, 20.0, 50.0)[i % 3]], height=64, width=64) for i in range(24)]
    images = [render_torus(camera) for camera in cameras]
    field, occupancy = NerfField(FieldConfig(), generator=rng), OccupancyGrid(48)
    optimizer = torch.optim.Adam(
        [
            {"params": [field.table], "lr": 2e-2},
            {"params": [p for name, p in field.named_parameters() if name != "table"], "lr": 5e-3},
        ],
        betas=(0.9, 0.99),
        eps=1e-15,
    )
    order = torch.randperm(24, generator=rng).tolist()
    for step in range(steps):
        if step % 8 == 0:
            occupancy.update(field.density, generator=rng, step=step)
        field.set_sharpness(2 + 6 * step / steps)
        rgb, opacity = images[order[step % 24]]
        image = render_field(
            field,
            cameras[order[step % 24]],
            occupancy=occupancy,
            generator=rng,
            settings=RenderSettings(max_shaded_per_ray=2.0),
        )
        loss = (image.rgb - rgb).square().mean() + 0.5 * (image.opacity - opacity).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return field, occupancy


@pytest.fixture
def one_thread():
    """One torch thread: on a busy machine, threads that wait for each other cost more than they save."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_nerf_field_learns_a_torus(one_thread):
    field, occupancy = fit_torus(steps=80)
    unseen = turntable_cameras(4, elevation_deg=30.0, size=64)
    rgb, opacity = render_torus(unseen)
    with torch.no_grad():
        image = render_field(field, unseen, occupancy=occupancy, generator=generator())
    psnr = -10 * torch.log10((image.rgb - rgb).square().mean()).item()
    solid, mask = image.opacity > 0.5, opacity > 0.5
    iou = ((solid & mask).sum() / (solid | mask).sum()).item()
    assert psnr > 25 and iou > 0.95, f"PSNR {psnr:.1f} dB, IoU {iou:.3f}"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_render_field_on_gpu_equals_cpu():
    camera = orbit_cameras([10.0], 5.0, height=16, width=16)
    field = NerfField(FieldConfig(), generator=generator())
    results = []
    for device in ("cpu", "cuda"):
        # the generator stays on the CPU, so that both march with the same jitter
        field = field.to(device)
        field.zero_grad()
        image = render_field(field, camera.to(device), occupancy=FULL.to(device), generator=generator())
        image.rgb.square().sum().backward()
        # a copy: moving the field moves its gradients in place
        results.append((image.rgb.detach().cpu(), field.hidden_weight.grad.cpu().clone()))
    for cpu, cuda in zip(*results, strict=True):
        torch.testing.assert_close(cuda, cpu, atol=1e-3 * cpu.abs().max().item(), rtol=1e-2)
