"""Schedules: functions of ``progress``, the fraction of the steps that are done, in [0, 1]."""

from __future__ import annotations

import bisect
import functools
import itertools
import math


def linear_ramp(progress: float, start: float, end: float, *, start_at: float = 0.0, end_at: float = 1.0) -> float:
    """Interpolate linearly from ``start`` (until ``start_at``) to ``end`` (from ``end_at`` on)."""
    fraction = (progress - start_at) / (end_at - start_at)
    return start + (end - start) * min(max(fraction, 0.0), 1.0)


def geometric_ramp(progress: float, start: float, end: float, *, start_at: float = 0.0, end_at: float = 1.0) -> float:
    """Interpolate geometrically from ``start`` (until ``start_at``) to ``end`` (from ``end_at`` on)."""
    fraction = min(max((progress - start_at) / (end_at - start_at), 0.0), 1.0)
    return start * (end / start) ** fraction


def lr_factor(progress: float, final: float, *, decay_from: float = 0.5) -> float:
    """Return the factor of the learning rates: 1 until ``decay_from``, then geometric decay to ``final``."""
    return geometric_ramp(progress, 1.0, final, start_at=decay_from)


def dreamtime(progress: float, low: float, high: float) -> float:
    """Return the non-increasing time schedule of DreamTime (arXiv 2306.12422), from ``high`` to ``low``.

    Steps are spent in proportion to a weight W(t): the weight above the time is ``progress`` times the whole weight of
    [low, high]. W is the paper's time prior with m1, m2 = 0.8, 0.5 and s1, s2 = 0.3, 0.1: 1 between m2 and m1, with
    Gaussian tails. Its second factor, which depends on a prior's noise schedule, is left out.
    """
    cumulative = _cumulative_weight(low, high)
    last = len(cumulative) - 1
    return high + (low - high) * bisect.bisect_left(cumulative, progress * cumulative[last]) / max(last, 1)


@functools.lru_cache(maxsize=8)
def _cumulative_weight(low: float, high: float, num_bins: int = 1000) -> tuple[float, ...]:
    """Cumulative sums of W from ``high`` down, in equal bins."""

    def weight(t: float) -> float:
        distance = (t - 0.8) / 0.3 if t > 0.8 else (t - 0.5) / 0.1 if t < 0.5 else 0.0
        return math.exp(-0.5 * distance**2)

    midpoints = (high + (low - high) * (i + 0.5) / num_bins for i in range(num_bins))
    return (0.0, *itertools.accumulate(weight(t) for t in midpoints))
