"""Fixtures of the evaluation's tests."""

from __future__ import annotations

import pytest

from dreamfusion3d.evaluation import geometry
from dreamfusion3d.procedural.categories import CATEGORIES
from tests.support.evaluation import FEW_CATEGORIES


@pytest.fixture(autouse=True)
def few_categories(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare with few categories: the references of all take long to make."""
    monkeypatch.setattr(geometry, "CATEGORIES", {name: CATEGORIES[name] for name in [*FEW_CATEGORIES, "vase"]})
