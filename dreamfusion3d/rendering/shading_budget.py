"""Which samples of a picture get a normal."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from dreamfusion3d.core.async_scalar import AsyncScalar

SHADED_GROWTH_MARGIN = (
    1.25  # views differ: from one step to the next the share of samples that are lit may grow so much
)


@dataclass
class ShadedFraction:
    """How many samples weigh enough to be lit, guessed from the pictures before, so that the host need not
    wait for a GPU to count them.

    A guess that is too high lights some more of the heaviest samples; one that is too low leaves the lightest
    under the mean shade of their ray, as `lit_per_ray` does.
    """

    fraction: float | None = None  # of the samples
    pending: tuple[AsyncScalar, int] | None = None  # lit ones and samples of the pictures before

    def predict(self, num_shaded: Tensor, num_samples: int) -> int:
        """Of this picture, whose true number ``lit`` the next one hears of; the first one waits for it."""
        previous = self.latest()
        count = AsyncScalar(num_shaded)
        self.pending = count, num_samples
        if previous is None:
            return int(count.read())
        return min(num_samples, math.ceil(SHADED_GROWTH_MARGIN * previous * num_samples))

    def latest(self) -> float | None:
        """The latest share; may wait."""
        if self.pending is not None:
            num_shaded, num_samples = self.pending
            self.fraction = num_shaded.read() / max(num_samples, 1)
            self.pending = None
        return self.fraction


def select_samples_to_shade(
    weight: Float[Tensor, " n"], weight_cutoff: float, max_samples: int, shaded_fraction: ShadedFraction | None = None
) -> Int64[Tensor, " m"]:
    """Indices of the samples that get a normal, in packed order: those that weigh more than ``cutoff``, or as
    many as ``share`` expects of them; no more than ``limit``, the heaviest."""
    if shaded_fraction is not None:
        predicted = shaded_fraction.predict((weight > weight_cutoff).sum(), weight.numel())
        return weight.topk(min(predicted, max_samples), sorted=False).indices.sort().values
    shaded = torch.nonzero(weight > weight_cutoff)[:, 0]
    if shaded.numel() > max_samples:
        shaded = shaded[torch.topk(weight[shaded], max_samples, sorted=False).indices].sort().values
    return shaded
