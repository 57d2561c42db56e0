"""Optimal activation checkpointing of a chain: the least time at every peak memory.

A chain of blocks 0 .. n-1 is run forward and then backward. A saved block holds everything that its backward pass
needs; a recomputed block holds only its input and runs again before its backward pass. Implements the dynamic program
of Beaumont et al. (arXiv 1911.13214, "Optimal checkpointing for heterogeneous chains"): either the first block of a
segment is saved, or the beginning of the segment runs without saving and is later treated as a segment by itself. Over
all budgets m at once,

    T(s, t, m) = min( f_s + b_s + T(s+1, t, m - saved_s),
                      min over s <= e < t of  sum f_s..f_e + T(e+1, t, m - cut_e) + T(s, e, m) )

Between two blocks lies a set of tensors: a U-Net's skip connections cross every block between their ends. A tensor
crosses a contiguous run of cuts, so a further cut adds only the tensors that cross it and not the cut before, and the
recursion stays exact. The search covers nested stretches of the chain; it does not drop single skip connections inside
a saved stretch, as Checkmate's integer program can (arXiv 1910.02653).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

# In the order of the forward pass: an int is a saved block; a nested schedule is a stretch that first runs without
# saving, and runs again by that schedule before its backward pass.
RecomputeSchedule = tuple[Any, ...]  # of int and RecomputeSchedule
FRONT_GRAINS = 4000  # peaks are rounded to this fraction of the peak of saving everything


@dataclass(frozen=True)
class BlockCost:
    """Cost of one block: seconds, and bytes beyond those present before it."""

    forward: float
    backward: float
    no_grad_peak: int  # of a forward pass that saves nothing, including its outputs
    forward_peak: int  # of a forward pass that saves what the backward pass needs
    saved: int  # what it leaves behind, including its outputs
    backward_peak: int  # of the backward pass with its graph, without the outputs' gradients


@dataclass(frozen=True)
class TensorEdge:
    """A tensor from the block that produces it to the last block that consumes it."""

    producer: int
    last_consumer: int
    bytes: int
    grad_bytes: int


@dataclass(frozen=True)
class ParetoPoint:
    """A schedule with its peak in bytes and its seconds, forward plus backward."""

    peak: int
    seconds: float
    schedule: RecomputeSchedule


@dataclass(frozen=True)
class CostChain:
    """The measured costs of a chain of blocks and the tensors between them."""

    costs: tuple[BlockCost, ...]
    edges: tuple[TensorEdge, ...] = ()

    def __len__(self) -> int:
        return len(self.costs)

    @functools.cached_property
    def _cuts(self) -> list[list[int]]:
        def cut(s: int, e: int) -> int:
            return sum(x.bytes for x in self.edges if s <= x.producer <= e < x.last_consumer)

        return [[cut(s, e) for e in range(len(self))] for s in range(len(self))]

    def cut_bytes(self, s: int, e: int) -> int:
        """Return the bytes that blocks s..e produce and blocks after e need."""
        return self._cuts[s][e] if s <= e else 0

    @functools.cached_property
    def gradient_bytes(self) -> list[int]:
        """Bytes of the gradients present before the backward pass of each block."""
        return [sum(x.grad_bytes for x in self.edges if x.producer <= e < x.last_consumer) for e in range(len(self))]

    def block_peak(self, s: int, t: int) -> int:
        """Return the peak of block ``s``, saved in a segment that ends with ``t``, over both its passes."""
        c = self.costs[s]
        return max(c.forward_peak + self.gradient_bytes[t], self.gradient_bytes[s] + c.backward_peak)

    def no_grad_peak(self, s: int, e: int, t: int) -> int:
        """Return the peak of running s..e without saving, in a segment that ends with ``t``."""
        peak = max(self.cut_bytes(s, i - 1) + self.costs[i].no_grad_peak for i in range(s, e + 1))
        return peak + self.gradient_bytes[t]


def schedule_cost(chain: CostChain, schedule: RecomputeSchedule) -> ParetoPoint:
    """Compute the peak and seconds of one schedule."""
    first, rest, t = schedule[0], schedule[1:], _last_block(schedule)
    s, e = _first_block(first), _last_block(first)
    if isinstance(first, int):
        c = chain.costs[first]
        peak, seconds = chain.block_peak(first, t), c.forward + c.backward
    else:
        inner = schedule_cost(chain, first)
        peak = max(chain.no_grad_peak(s, e, t), inner.peak)
        seconds = inner.seconds + sum(c.forward for c in chain.costs[s : e + 1])
    if rest:
        after = schedule_cost(chain, rest)
        peak, seconds = max(peak, saved_bytes(chain, (first,)) + after.peak), seconds + after.seconds
    return ParetoPoint(peak, seconds, schedule)


def saved_bytes(chain: CostChain, schedule: RecomputeSchedule) -> int:
    """Return the bytes held between the forward and the backward pass."""
    bounds = [(node, _first_block(node), _last_block(node)) for node in schedule]
    return sum(chain.costs[s].saved if isinstance(node, int) else chain.cut_bytes(s, e) for node, s, e in bounds)


def _first_block(node: Any) -> int:
    return node if isinstance(node, int) else _first_block(node[0])


def _last_block(node: Any) -> int:
    return node if isinstance(node, int) else _last_block(node[-1])


def save_all_schedule(num_blocks: int) -> RecomputeSchedule:
    """Save every block and recompute none."""
    return tuple(range(num_blocks))


def recompute_all_schedule(num_blocks: int) -> RecomputeSchedule:
    """Save every block's input and nothing else; the last block need not run again."""
    return (*((i,) for i in range(num_blocks - 1)), num_blocks - 1)


