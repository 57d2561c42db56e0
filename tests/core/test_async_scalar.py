"""Scalars that are read a step late."""

from __future__ import annotations

import math

import torch

from dreamfusion3d.core.async_scalar import AsyncScalar, DelayedScalar


def scalar(value: float) -> AsyncScalar:
    return AsyncScalar(torch.tensor(value))


def test_delayed_scalar_returns_the_previous_value() -> None:
    delayed, direct = DelayedScalar(delayed=True), DelayedScalar(delayed=False)
    assert [delayed.update(scalar(v)) for v in (1.0, 2.0, 3.0)] == [1.0, 1.0, 2.0]
    assert [direct.update(scalar(v)) for v in (1.0, 2.0, 3.0)] == [1.0, 2.0, 3.0]
    assert delayed.update(scalar(4.0), sync=True) == 4.0 and delayed.age == 0
    assert delayed.update(scalar(math.nan)) == 4.0
    assert math.isnan(delayed.update(scalar(5.0), sync=True)) and delayed.age == 1
    delayed.reset()
    assert delayed.update(scalar(6.0)) == 6.0


def test_async_scalar_reads_an_int_of_an_integral_tensor() -> None:
    assert AsyncScalar(torch.tensor(7)).read() == 7 and isinstance(AsyncScalar(torch.tensor(7)).read(), int)
