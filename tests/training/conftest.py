"""Fixtures shared by the tests of distillation."""

from __future__ import annotations

import pytest

from tests.support.oracle import OraclePrior
from tests.support.training import make_oracle_prior


@pytest.fixture(scope="session")
def oracle_prior() -> OraclePrior:
    """Whatever goes wrong with this prior is the optimization's fault."""
    return make_oracle_prior()
