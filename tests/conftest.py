"""What several tests need."""

from __future__ import annotations

import gc
from collections.abc import Callable

import pytest
import torch

from dreamfusion3d import optimize, renders, trials
from dreamfusion3d.lead import Lead
from dreamfusion3d.memory import chain


def pytest_collection_finish() -> None:
    """What the imports made stays: a full collection, as after every planted out-of-memory, looks at the
    rest alone."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def leading(monkeypatch) -> Callable[[], None]:
    """Lets runs on a CPU run as on a GPU: with a lead and a fused optimiser."""
    def begin() -> None:
        plain = optimize.adam_for

        def fused(field, config):
            adam = plain(field, config)
            adam.param_groups[0]["fused"] = adam.param_groups[1]["fused"] = True
            return adam

        def lead(generator: torch.Generator) -> Lead:
            return Lead(torch.Generator().manual_seed(generator.initial_seed() + 1))

        monkeypatch.setattr(optimize, "adam_for", fused)
        monkeypatch.setattr(Lead, "of", staticmethod(lead))

    return begin


@pytest.fixture
def quick_plans(monkeypatch) -> None:
    """Plans of fewer tiles and coarser schedules, where it is not they that are tested."""
    monkeypatch.setattr(renders, "RUN", 8)
    monkeypatch.setattr(renders, "SECOND", (2, 4))
    monkeypatch.setattr(trials, "GRAINS", 20)
    monkeypatch.setattr(chain, "GRAINS", 400)
