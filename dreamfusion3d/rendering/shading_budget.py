"""Selection of the samples that get a normal."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from dreamfusion3d.core.async_scalar import AsyncScalar

SHADED_GROWTH_MARGIN = 1.25  # views differ: growth of the shaded fraction allowed from one step to the next


@dataclass
class ShadedFraction:
    """Fraction of samples to shade, predicted from the previous render so that the host need not wait for a GPU.

    A prediction that is too high shades a few more of the heaviest samples; one that is too low leaves the lightest
    with the mean shading of their ray, as `RenderSettings.max_shaded_per_ray` does.
    """

    fraction: float | None = None  # None before the first render
    pending: tuple[AsyncScalar, int] | None = None  # numbers of shaded and of all samples of the previous render

    def predict(self, num_shaded: Tensor, num_samples: int) -> int:
        """Predict how many samples to shade; ``num_shaded`` is read by the next call (the first call waits)."""
        previous = self.latest()
        count = AsyncScalar(num_shaded)
        self.pending = count, num_samples
        if previous is None:
            return int(count.read())
        return min(num_samples, math.ceil(SHADED_GROWTH_MARGIN * previous * num_samples))

    def latest(self) -> float | None:
        """Return the latest known fraction; may wait for the GPU."""
        if self.pending is not None:
            num_shaded, num_samples = self.pending
            self.fraction = num_shaded.read() / max(num_samples, 1)
            self.pending = None
        return self.fraction


def select_samples_to_shade(
    weight: Float[Tensor, " n"], weight_cutoff: float, max_samples: int, shaded_fraction: ShadedFraction | None = None
) -> Int64[Tensor, " m"]:
    """Return the indices of the samples to shade, in packed order.

    They are the samples that weigh more than ``weight_cutoff``, or as many as ``shaded_fraction`` predicts;
    at most the ``max_samples`` heaviest.
    """
    if shaded_fraction is not None:
        predicted = shaded_fraction.predict((weight > weight_cutoff).sum(), weight.numel())
        return weight.topk(min(predicted, max_samples), sorted=False).indices.sort().values
    shaded = torch.nonzero(weight > weight_cutoff)[:, 0]
    if shaded.numel() > max_samples:
        shaded = shaded[torch.topk(weight[shaded], max_samples, sorted=False).indices].sort().values
    return shaded
