"""Tiles give the pictures and the gradients of the whole."""

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


def some_field() -> NerfField:
    field = NerfField(CONFIG, generator=generator())
    with torch.no_grad():
        field.table.normal_(0, 0.5, generator=generator())
    return field


def gradient(field: NerfField) -> torch.Tensor:
    found = torch.cat([p.grad.flatten().double() for p in field.parameters() if p.grad is not None])
    field.zero_grad(set_to_none=True)
    return found


def loss_of(picture, detail) -> torch.Tensor:
    """Of everything that a picture and its detail hold."""
    lot = generator()
    total = detail.orientation_loss() + 1e-3 * detail.weights.square().sum() + detail.albedo.pow(3).mean()
    for name in ("rgb", "opacity", "depth", "normals"):
        value = getattr(picture, name)
        if value is not None:
            total = total + (value * torch.randn(value.shape, generator=lot)).mean() + value.square().mean()
    return total


@pytest.mark.parametrize("shading", ["lambert", "textureless", "albedo"])
@pytest.mark.parametrize("tiles", [1, 3, 40])
def test_pictures_and_gradients_are_those_of_the_whole(tiles, shading):
    field, cameras = some_field(), orbit_cameras([10.0, 130.0], 20.0, height=20, width=20)
    occupancy = torch.ones(8, 8, 8, dtype=torch.bool)
    occupancy[:, 5:, :3] = False
    settings = RenderSettings(step_size=0.05, shading=shading, max_shaded_per_ray=1.5)
    picture, detail = render_field_with_aux(
        field, cameras, occupancy=occupancy, generator=generator(), settings=settings
    )
    loss_of(picture, detail).backward()
    wanted = gradient(field)
    drawing = generator()
    tiled = render_field_tiled(field, cameras, occupancy=occupancy, generator=drawing, settings=settings, tiles=tiles)
    assert len(tiled.tiles) == tiles and torch.equal(detail.shaded, tiled.aux.shaded)
    sizes = [tile.samples.stop - tile.samples.start for tile in tiled.tiles]
    assert sum(sizes) == len(detail.weights) and max(sizes) <= min(sizes) + 200, "tiles of like size"
    for item in dataclasses.fields(picture):
        a, b = getattr(picture, item.name), getattr(tiled.render, item.name)
        assert (a is None) == (b is None) and (a is None or torch.allclose(a, b, atol=2e-6)), item.name
    loss_of(tiled.render, tiled.aux).backward()
    assert all(p.grad is None for p in field.parameters()), "the pictures end at the tiles"
    tiled.backward()
    found = gradient(field)
    assert (found - wanted).norm() <= 1e-6 * wanted.norm()
    other = generator()
    render_field_with_aux(field, cameras, occupancy=occupancy, generator=other, settings=settings)
    assert torch.equal(drawing.get_state(), other.get_state()), "the same numbers are drawn"


def test_an_empty_scene_has_a_gradient_of_nothing():
    field = some_field()
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
