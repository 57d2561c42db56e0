"""Tiled rendering has the images and the gradients of rendering everything at once."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from dreamfusion3d.cameras.orbit import orbit_cameras
from dreamfusion3d.core.config import FieldConfig
from dreamfusion3d.fields.nerf import NerfField
from dreamfusion3d.rendering.tiled import render_field_tiled
from dreamfusion3d.rendering.volume import RenderSettings, render_field_with_aux

CONFIG = FieldConfig(num_levels=4, log2_table_size=10, max_resolution=32, hidden_dim=16)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def random_field() -> NerfField:
    field = NerfField(CONFIG, generator=generator())
    with torch.no_grad():
        field.table.normal_(0, 0.5, generator=generator())
    return field


def gradient(field: NerfField) -> torch.Tensor:
    found = torch.cat([p.grad.flatten().double() for p in field.parameters() if p.grad is not None])
    field.zero_grad(set_to_none=True)
    return found


def loss_of(image, aux) -> torch.Tensor:
    """A loss of everything that a render and its aux hold."""
    rng = generator()
    total = aux.orientation_loss() + 1e-3 * aux.weights.square().sum() + aux.albedo.pow(3).mean()
    for name in ("rgb", "opacity", "depth", "normals"):
        value = getattr(image, name)
        if value is not None:
            total = total + (value * torch.randn(value.shape, generator=rng)).mean() + value.square().mean()
    return total


@pytest.mark.parametrize("shading", ["lambert", "textureless", "albedo"])
@pytest.mark.parametrize("tiles", [1, 3, 40])
def test_render_field_tiled_equals_render_field_with_aux(tiles, shading):
    field, cameras = random_field(), orbit_cameras([10.0, 130.0], 20.0, height=20, width=20)
    occupancy = torch.ones(8, 8, 8, dtype=torch.bool)
    occupancy[:, 5:, :3] = False
    settings = RenderSettings(step_size=0.05, shading=shading, max_shaded_per_ray=1.5)
    image, aux = render_field_with_aux(field, cameras, occupancy=occupancy, generator=generator(), settings=settings)
    loss_of(image, aux).backward()
    expected = gradient(field)
    drawing = generator()
    tiled = render_field_tiled(field, cameras, occupancy=occupancy, generator=drawing, settings=settings, tiles=tiles)
    assert len(tiled.tiles) == tiles and torch.equal(aux.shaded, tiled.aux.shaded)
    sizes = [tile.samples.stop - tile.samples.start for tile in tiled.tiles]
    assert sum(sizes) == len(aux.weights) and max(sizes) <= min(sizes) + 200, "tiles of similar size"
    for item in dataclasses.fields(image):
        a, b = getattr(image, item.name), getattr(tiled.render, item.name)
        assert (a is None) == (b is None) and (a is None or torch.allclose(a, b, atol=2e-6)), item.name
    loss_of(tiled.render, tiled.aux).backward()
    assert all(p.grad is None for p in field.parameters()), "the render is detached"
    tiled.backward()
    found = gradient(field)
    assert (found - expected).norm() <= 1e-6 * expected.norm()
    other = generator()
    render_field_with_aux(field, cameras, occupancy=occupancy, generator=other, settings=settings)
    assert torch.equal(drawing.get_state(), other.get_state()), "the same numbers are drawn"


def test_render_field_tiled_of_an_empty_scene():
    field = random_field()
    tiled = render_field_tiled(
        field,
        orbit_cameras([0.0], 0.0, height=4, width=4),
        occupancy=torch.zeros(4, 4, 4, dtype=torch.bool),
        generator=generator(),
        tiles=3,
        settings=RenderSettings(),
    )
    tiled.render.rgb.sum().backward()
    tiled.backward()
    assert not tiled.render.opacity.any()
