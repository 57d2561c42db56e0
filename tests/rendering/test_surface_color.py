"""Color of a surface as a ray from outside sees it."""

from __future__ import annotations

import torch

from dreamfusion3d.rendering.surface_color import SurfaceColorField


class Shell:
    """A ball of radius 0.5, red in its outermost 0.03 and blue within; a low ``steepness`` makes it haze."""

    def __init__(self, steepness: float) -> None:
        self.steepness = steepness

    def density_logit(self, x):
        return self.steepness * (0.5 - x.norm(dim=-1))

    def density(self, x):
        return 300 * torch.sigmoid(self.density_logit(x))

    def albedo(self, x):
        outer = (x.norm(dim=-1) > 0.47).float()[:, None]
        return outer * torch.tensor([1.0, 0, 0]) + (1 - outer) * torch.tensor([0, 0, 1.0])

    def density_and_albedo(self, x):
        return self.density(x), self.albedo(x)


def points(radius: float) -> torch.Tensor:
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    return radius * x / x.norm(dim=-1, keepdim=True)


def test_surface_color_is_the_visible_one():
    """Points a little too deep are blue; from outside they look red."""
    ball = Shell(steepness=400.0)
    deep = points(0.46)
    assert (ball.albedo(deep)[:, 2] == 1).all()
    seen = SurfaceColorField(ball).albedo(deep)
    assert (seen[:, 0] > 0.95).all() and torch.allclose(seen.sum(-1), torch.ones(200), atol=1e-4)


def test_surface_color_of_an_opaque_wall():
    seen = SurfaceColorField(Shell(steepness=400.0)).albedo(points(0.5))
    assert torch.allclose(seen, torch.tensor([1.0, 0, 0]).expand(200, 3), atol=0.05)


def test_surface_color_is_finite_in_empty_space():
    assert SurfaceColorField(Shell(steepness=400.0)).albedo(points(0.9)).isfinite().all()


def test_surface_color_field_keeps_the_density():
    ball = Shell(steepness=30.0)
    outside = SurfaceColorField(ball)
    x = points(0.5)
    assert torch.equal(outside.density(x), ball.density(x))
    assert torch.equal(outside.density_and_albedo(x)[1], ball.albedo(x))