def sqrt_schedule(num_blocks: int) -> RecomputeSchedule:
    """Split into about sqrt(n) stretches of as many blocks, the last one saved (Chen et al., arXiv 1604.06174)."""
    length = math.isqrt(num_blocks - 1) + 1
    stretches = [tuple(range(i, min(i + length, num_blocks))) for i in range(0, num_blocks, length)]
    return (*stretches[:-1], *stretches[-1])


# (peak, seconds, how): how is the rest after a saved block, or (end of the stretch, rest, schedule of the stretch)
_Partial = tuple[int, float, Any]


def pareto_front(chain: CostChain, grain: int | None = None) -> list[ParetoPoint]:
    """Return all Pareto-optimal schedules by increasing peak and decreasing seconds.

    The first needs the least memory with which the chain can run; the last saves everything. Peaks are rounded up to
    multiples of ``grain`` bytes: 1 is exact, None is 1 / FRONT_GRAINS of the peak of saving everything.
    """
    n = len(chain)
    if grain is None:
        grain = max(1, schedule_cost(chain, save_all_schedule(n)).peak // FRONT_GRAINS)
    fronts: dict[tuple[int, int], list[_Partial]] = {}
    for length in range(1, n + 1):
        for s in range(n - length + 1):
            t = s + length - 1
            fronts[s, t] = _prune_dominated(_candidates(chain, fronts, s, t), grain)

    def build_schedule(s: int, t: int, how: Any) -> RecomputeSchedule:
        if how is None:
            return (s,)
        if isinstance(how, tuple) and len(how) == 3:
            e, after, within = how
            return (build_schedule(s, e, within[2]), *build_schedule(e + 1, t, after[2]))
        return (s, *build_schedule(s + 1, t, how[0][2]))

    points = (schedule_cost(chain, build_schedule(0, n - 1, how)) for _, _, how in fronts[0, n - 1])
    # rounding may have hidden that one dominates another
    best: list[ParetoPoint] = []
    for point in sorted(points, key=lambda p: (p.peak, p.seconds)):
        if not best or point.seconds < best[-1].seconds:
            best.append(point)
    return best


def _candidates(chain: CostChain, fronts: dict[tuple[int, int], list[_Partial]], s: int, t: int) -> Iterator[_Partial]:
    """Yield candidates for the segment s..t from the fronts of shorter segments."""
    block_peak, c = chain.block_peak(s, t), chain.costs[s]
    if s == t:
        yield block_peak, c.forward + c.backward, None
        return
    for after in fronts[s + 1, t]:
        yield max(block_peak, c.saved + after[0]), c.forward + c.backward + after[1], (after,)
    for e in range(s, t):
        no_grad_peak = chain.no_grad_peak(s, e, t)
        forward_seconds, cut_bytes = sum(x.forward for x in chain.costs[s : e + 1]), chain.cut_bytes(s, e)
        for peak, after, within in _merge_fronts(fronts[e + 1, t], cut_bytes, fronts[s, e]):
            yield max(no_grad_peak, peak), forward_seconds + after[1] + within[1], (e, after, within)


def _merge_fronts(
    later: Sequence[_Partial], cut_bytes: int, earlier: Sequence[_Partial]
) -> Iterator[tuple[int, _Partial, _Partial]]:
    """Yield the pairs that can be optimal: at every peak the fastest of each front below it."""
    i = j = 0
    while True:
        yield max(later[i][0] + cut_bytes, earlier[j][0]), later[i], earlier[j]
        next_later = later[i + 1][0] + cut_bytes if i + 1 < len(later) else math.inf
        next_earlier = earlier[j + 1][0] if j + 1 < len(earlier) else math.inf
        if next_later == next_earlier == math.inf:
            return
        if next_later <= next_earlier:
            i += 1
        else:
            j += 1


def _prune_dominated(candidates: Iterator[_Partial], grain: int) -> list[_Partial]:
    best: dict[int, _Partial] = {}
    for peak, seconds, how in candidates:
        peak = -(-peak // grain) * grain
        if peak not in best or seconds < best[peak][1]:
            best[peak] = (peak, seconds, how)
    pruned: list[_Partial] = []
    for peak in sorted(best):
        if not pruned or best[peak][1] < pruned[-1][1]:
            pruned.append(best[peak])
    return pruned


def count_recomputed(schedule: RecomputeSchedule) -> int:
    """Return the number of blocks that a schedule runs more than once."""

    def count(node: Any) -> int:
        return 1 if isinstance(node, int) else sum(map(count, node))

    return sum(count(node) for node in schedule if not isinstance(node, int))
