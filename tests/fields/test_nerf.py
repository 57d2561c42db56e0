"""The radiance field: parameters, initialization, box and sharpness."""

from __future__ import annotations

import math

import pytest
import torch

from dreamfusion3d.core.types import InitialVolume
from dreamfusion3d.fields.initialization import (
    SURFACE_LOGIT,
    VOLUME_CELL_SIZE,
    VOLUME_LOGIT_GAIN,
    VOLUME_MIN_OPACITY,
    VOLUME_SURFACE_FRACTION,
    FieldInit,
    fill_hidden_colors,
)
from dreamfusion3d.fields.nerf import FieldConfig, NerfField


def make(seed=0, **config):
    return NerfField(FieldConfig(**config), generator=torch.Generator().manual_seed(seed))


def points(n=100, seed=1):
    return torch.rand(n, 3, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_nerf_field_depends_on_its_generator_alone():
    state = torch.random.get_rng_state()
    a, b, other = make(3), make(3), make(4)
    assert torch.equal(torch.random.get_rng_state(), state)
    for name, value in a.state_dict().items():
        assert torch.equal(value, b.state_dict()[name])
    assert not torch.equal(a.table, other.table)


def test_nerf_field_starts_as_the_blob():
    field, x = make(), points()
    config = field.config
    blob = config.density_blob_scale * (1 - x.norm(dim=-1) / config.density_blob_radius)
    expected = config.density_scale * torch.nn.functional.softplus(blob)
    torch.testing.assert_close(field.density(x).detach(), expected, rtol=1e-2, atol=1e-3)
    assert (field.albedo(x) - 0.5).abs().max() < 0.01


def test_from_initial_volume_sets_the_initial_field():
    generator = torch.Generator().manual_seed(2)
    density = torch.rand(9, 9, 9, generator=generator) * 30
    color = torch.rand(9, 9, 9, 3, generator=generator)
    init = FieldInit.from_initial_volume(InitialVolume(density, 0.1 + 0.8 * color), torch.device("cpu"))
    field = NerfField(FieldConfig(), generator=generator, init=init)
    cells = torch.randint(0, 9, (50, 3), generator=generator)
    x, (i, j, k) = cells / 4 - 1.0, cells.unbind(1)
    # by hand: the mean over 27 samples of the maximum among each one's 125 neighbors
    opacity = 1 - torch.exp(-density * VOLUME_CELL_SIZE)
    padded = torch.nn.functional.pad(opacity[None, None], [2] * 6, value=-1.0)[0, 0]
    local_max = torch.zeros(11, 11, 11)
    for n in torch.cartesian_prod(*[torch.arange(9)] * 3):
        p, q, r = n.tolist()
        local_max[p + 1, q + 1, r + 1] = padded[p : p + 5, q : q + 5, r : r + 5].max()
    for row in range(50):
        p, q, r = cells[row].tolist()
        near = local_max[p : p + 3, q : q + 3, r : r + 3].sum() / 27
        edge = max(VOLUME_SURFACE_FRACTION * float(near), VOLUME_MIN_OPACITY)
        u = SURFACE_LOGIT + VOLUME_LOGIT_GAIN * (float(torch.logit(opacity[p, q, r])) - math.log(edge / (1 - edge)))
        found = float(field.density_logit(x[row : row + 1]).detach())
        assert found == pytest.approx(max(min(u, 12.0), -12.0), abs=2e-2)
    expected = fill_hidden_colors(density, 0.1 + 0.8 * color)[i, j, k]
    torch.testing.assert_close(field.albedo(x).detach(), expected, rtol=0, atol=1e-2)


def test_density_and_albedo_equals_separate_queries():
    field, x = make(), points()
    density, albedo = field.density_and_albedo(x)
    torch.testing.assert_close(density, field.density(x))
    torch.testing.assert_close(albedo, field.albedo(x))
    assert density.shape == (100,) and albedo.shape == (100, 3)
    assert field.features(x).shape == (100, field.layout.output_dim)
    assert (density >= 0).all() and ((albedo >= 0) & (albedo <= 1)).all()


def test_density_is_zero_outside_the_box():
    x = torch.tensor([[1.001, 0.0, 0.0], [0.0, -1.5, 0.0], [0.0, 0.0, 0.9]])
    density = make(density_blob_radius=2.0).density(x)
    assert density[0] == density[1] == 0 and density[2] > 0


def test_set_sharpness_keeps_the_surface_logit_and_is_saved():
    field, x = make(), points()
    before, denser = field.density(x), field.density_logit(x) > SURFACE_LOGIT
    field.set_sharpness(5.0)
    after = field.density(x)
    assert denser.any() and not denser.all()
    assert (after[denser] > before[denser]).all() and (after[~denser] < before[~denser]).all()
    twin = make(9)
    twin.load_state_dict(field.state_dict())
    assert torch.equal(twin.density(x), field.density(x))
    with pytest.raises(ValueError, match="positive"):
        field.set_sharpness(0.0)


def test_every_parameter_has_a_gradient():
    field = make()
    density, albedo = field.density_and_albedo(points())
    (density.sum() + albedo[:, 0].sum()).backward()
    for name, parameter in field.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
        assert torch.isfinite(parameter.grad).all(), name


def test_nerf_field_at_no_points_and_at_the_origin():
    field = make()
    density, albedo = field.density_and_albedo(torch.empty(0, 3))
    assert density.shape == (0,) and albedo.shape == (0, 3)
    origin = torch.zeros(1, 3, requires_grad=True)
    field.density(origin).sum().backward()
    assert torch.isfinite(origin.grad).all()


def ball_initialized_field(generator: torch.Generator) -> NerfField:
    """A field whose initial u is 0.85 above SURFACE_LOGIT in a ball, and 1.5 below it elsewhere."""
    axis = torch.linspace(-1, 1, 17)
    radius = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).norm(dim=-1)
    u = torch.where(radius < 0.5, SURFACE_LOGIT + 0.85, SURFACE_LOGIT - 1.5)
    init = FieldInit(u, torch.full((17, 17, 17, 3), 0.5), torch.device("cpu"), constrain=True)
    return NerfField(FieldConfig(), generator=generator, init=init)


