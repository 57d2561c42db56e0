"""Ramps: their ends, their middle, and that they stay in between."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from dreamfusion3d.training.schedules import dreamtime, geometric_ramp, linear_ramp


@pytest.mark.parametrize("ramp", [linear_ramp, geometric_ramp])
@pytest.mark.parametrize(("start_at", "end_at"), [(0.0, 1.0), (0.2, 0.8)])
@pytest.mark.parametrize(("start", "end"), [(1.0, 8.0), (8.0, 1.0), (3.0, 3.0)])
def test_linear_ramp_and_geometric_ramp_have_their_ends_and_are_monotonic(
    ramp: Callable[..., float], start_at: float, end_at: float, start: float, end: float
) -> None:
    values = [ramp(k / 20, start, end, start_at=start_at, end_at=end_at) for k in range(21)]
    assert values[0] == pytest.approx(start) and values[-1] == pytest.approx(end)
    assert ramp(start_at, start, end, start_at=start_at, end_at=end_at) == pytest.approx(start)
    assert ramp(end_at, start, end, start_at=start_at, end_at=end_at) == pytest.approx(end)
    differences = [b - a for a, b in zip(values, values[1:], strict=False)]
    assert all(difference * (end - start) >= 0 for difference in differences)
    # nothing changes beyond the ends of the run
    assert ramp(-1.0, start, end) == start and ramp(2.0, start, end) == pytest.approx(end)


def test_linear_ramp_and_geometric_ramp_have_their_middles() -> None:
    assert linear_ramp(0.5, 2.0, 8.0) == pytest.approx(5.0)
    assert geometric_ramp(0.5, 2.0, 8.0) == pytest.approx(4.0)
    assert linear_ramp(0.4, 0.0, 1.0, start_at=0.3, end_at=0.5) == pytest.approx(0.5)


def test_geometric_ramp_changes_by_equal_factors() -> None:
    values = [geometric_ramp(k / 4, 1.0, 16.0) for k in range(5)]
    assert values == pytest.approx([1, 2, 4, 8, 16])


@pytest.mark.parametrize(("low", "high"), [(0.02, 0.98), (0.1, 0.6), (0.3, 0.3)])
def test_dreamtime_spends_steps_on_times_by_their_weight(low: float, high: float) -> None:
    steps = 2000
    times = [dreamtime(k / steps, low, high) for k in range(steps + 1)]
    assert times[0] == pytest.approx(high) and times[-1] == pytest.approx(low)
    assert all(b <= a for a, b in zip(times, times[1:], strict=False))

    def weight(t: float) -> float:
        if t > 0.8:
            return math.exp(-((t - 0.8) ** 2) / (2 * 0.3**2))
        return math.exp(-((t - 0.5) ** 2) / (2 * 0.1**2)) if t < 0.5 else 1.0

    midpoints = [low + (high - low) * (k + 0.5) / 5000 for k in range(5000)]
    total = sum(map(weight, midpoints))
    for threshold in (0.35, 0.55, 0.9):
        fraction = sum(weight(t) for t in midpoints if t > threshold) / total
        assert sum(t > threshold for t in times) / steps == pytest.approx(fraction, abs=0.01)
