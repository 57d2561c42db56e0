"""Which blocks of a chain to keep and which to compute again: the least time at every peak.

A chain of blocks 0 .. n-1 is run forward and then backward. Keeping a block holds all that its
backward pass needs; not keeping it holds its input alone, and computes it again before its backward
pass. The choice is the one of Beaumont et al. (arXiv 1911.13214, "Optimal checkpointing for
heterogeneous chains"): the first block of a part is kept, or a part's beginning is run without being
kept and is treated, when its turn comes, as a part by itself. Their recursion, over all budgets at once:

    T(s, t, m) = min( f_s + b_s + T(s+1, t, m - kept_s),
                      min over s <= e < t of  sum f_s..f_e + T(e+1, t, m - cut_e) + T(s, e, m) )

What lies between two blocks is a set of tensors, not one: a U-Net's skip connections cross every
block between their ends. A tensor crosses a contiguous run of cuts, so what a further cut adds is what
crosses it and not the cut before, and the recursion stays exact. The schedules searched are those of
nested stretches of the chain; dropping one skip connection inside a stretch that is kept (as
Checkmate's integer program may, arXiv 1910.02653) is not among them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

# In the order of the forward pass: a block that is kept, or a stretch that is run without being kept and
# is then, before its backward pass, run by the schedule within.
Schedule = tuple[Any, ...]  # of int and Schedule
GRAINS = 4000  # a front of measured costs is exact to one part in so many of keeping everything


@dataclass(frozen=True)
class Cost:
    """One block: bytes beyond what was there before it, and seconds."""

    forward: float
    backward: float
    light_peak: int  # the most during a forward pass that keeps nothing; its outputs are in it
    full_peak: int  # the same of one that keeps what the backward pass needs
    kept: int  # what such a one leaves, its outputs among it
    backward_peak: int  # the most during the backward pass, its graph with it, beyond the outputs' gradients


@dataclass(frozen=True)
class Edge:
    """A tensor that block ``made`` makes and block ``used`` is the last to take; ``grad``: its gradient's."""

    made: int
    used: int
    bytes: int
    grad: int


@dataclass(frozen=True)
class Point:
    """A schedule, its peak in bytes and its seconds, forward and backward."""

    peak: int
    seconds: float
    schedule: Schedule


@dataclass(frozen=True)
class Chain:
    costs: tuple[Cost, ...]
    edges: tuple[Edge, ...] = ()

    def __len__(self) -> int:
        return len(self.costs)

    @functools.cached_property
    def _cuts(self) -> list[list[int]]:
        n = len(self)
        return [[sum(x.bytes for x in self.edges if s <= x.made <= e < x.used) for e in range(n)]
                for s in range(n)]

    def cut(self, s: int, e: int) -> int:
        """Bytes that blocks s..e have made and blocks after e need."""
        return self._cuts[s][e] if s <= e else 0

    @functools.cached_property
    def gradients(self) -> list[int]:
        """Bytes of the gradients that are there before the backward pass of each block."""
        return [sum(x.grad for x in self.edges if x.made <= e < x.used) for e in range(len(self))]

    def keep_peak(self, s: int, t: int) -> int:
        """Of keeping block ``s`` in a part that ends with ``t``, its own forward and backward pass."""
        c = self.costs[s]
        return max(c.full_peak + self.gradients[t], self.gradients[s] + c.backward_peak)

    def light_peak(self, s: int, e: int, t: int) -> int:
        """Of running s..e without keeping them, in a part that ends with ``t``."""
        most = max(self.cut(s, i - 1) + self.costs[i].light_peak for i in range(s, e + 1))
        return most + self.gradients[t]


def evaluate(chain: Chain, schedule: Schedule) -> Point:
    """Peak and seconds of one schedule."""
    return Point(*_evaluate(chain, schedule), schedule)


def _evaluate(chain: Chain, part: Schedule) -> tuple[int, float]:
    t = _last(part[-1])
    first, rest = part[0], part[1:]
    if isinstance(first, int):
        c = chain.costs[first]
        peak, seconds = chain.keep_peak(first, t), c.forward + c.backward
        if rest:
            more, after = _evaluate(chain, rest)
            peak, seconds = max(peak, c.kept + more), seconds + after
        return peak, seconds
    s, e = _first(first), _last(first)
    inner, again = _evaluate(chain, first)
    peak = max(chain.light_peak(s, e, t), inner)
    seconds = again + sum(c.forward for c in chain.costs[s : e + 1])
    if rest:
        more, after = _evaluate(chain, rest)
        peak, seconds = max(peak, chain.cut(s, e) + more), seconds + after
    return peak, seconds