def test_init_hinge_loss_is_zero_on_the_initial_side():
    generator = torch.Generator().manual_seed(3)
    field = ball_initialized_field(generator)
    assert field.init is not None
    assert field.init.init_hinge_loss(field.density_logit, 500, generator=generator).item() < 1e-3

    def steeper(x: torch.Tensor) -> torch.Tensor:
        assert field.init is not None
        return SURFACE_LOGIT + 9 * (field.density_logit(x) - SURFACE_LOGIT)

    sharper_loss = field.init.init_hinge_loss(steeper, 500, generator=generator)
    assert sharper_loss.item() < 1e-3


@pytest.mark.parametrize("shift", [-2.0, 3.0])
def test_init_hinge_loss_pulls_back_crossed_points(shift: float):
    generator = torch.Generator().manual_seed(3)
    field = ball_initialized_field(generator)
    assert field.init is not None
    with torch.no_grad():
        field.out_bias[0] += shift / 3.0  # DENSITY_LOGIT_SCALE
    loss = field.init.init_hinge_loss(field.density_logit, 4000, generator=generator)
    assert loss.item() > 0.05
    (gradient,) = torch.autograd.grad(loss, field.out_bias)
    assert gradient[0] * shift > 0  # gradient descent undoes the shift


def test_from_solid_is_unconstrained():
    init = FieldInit.from_solid(torch.zeros(5, 5, 5), torch.zeros(5, 5, 5, 3), torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    assert float(init.init_hinge_loss(lambda x: x[:, 0] * 0 + 100, 50, generator=generator)) == 0


def test_fill_hidden_colors_spreads_visible_colors_inwards():
    """A white ball with a black core in empty space."""
    axis = torch.linspace(-1, 1, 33)
    radius = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).norm(dim=-1)
    density = 40.0 * (radius < 0.6)
    color = torch.where((radius < 0.35)[..., None], torch.zeros(3), torch.ones(3))
    out = fill_hidden_colors(density, color)
    assert out.shape == color.shape and torch.isfinite(out).all()
    assert (out[(radius > 0.35) & (radius < 0.6)] > 0.9).all()  # and just below
    assert out[(radius > 0.3) & (radius < 0.35)].min() > 0.9
    clear = fill_hidden_colors(torch.zeros(33, 33, 33), color)
    assert torch.isfinite(clear).all()


def test_material_is_that_of_the_grid():
    """Roughness is interpolated, metallic is not; what no view shows takes its neighbors' material."""
    axis = torch.linspace(-1, 1, 17)
    x, y, z = torch.meshgrid(axis, axis, axis, indexing="ij")
    material = torch.stack([(x + 1) / 2, (y > 0).float()], -1)
    color, cpu = torch.full((17, 17, 17, 3), 0.5), torch.device("cpu")
    solid = FieldInit(torch.zeros(17, 17, 17), color, cpu, material=material)
    field = NerfField(FieldConfig(), generator=torch.Generator().manual_seed(0), init=solid)
    p = points()
    p = p[(p[:, 1] - 0.0625).abs() > 0.01]  # the step lies halfway between samples
    roughness, metallic = field.material(p).unbind(1)
    torch.testing.assert_close(roughness, (p[:, 0] + 1) / 2)
    assert torch.equal(metallic, (p[:, 1] > 0.0625).float())
    assert make().material(p) is None
    ball = (x.square() + y.square() + z.square()).sqrt()
    wrong_inside = torch.stack([torch.where(ball < 0.3, 0.0, 0.8), (ball < 0.3).float()], -1)
    volume = InitialVolume(200.0 * (ball < 0.6), color, wrong_inside)
    inner = FieldInit.from_initial_volume(volume, cpu).material(torch.tensor([[0.3, 0.0, 0.0], [0.5, 0.0, 0.0]]))
    torch.testing.assert_close(inner, torch.tensor([[0.8, 0.0]] * 2), atol=0.05, rtol=0)
    assert FieldInit.from_initial_volume(InitialVolume(volume.density, color), cpu).material(p) is None
