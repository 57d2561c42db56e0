"""Numbers that change over a run. ``progress`` is the share of the steps done, in [0, 1]."""

from __future__ import annotations

import bisect
import functools
import itertools
import math


def linear_ramp(progress: float, start: float, end: float, *, start_at: float = 0.0, end_at: float = 1.0) -> float:
    """From ``start`` (until ``begin``) to ``end`` (from ``finish`` on), linearly in between."""
    fraction = (progress - start_at) / (end_at - start_at)
    return start + (end - start) * min(max(fraction, 0.0), 1.0)


def geometric_ramp(progress: float, start: float, end: float, *, start_at: float = 0.0, end_at: float = 1.0) -> float:
    """As ``ramp``, by a constant factor a step."""
    fraction = min(max((progress - start_at) / (end_at - start_at), 0.0), 1.0)
    return start * (end / start) ** fraction


def dreamtime(progress: float, low: float, high: float) -> float:
    """A time that never grows over the run, from ``high`` to ``low`` (DreamTime, arXiv 2306.12422).

    Every share of the weight W(t) gets its share of the steps: the time at which the weight above
    it, over the whole weight of [low, high], is ``progress``. W is the paper's time prior with
    m1, m2 = 0.8, 0.5 and s1, s2 = 0.3, 0.1: 1 between m2 and m1, and Gaussian tails. Its second
    factor, which depends on a prior's noise levels, is left out.
    """
    cumulative = _cumulative_weight(low, high)
    last = len(cumulative) - 1
    return high + (low - high) * bisect.bisect_left(cumulative, progress * cumulative[last]) / max(last, 1)


@functools.lru_cache(maxsize=8)
def _cumulative_weight(low: float, high: float, num_bins: int = 1000) -> tuple[float, ...]:
    """Sums of W from ``high`` down, at ``cells`` equal steps."""

    def weight(t: float) -> float:
        distance = (t - 0.8) / 0.3 if t > 0.8 else (t - 0.5) / 0.1 if t < 0.5 else 0.0
        return math.exp(-0.5 * distance**2)

    midpoints = (high + (low - high) * (i + 0.5) / num_bins for i in range(num_bins))
    return (0.0, *itertools.accumulate(weight(t) for t in midpoints))
