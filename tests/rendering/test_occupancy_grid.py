"""The occupancy grid follows the field and leaves the global generator alone."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from dreamfusion3d.rendering.occupancy_grid import WARM_UP_STEPS, OccupancyGrid


def ball(x):
    return 50.0 * (x.norm(dim=-1) < 0.5)


def cell_centers(resolution):
    axis = (torch.arange(resolution) + 0.5) * 2 / resolution - 1
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_occupancy_grid_starts_full_and_finds_a_ball():
    occupancy = OccupancyGrid(32)
    assert occupancy.binary.all()
    occupancy.update(ball, generator=generator(), step=0)
    radius, reach = cell_centers(32).norm(dim=-1), 3**0.5 / 32
    assert occupancy.binary[radius < 0.5 - reach].all()
    assert not occupancy.binary[radius > 0.5 + reach].any()


def test_occupancy_grid_axes_are_x_y_z():
    occupancy = OccupancyGrid(8)
    occupancy.update(lambda x: 9.0 * (x[:, 0] > 0.5) * (x[:, 1] < 0), generator=generator(), step=0)
    assert occupancy.binary[6:, :4].all() and occupancy.binary.sum() == 2 * 4 * 8


@pytest.mark.parametrize("step", [0, WARM_UP_STEPS])
def test_update_follows_a_changing_field(step):
    occupancy, rng = OccupancyGrid(16), generator()
    occupancy.update(ball, generator=rng, step=0)
    for _ in range(120):
        occupancy.update(lambda x: 50.0 * (x[:, 2] > 0.5), generator=rng, step=step)
    assert occupancy.binary[:, :, 12:].all() and not occupancy.binary[:, :, :12].any()


def test_update_of_an_empty_field():
    occupancy = OccupancyGrid(8)
    occupancy.update(lambda x: torch.zeros(len(x)), generator=generator(), step=0)
    assert not occupancy.binary.any()


def test_update_of_a_faint_field_uses_its_mean():
    occupancy = OccupancyGrid(16)
    occupancy.update(lambda x: 1e-3 * ball(x), generator=generator(), step=0)
    assert 0.03 < occupancy.binary.float().mean() < 0.2


def test_occupancy_grid_depends_on_its_generator_alone():
    def density(x):
        return x[:, 0].abs() * 0.6

    results, state = [], torch.random.get_rng_state()
    for seed in (1, 1, 2):
        occupancy, rng = OccupancyGrid(16), generator(seed)
        for step in (0, WARM_UP_STEPS):
            occupancy.update(density, generator=rng, step=step)
        results.append(occupancy.state_dict()["values"])
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])


def test_occupancy_grid_state_dict_round_trip():
    a, b = OccupancyGrid(16), OccupancyGrid(16)
    a.update(ball, generator=generator(), step=0)
    b.load_state_dict(a.state_dict())
    assert torch.equal(a.binary, b.binary)
    assert torch.equal(a.state_dict()["values"], b.state_dict()["values"])
    with pytest.raises(ValueError, match="saved occupancy grid"):
        OccupancyGrid(8).load_state_dict(a.state_dict())


def test_from_field_is_a_series_of_updates():
    built, updated, rng = OccupancyGrid.from_field(ball, 16, generator(), sweeps=3), OccupancyGrid(16), generator()
    for sweep in range(3):
        updated.update(ball, generator=rng, step=sweep)
    for name, value in updated.state_dict().items():
        assert torch.equal(built.state_dict()[name], value)


def test_nerfacc_is_imported_lazily_and_silently():
    code = (
        "import sys, dreamfusion3d.rendering.volume\n"
        "from dreamfusion3d.rendering.occupancy_grid import OccupancyGrid\n"
        "assert 'nerfacc' not in sys.modules and 'numba' not in sys.modules\n"
        "OccupancyGrid(8)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