def kept_by(chain: Chain, schedule: Schedule) -> int:
    """Bytes that are there between the forward and the backward pass."""
    return sum(
        chain.costs[node].kept if isinstance(node, int) else chain.cut(_first(node), _last(node))
        for node in schedule
    )


def _first(node: Any) -> int:
    return node if isinstance(node, int) else _first(node[0])


def _last(node: Any) -> int:
    return node if isinstance(node, int) else _last(node[-1])


def keep_all(n: int) -> Schedule:
    return tuple(range(n))


def recompute_all(n: int) -> Schedule:
    """Every block's input is kept and nothing else; the last needs no second run."""
    return (*((i,) for i in range(n - 1)), n - 1)


def square_root(n: int) -> Schedule:
    """Chen et al. (arXiv 1604.06174): about sqrt(n) stretches of as many blocks, the last one kept."""
    length = math.isqrt(n - 1) + 1
    stretches = [tuple(range(i, min(i + length, n))) for i in range(0, n, length)]
    return (*stretches[:-1], *stretches[-1])


# (peak, seconds, how): how is what follows a kept block, or (end, what follows, what is within)
_Step = tuple[int, float, Any]


def front(chain: Chain, grain: int | None = None) -> list[Point]:
    """All schedules that no other beats in both, by rising peak and falling seconds: the first is the
    least memory with which the chain can be run, the last keeps everything.

    Bytes are rounded up to multiples of ``grain``; 1 is exact, None one part in GRAINS of keeping all.
    """
    n = len(chain)
    if grain is None:
        grain = max(1, evaluate(chain, keep_all(n)).peak // GRAINS)
    fronts: dict[tuple[int, int], list[_Step]] = {}
    for length in range(1, n + 1):
        for s in range(n - length + 1):
            t = s + length - 1
            fronts[s, t] = _undominated(_steps(chain, fronts, s, t), grain)

    def schedule(s: int, t: int, how: Any) -> Schedule:
        if how is None:
            return (s,)
        if isinstance(how, tuple) and len(how) == 3:
            e, after, within = how
            return (schedule(s, e, within[2]), *schedule(e + 1, t, after[2]))
        return (s, *schedule(s + 1, t, how[0][2]))

    points = (evaluate(chain, schedule(0, n - 1, how)) for _, _, how in fronts[0, n - 1])
    # rounding may have hidden that one beats another
    best: list[Point] = []
    for point in sorted(points, key=lambda p: (p.peak, p.seconds)):
        if not best or point.seconds < best[-1].seconds:
            best.append(point)
    return best


def _steps(chain: Chain, fronts: dict[tuple[int, int], list[_Step]], s: int, t: int) -> Iterator[_Step]:
    """Candidates for the part s..t, from those of shorter parts."""
    own, c = chain.keep_peak(s, t), chain.costs[s]
    if s == t:
        yield own, c.forward + c.backward, None
        return
    for after in fronts[s + 1, t]:
        yield max(own, c.kept + after[0]), c.forward + c.backward + after[1], (after,)
    for e in range(s, t):
        light = chain.light_peak(s, e, t)
        forward, cut = sum(x.forward for x in chain.costs[s : e + 1]), chain.cut(s, e)
        for peak, after, within in _both(fronts[e + 1, t], cut, fronts[s, e]):
            yield max(light, peak), forward + after[1] + within[1], (e, after, within)


def _both(later: Sequence[_Step], cut: int, earlier: Sequence[_Step]) -> Iterator[tuple[int, _Step, _Step]]:
    """Pairs that could be best: at every peak the fastest of each front that stays below it."""
    i = j = 0
    while True:
        yield max(later[i][0] + cut, earlier[j][0]), later[i], earlier[j]
        following = [
            later[i + 1][0] + cut if i + 1 < len(later) else math.inf,
            earlier[j + 1][0] if j + 1 < len(earlier) else math.inf,
        ]
        if min(following) == math.inf:
            return
        if following[0] <= following[1]:
            i += 1
        else:
            j += 1


def _undominated(steps: Iterator[_Step], grain: int) -> list[_Step]:
    best: dict[int, _Step] = {}
    for peak, seconds, how in steps:
        peak = -(-peak // grain) * grain
        if peak not in best or seconds < best[peak][1]:
            best[peak] = (peak, seconds, how)
    kept: list[_Step] = []
    for peak in sorted(best):
        if not kept or best[peak][1] < kept[-1][1]:
            kept.append(best[peak])
    return kept


def _leaves(node: Schedule) -> int:
    return sum(1 if isinstance(inner, int) else _leaves(inner) for inner in node)
