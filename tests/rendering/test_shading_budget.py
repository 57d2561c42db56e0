"""Which samples are shaded, exactly and by prediction."""

from __future__ import annotations

import math

import torch

from dreamfusion3d.rendering.shading_budget import ShadedFraction, select_samples_to_shade


def test_select_samples_to_shade_by_a_predicted_fraction_takes_the_heaviest() -> None:
    weight = torch.rand(400, generator=torch.Generator().manual_seed(0)).pow(6)
    exact = select_samples_to_shade(weight, 0.01, 200)
    fraction = ShadedFraction()
    first = select_samples_to_shade(weight, 0.01, 200, fraction)
    assert torch.equal(first, exact), "the first is exact"
    assert fraction.pending is not None
    more = select_samples_to_shade(weight, 0.01, 400, fraction)
    assert set(exact.tolist()) < set(more.tolist()) and torch.equal(more, more.sort().values)
    assert weight[more].min() >= weight[[i for i in range(400) if i not in set(more.tolist())]].max()
    fraction = ShadedFraction(fraction=0.1)
    few = select_samples_to_shade(weight, 0.01, 400, fraction)
    assert len(few) == math.ceil(1.25 * 0.1 * 400) and fraction.latest() == (weight > 0.01).sum() / 400
    assert len(select_samples_to_shade(weight[:0], 0.01, 0, fraction)) == 0
