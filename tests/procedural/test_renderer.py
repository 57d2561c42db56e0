"""Pictures of props: bounds, the outline against a supersampled twin, and the same bytes again."""

from __future__ import annotations

import pytest
import torch

from dreamfusion3d.cameras.orbit import OrbitCameras, orbit_cameras
from dreamfusion3d.core.shading import AMBIENT, DIFFUSE
from dreamfusion3d.procedural.categories import CATEGORIES
from dreamfusion3d.procedural.objects import ObjectBatch, sample_objects
from dreamfusion3d.procedural.renderer import NUM_SHADING_LAYERS, render_objects


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def hit_share(props: ObjectBatch, camera: OrbitCameras, times: int, step: float = 0.02) -> torch.Tensor:
    """Share (h, w) of ``times`` x ``times`` rays a pixel that meet instance 0: small equal steps."""
    fine = camera.resized(camera.height * times, camera.width * times)
    origins, directions = (r.reshape(-1, 3) for r in fine.rays())
    hit = torch.zeros(len(origins), dtype=torch.bool)
    first = torch.zeros(len(origins), dtype=torch.int64)
    for k in range(int(2 / step)):
        points = origins + (1.9 + k * step) * directions
        near = ~hit & (points.norm(dim=-1) < 1)
        hit[near] = props.distance(points[near], first[near]) < 0
    share = hit.float().view(camera.height, times, camera.width, times)
    return share.mean((1, 3))


@pytest.mark.parametrize("kind", CATEGORIES)
def test_bounds_and_border(kind):
    props = sample_objects(kind, max(CATEGORIES[kind].counts), "normal", 3, generator=generator())
    planes = render_objects(props, orbit_cameras([0.0, 90.0, 215.0], [-10.0, 15.0, 60.0], height=32, width=32))
    opacity, light = planes.opacity, planes.shading
    assert opacity.min() >= 0 and opacity.max() == 1
    assert (light >= 0).all()
    total = light.sum(1)
    assert (total <= opacity * (AMBIENT + DIFFUSE) + 1e-6).all()
    assert (total >= opacity * AMBIENT - 1e-6).all(), "what is covered has the ambient light"
    border = torch.cat([opacity[:, 0], opacity[:, -1], opacity[:, :, 0], opacity[:, :, -1]], 1)
    assert border.max() == 0
    assert 0.04 < opacity.mean() < 0.6


# At the size that the prior is taught: a wall thinner than a pixel (of a smaller picture) has no
# surface half a pixel below the true one, so it would be drawn half transparent.
@pytest.mark.parametrize(("kind", "handles"), [("pitcher", 1), ("mug", 2), ("table", 4)])
def test_outline_agrees_with_the_supersampled_twin(kind, handles):
    props = sample_objects(kind, handles, "normal", 1, generator=generator(2))
    camera = orbit_cameras([25.0], 20.0, height=64, width=64)
    opacity = render_objects(props, camera).opacity[0]
    truth = hit_share(props, camera, 2)
    assert opacity.sum().item() == pytest.approx(truth.sum().item(), rel=0.02)
    # the share by nearness is first order: corners and thin parts deviate within their pixel
    assert (opacity - truth).abs().mean() < 0.02
    assert (opacity[truth == 1] > 0.6).all() and (opacity[truth == 0] < 0.5).all()


def test_the_same_generator_gives_the_same_bytes():
    def picture(seed):
        props = sample_objects("mug", 1, "normal", 2, generator=generator(seed))
        return render_objects(props, orbit_cameras([0.0, 120.0], 10.0, height=16, width=16))

    first, again, other = picture(0), picture(0), picture(1)
    assert torch.equal(first.light, again.light) and torch.equal(first.opacity, again.opacity)
    assert not torch.equal(first.opacity, other.opacity)


def test_a_picture_does_not_depend_on_its_neighbours():
    props = sample_objects("stool", 3, "normal", 3, generator=generator())
    cameras = orbit_cameras([0.0, 50.0, 170.0], [0.0, 20.0, 40.0], height=16, width=16)
    together = render_objects(props, cameras)
    row = torch.tensor([1])
    alone = render_objects(props[row], cameras.select(row))
    torch.testing.assert_close(together.shading[1:2], alone.shading)
    torch.testing.assert_close(together.opacity[1:2], alone.opacity)


def test_the_handle_is_seen_on_the_right_from_the_front():
    props = sample_objects("mug", 1, "normal", 1, generator=generator())
    handle = render_objects(props, orbit_cameras([0.0], 0.0, height=24, width=24)).shading[0, 1]
    assert handle[:, 16:].sum() > 10 * handle[:, :8].sum() + 1


def test_paint_is_the_light_times_the_colour():
    props = sample_objects("bottle", 0, "normal", 1, generator=generator())
    planes = render_objects(props, orbit_cameras([0.0], 0.0, height=16, width=16))
    white = planes.colorize(torch.ones(1, NUM_SHADING_LAYERS, 3))
    torch.testing.assert_close(white, planes.shading.sum(1)[..., None].expand_as(white))
    red = torch.zeros(1, NUM_SHADING_LAYERS, 3)
    red[0, 0, 0] = 1
    torch.testing.assert_close(planes.colorize(red)[..., 0], planes.shading[:, 0])
    assert planes.colorize(red)[..., 1:].abs().max() == 0
