"""Ramps: their ends, their middle, and that they stay between."""

from __future__ import annotations

import math

import pytest

from dreamfusion3d.training.schedules import dreamtime, geometric_ramp, linear_ramp


@pytest.mark.parametrize("schedule", [linear_ramp, geometric_ramp])
@pytest.mark.parametrize(("begin", "finish"), [(0.0, 1.0), (0.2, 0.8)])
@pytest.mark.parametrize(("start", "end"), [(1.0, 8.0), (8.0, 1.0), (3.0, 3.0)])
def test_ends_and_monotony(schedule, begin, finish, start, end):
    values = [schedule(k / 20, start, end, begin=begin, finish=finish) for k in range(21)]
    assert values[0] == pytest.approx(start) and values[-1] == pytest.approx(end)
    assert schedule(begin, start, end, begin=begin, finish=finish) == pytest.approx(start)
    assert schedule(finish, start, end, begin=begin, finish=finish) == pytest.approx(end)
    steps = [b - a for a, b in zip(values, values[1:], strict=False)]
    assert all(s * (end - start) >= 0 for s in steps)
    # beyond the run's ends nothing changes
    assert schedule(-1.0, start, end) == start and schedule(2.0, start, end) == pytest.approx(end)


def test_middles():
    assert linear_ramp(0.5, 2.0, 8.0) == pytest.approx(5.0)
    assert geometric_ramp(0.5, 2.0, 8.0) == pytest.approx(4.0)
    assert linear_ramp(0.4, 0.0, 1.0, start_at=0.3, end_at=0.5) == pytest.approx(0.5)


def test_geometric_takes_equal_factors():
    values = [geometric_ramp(k / 4, 1.0, 16.0) for k in range(5)]
    assert values == pytest.approx([1, 2, 4, 8, 16])


@pytest.mark.parametrize(("low", "high"), [(0.02, 0.98), (0.1, 0.6), (0.3, 0.3)])
def test_dreamtime_spends_on_every_time_its_weights_share_of_the_steps(low, high):
    steps = 2000
    times = [dreamtime(k / steps, low, high) for k in range(steps + 1)]
    assert times[0] == pytest.approx(high) and times[-1] == pytest.approx(low)
    assert all(b <= a for a, b in zip(times, times[1:], strict=False))

    def weight(t):
        if t > 0.8:
            return math.exp(-((t - 0.8) ** 2) / (2 * 0.3**2))
        return math.exp(-((t - 0.5) ** 2) / (2 * 0.1**2)) if t < 0.5 else 1.0

    axis = [low + (high - low) * (k + 0.5) / 5000 for k in range(5000)]
    whole = sum(map(weight, axis))
    for middle in (0.35, 0.55, 0.9):
        share = sum(weight(t) for t in axis if t > middle) / whole
        assert sum(t > middle for t in times) / steps == pytest.approx(share, abs=0.01)
