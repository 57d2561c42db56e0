"""Numbers that change over a run. ``progress`` is the share of the steps done, in [0, 1]."""

from __future__ import annotations


def ramp(progress: float, start: float, end: float, *, begin: float = 0.0, finish: float = 1.0) -> float:
    """From ``start`` (until ``begin``) to ``end`` (from ``finish`` on), linearly in between."""
    share = (progress - begin) / (finish - begin)
    return start + (end - start) * min(max(share, 0.0), 1.0)


def geometric(progress: float, start: float, end: float, *, begin: float = 0.0, finish: float = 1.0) -> float:
    """As ``ramp``, by a constant factor a step."""
    share = min(max((progress - begin) / (finish - begin), 0.0), 1.0)
    return start * (end / start) ** share
