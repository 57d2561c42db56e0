"""Fixtures shared by several packages."""

from __future__ import annotations

import gc

import pytest

from dreamfusion3d.memory import checkpoint_plan
from dreamfusion3d.training.planning import render_profiler, step_profiler


def pytest_collection_finish() -> None:
    """Freeze what the imports made: a full collection, as after every planted out-of-memory, skips it."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def quick_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plan with fewer tiles and coarser schedules, for tests of what follows from a plan."""
    monkeypatch.setattr(render_profiler, "FINE_TILES", 8)
    monkeypatch.setattr(render_profiler, "COARSE_TILES", (2, 4))
    monkeypatch.setattr(step_profiler, "FRONT_LEVELS", 20)
    monkeypatch.setattr(checkpoint_plan, "FRONT_GRAINS", 400)
