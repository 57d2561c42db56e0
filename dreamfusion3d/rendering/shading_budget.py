"""Which samples of a picture get a normal."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from dreamfusion3d.core.async_scalar import Later

ROOM = 1.25  # views differ: from one step to the next the share of samples that are lit may grow so much


@dataclass
class LitShare:
    """How many samples weigh enough to be lit, guessed from the pictures before, so that the host need not
    wait for a GPU to count them.

    A guess that is too high lights some more of the heaviest samples; one that is too low leaves the lightest
    under the mean shade of their ray, as `lit_per_ray` does.
    """

    share: float | None = None  # of the samples
    counted: tuple[Later, int] | None = None  # lit ones and samples of the pictures before

    def expect(self, lit: Tensor, samples: int) -> int:
        """Of this picture, whose true number ``lit`` the next one hears of; the first one waits for it."""
        known = self.known()
        number = Later(lit)
        self.counted = number, samples
        if known is None:
            return int(number.read())
        return min(samples, math.ceil(ROOM * known * samples))

    def known(self) -> float | None:
        """The latest share; may wait."""
        if self.counted is not None:
            lit, samples = self.counted
            self.share = lit.read() / max(samples, 1)
            self.counted = None
        return self.share


def choose_lit(
    weight: Float[Tensor, " n"], cutoff: float, limit: int, share: LitShare | None = None
) -> Int64[Tensor, " m"]:
    """Indices of the samples that get a normal, in packed order: those that weigh more than ``cutoff``, or as
    many as ``share`` expects of them; no more than ``limit``, the heaviest."""
    if share is not None:
        most = share.expect((weight > cutoff).sum(), weight.numel())
        return weight.topk(min(most, limit), sorted=False).indices.sort().values
    lit = torch.nonzero(weight > cutoff)[:, 0]
    if lit.numel() > limit:
        lit = lit[torch.topk(weight[lit], limit, sorted=False).indices].sort().values
    return lit
