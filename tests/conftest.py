"""What several tests need."""

from __future__ import annotations

import gc
from collections.abc import Callable

import pytest
import torch

from dreamfusion3d.memory import checkpoint_plan
from dreamfusion3d.training import distillation, render_profiler, step_profiler
from dreamfusion3d.training.prefetch import Prefetcher


def pytest_collection_finish() -> None:
    """What the imports made stays: a full collection, as after every planted out-of-memory, looks at the
    rest alone."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def leading(monkeypatch) -> Callable[[], None]:
    """Lets runs on a CPU run as on a GPU: with a lead and a fused optimiser."""

    def begin() -> None:
        plain = distillation.make_field_optimizer

        def fused(field, config):
            adam = plain(field, config)
            adam.param_groups[0]["fused"] = adam.param_groups[1]["fused"] = True
            return adam

        def lead(generator: torch.Generator) -> Prefetcher:
            return Prefetcher(torch.Generator().manual_seed(generator.initial_seed() + 1))

        monkeypatch.setattr(distillation, "make_field_optimizer", fused)
        monkeypatch.setattr(Prefetcher, "for_generator", staticmethod(lead))

    return begin


@pytest.fixture
def quick_plans(monkeypatch) -> None:
    """Plans of fewer tiles and coarser schedules, where it is not they that are tested."""
    monkeypatch.setattr(render_profiler, "FINE_TILES", 8)
    monkeypatch.setattr(render_profiler, "COARSE_TILES", (2, 4))
    monkeypatch.setattr(step_profiler, "FRONT_LEVELS", 20)
    monkeypatch.setattr(checkpoint_plan, "FRONT_GRAINS", 400)
