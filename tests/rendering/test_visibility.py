"""Points of hidden density lie where no view looks."""

from __future__ import annotations

import torch

from dreamfusion3d.cameras.orbit import orbit_cameras
from dreamfusion3d.rendering.occupancy_grid import OccupancyGrid
from dreamfusion3d.rendering.visibility import hidden_density
from dreamfusion3d.rendering.volume import RenderSettings, render_field_with_aux


class RecordingBall:
    """A dense ball that remembers the points of its last density query."""

    def density(self, x: torch.Tensor) -> torch.Tensor:
        self.points = x
        return 80 * torch.sigmoid((0.6 - x.norm(dim=-1)) * 40)

    def albedo(self, x: torch.Tensor) -> torch.Tensor:
        return torch.full((len(x), 3), 0.5)


def test_hidden_density_queries_only_what_no_view_sees() -> None:
    ball, occupancy = RecordingBall(), OccupancyGrid(32)
    occupancy.update(ball.density, generator=torch.Generator().manual_seed(0), step=0)
    cameras = orbit_cameras([0.0, 180.0], 0.0, height=48, width=48)
    generator = torch.Generator().manual_seed(0)
    _, aux = render_field_with_aux(
        ball, cameras, occupancy=occupancy, generator=generator, settings=RenderSettings(step_size=0.02)
    )
    density = hidden_density(ball, occupancy, cameras, aux, 4000, generator=generator)
    points, cell = ball.points, 2 / 32
    assert points.shape == (4000, 3) and torch.equal(density, ball.density(points))
    front = points[points[:, :2].norm(dim=1) < 0.2, 2].abs()  # the cameras look along z
    assert front.max() < 0.6 - cell and front.max() > 0.3 and front.min() < 0.1
    side = points[points[:, 1:].norm(dim=1) < 0.1, 0].abs()  # seen edge-on, so hidden up to the rim
    assert side.max() > front.max() - cell


def test_hidden_density_is_zero_without_a_hidden_cell() -> None:
    ball, occupancy, generator = RecordingBall(), OccupancyGrid(32), torch.Generator().manual_seed(0)
    cameras = orbit_cameras([0.0], 0.0, height=16, width=16)
    _, aux = render_field_with_aux(
        ball, cameras, occupancy=occupancy, generator=generator, settings=RenderSettings(step_size=0.02)
    )
    occupancy.update(lambda x: torch.zeros(len(x)), generator=generator, step=0)
    assert torch.equal(hidden_density(ball, occupancy, cameras, aux, 10, generator=generator), torch.zeros(10))
