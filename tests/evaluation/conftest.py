"""Fixtures of the evaluation's tests."""

from __future__ import annotations

import functools

import pytest

from dreamfusion3d.evaluation import evaluate, geometry, true_object
from dreamfusion3d.procedural.categories import CATEGORIES
from tests.support.evaluation import FEW_CATEGORIES


@pytest.fixture(autouse=True)
def few_categories(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare with few categories: the references of all take long to make."""
    monkeypatch.setattr(geometry, "CATEGORIES", {name: CATEGORIES[name] for name in [*FEW_CATEGORIES, "vase"]})


@pytest.fixture(autouse=True)
def coarse_true_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare with the best of few, coarsely meshed true objects, in small images."""
    monkeypatch.setattr(true_object, "NUM_INSTANCES", 3)
    monkeypatch.setattr(true_object, "NUM_MESHED", 1)
    monkeypatch.setattr(true_object, "MESH_RESOLUTION", 48)
    for name, size in (("evaluate_surface", {"num_samples": 2000}), ("evaluate_likeness", {"image_size": 32})):
        monkeypatch.setattr(evaluate, name, functools.partial(getattr(evaluate, name), **size))
