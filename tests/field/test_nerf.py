"""The field: what its generator, its blob, its box and its sharpness promise."""

from __future__ import annotations

import pytest
import torch

from dreamfusion3d.field.nerf import FieldConfig, NerfField
from dreamfusion3d.field.start import Start


def make(seed=0, **config):
    return NerfField(FieldConfig(**config), generator=torch.Generator().manual_seed(seed))


def points(n=100, seed=1):
    return torch.rand(n, 3, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_the_generator_alone_decides():
    state = torch.random.get_rng_state()
    a, b, other = make(3), make(3), make(4)
    assert torch.equal(torch.random.get_rng_state(), state)
    for name, value in a.state_dict().items():
        assert torch.equal(value, b.state_dict()[name])
    assert not torch.equal(a.table, other.table)


def test_it_starts_as_the_blob():
    field, x = make(), points()
    config = field.config
    blob = config.blob_density * (1 - x.norm(dim=-1) / config.blob_radius)
    expected = config.density_scale * torch.nn.functional.softplus(blob)
    torch.testing.assert_close(field.density(x).detach(), expected, rtol=1e-2, atol=1e-3)
    assert (field.albedo(x) - 0.5).abs().max() < 0.01


def test_it_starts_as_the_fog_that_it_is_given():
    generator = torch.Generator().manual_seed(2)
    density = torch.rand(9, 9, 9, generator=generator) * 30
    colour = torch.rand(9, 9, 9, 3, generator=generator)
    start = Start.of_fog(density, 0.1 + 0.8 * colour, FieldConfig().density_scale, torch.device("cpu"))
    field = NerfField(FieldConfig(), generator=generator, start=start)
    at = torch.randint(0, 9, (50, 3), generator=generator)
    x, (i, j, k) = at / 4 - 1.0, at.unbind(1)
    torch.testing.assert_close(field.density(x).detach(), density[i, j, k], rtol=2e-2, atol=2e-2)
    torch.testing.assert_close(field.albedo(x).detach(), 0.1 + 0.8 * colour[i, j, k], rtol=0, atol=1e-2)


def test_together_is_the_same_as_apart():
    field, x = make(), points()
    density, albedo = field.density_and_albedo(x)
    torch.testing.assert_close(density, field.density(x))
    torch.testing.assert_close(albedo, field.albedo(x))
    assert density.shape == (100,) and albedo.shape == (100, 3)
    assert field.features(x).shape == (100, field.layout.width)
    assert (density >= 0).all() and ((albedo >= 0) & (albedo <= 1)).all()


def test_nothing_outside_the_box():
    x = torch.tensor([[1.001, 0.0, 0.0], [0.0, -1.5, 0.0], [0.0, 0.0, 0.9]])
    density = make(blob_radius=2.0).density(x)
    assert density[0] == density[1] == 0 and density[2] > 0


def test_sharpness_multiplies_and_is_saved():
    field, x = make(), points()
    before = field.density(x)
    field.set_sharpness(5.0)
    torch.testing.assert_close(field.density(x), before * 5)
    twin = make(9)
    twin.load_state_dict(field.state_dict())
    assert torch.equal(twin.density(x), field.density(x))
    with pytest.raises(ValueError, match="positive"):
        field.set_sharpness(0.0)


def test_every_parameter_learns():
    field = make()
    density, albedo = field.density_and_albedo(points())
    (density.sum() + albedo[:, 0].sum()).backward()
    for name, parameter in field.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
        assert torch.isfinite(parameter.grad).all(), name


def test_no_points_and_the_origin():
    field = make()
    density, albedo = field.density_and_albedo(torch.empty(0, 3))
    assert density.shape == (0,) and albedo.shape == (0, 3)
    origin = torch.zeros(1, 3, requires_grad=True)
    field.density(origin).sum().backward()
    assert torch.isfinite(origin.grad).all()
