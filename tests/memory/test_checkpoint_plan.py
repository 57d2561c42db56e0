"""The planner: the best of all schedules, by a twin that tries them all and one that plays them through."""

from __future__ import annotations

import random

import pytest
import torch

from dreamfusion3d.core.errors import InputError
from dreamfusion3d.memory import budget as amount
from dreamfusion3d.memory.checkpoint_plan import (
    BlockCost,
    CostChain,
    TensorEdge,
    pareto_front,
    recompute_all_schedule,
    save_all_schedule,
    saved_bytes,
    schedule_cost,
    sqrt_schedule,
)
from dreamfusion3d.memory.checkpointed import Block, run_checkpointed
from dreamfusion3d.memory.profiler import extrapolate_chain, measure_memory, profile_chain

CPU = torch.device("cpu")


def some_chain(n: int, seed: int, skips: int = 0) -> CostChain:
    lot = random.Random(seed)
    edges = [TensorEdge(i, i + 1, lot.randint(1, 9), lot.randint(0, 9)) for i in range(n - 1)]
    for _ in range(skips):
        made, used = sorted(lot.sample(range(n), 2))
        edges.append(TensorEdge(made, used, lot.randint(1, 9), lot.randint(0, 9)))
    costs = []
    for i in range(n):
        out = sum(e.bytes for e in edges if e.producer == i)
        kept = out + lot.randint(0, 20)
        costs.append(
            BlockCost(
                float(lot.randint(1, 9)),
                float(lot.randint(1, 9)),
                out + lot.randint(0, 5),
                kept + lot.randint(0, 5),
                kept,
                kept + lot.randint(-9, 12),
            )
        )
    return CostChain(tuple(costs), tuple(edges))


def every_schedule(s: int, t: int):
    """Of the blocks s..t, the slow way."""
    if s == t:
        yield (s,)
        return
    for rest in every_schedule(s + 1, t):
        yield (s, *rest)
    for e in range(s, t):
        for within in every_schedule(s, e):
            for rest in every_schedule(e + 1, t):
                yield (within, *rest)


@pytest.mark.parametrize(("seed", "skips"), [(0, 0), (1, 0), (2, 2), (3, 3), (4, 1)])
def test_at_every_budget_no_schedule_is_faster(seed, skips):
    chain = some_chain(5, seed, skips)
    points = pareto_front(chain, grain=1)
    tried = [schedule_cost(chain, s) for s in every_schedule(0, 4)]
    assert points[0].peak == min(p.peak for p in tried)
    for budget in range(points[0].peak, max(p.peak for p in tried) + 1):
        mine = [p.seconds for p in points if p.peak <= budget][-1]
        assert mine == min(p.seconds for p in tried if p.peak <= budget)
    assert [p.peak for p in points] == sorted({p.peak for p in points})
    assert all(a.seconds > b.seconds for a, b in zip(points, points[1:], strict=False))


@pytest.mark.parametrize("seed", range(4))
def test_the_known_ways_are_never_better(seed):
    chain = some_chain(14, seed, skips=5)
    points = pareto_front(chain, grain=1)
    for way in (save_all_schedule, recompute_all_schedule, sqrt_schedule):
        point = schedule_cost(chain, way(14))
        mine = [p for p in points if p.peak <= point.peak]
        assert mine and mine[-1].seconds <= point.seconds, way.__name__
    assert points[-1].seconds == schedule_cost(chain, save_all_schedule(14)).seconds
    rounded = pareto_front(chain)
    assert rounded[-1].seconds == points[-1].seconds and rounded[0].peak <= 1.01 * points[0].peak


def played(chain: CostChain, schedule) -> int:
    """The peak by a ledger of everything that is held, event by event; the twin of ``evaluate``."""
    held, peak = {}, 0

    def see(extra: int = 0) -> None:
        nonlocal peak
        peak = max(peak, sum(held.values()) + extra)

    def crossing(s: int, e: int) -> int:
        return sum(x.bytes for x in chain.edges if s <= x.producer <= e < x.last_consumer)

    def leaves(node):
        return [node] if isinstance(node, int) else [x for inner in node for x in leaves(inner)]

    def forward(part) -> None:
        for node in part:
            if isinstance(node, int):
                see(chain.costs[node].forward_peak)
                held["kept", node] = chain.costs[node].saved
            else:
                first, last = leaves(node)[0], leaves(node)[-1]
                for i in range(first, last + 1):
                    see(crossing(first, i - 1) + chain.costs[i].no_grad_peak)
                held["cut", first, last] = crossing(first, last)

    def backward(part) -> None:
        for node in reversed(part):
            if isinstance(node, int):
                held["gradient"] = chain.gradient_bytes[node]
                del held["kept", node]  # what of it the graph holds is in the peak
                see(chain.costs[node].backward_peak)
            else:
                first, last = leaves(node)[0], leaves(node)[-1]
                del held["cut", first, last]
                held["gradient"] = chain.gradient_bytes[last]
                forward(node)
                backward(node)

    forward(schedule)
    backward(schedule)
    return peak


@pytest.mark.parametrize("seed", range(6))
def test_peaks_are_those_of_a_ledger(seed):
    chain = some_chain(6, seed, skips=seed % 3)
    schedules = list(every_schedule(0, 5))
    for schedule in random.Random(seed).sample(schedules, 60):
        assert schedule_cost(chain, schedule).peak == played(chain, schedule)


def tower(n: int = 9) -> tuple[list[Block], dict[str, torch.Tensor], list[torch.Tensor]]:
    """Blocks of one to three layers, with one connection that skips four of them."""
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(16, 16, generator=generator).requires_grad_() for _ in range(n)]

    def block(i: int) -> Block:
        def run(state):
            h = state["x"]
            for _ in range(1 + i % 3):
                h = torch.tanh(h @ weights[i] / 4)
            if i == 1:
                return {"x": h, "skip": 2 * h}
            if i == n - 3:
                return {"x": h + state["skip"]}
            return {"loss": h.square().mean()} if i == n - 1 else {"x": h}

        return Block(str(i), run, {n - 3: ("skip",), n - 1: ("x",)}.get(i, ()))

    return [block(i) for i in range(n)], {"x": torch.randn(2000, 16, generator=generator)}, weights


def test_gradients_and_peaks_of_every_schedule_on_the_front():
    blocks, state, weights = tower()
    chain = profile_chain(blocks, state, CPU, weights)
    points = pareto_front(chain)
    known = [
        schedule_cost(chain, way(len(blocks))) for way in (save_all_schedule, recompute_all_schedule, sqrt_schedule)
    ]
    assert len(points) > 4 and points[0].peak < 0.5 * points[-1].peak
    wanted = None
    for point in [points[-1], *points, *known]:
        for w in weights:
            w.grad = torch.zeros_like(w)
        grads = [w.grad for w in weights]
        with measure_memory(CPU, [*state.values(), *weights, *grads]) as meter:
            run_checkpointed(blocks, point.schedule, state)["loss"].backward()
            peak = meter.peak_bytes()
        found = torch.cat([w.grad.flatten() for w in weights])
        wanted = found if wanted is None else wanted
        assert (found - wanted).abs().max() <= 1e-6 * wanted.abs().max()
        assert abs(peak / point.peak - 1) < 0.1, (peak, point)


def test_a_gradient_waits_no_longer_than_for_the_last_that_gives_one():
    """A tensor that the last block looks at, and that learns from an earlier one."""

    def begin(state):
        return {"x": state["x"] * weight, "seen": state["x"] * weight}

    def learn(state):
        return {"x": state["x"] * state["seen"]}

    def look(state):
        return {"loss": (state["x"] * state["seen"].detach()).sum()}

    weight, x = torch.ones(16).requires_grad_(), torch.ones(100, 16)
    blocks = [Block("begin", begin), Block("learn", learn), Block("look", look, ("x", "seen"))]
    chain = profile_chain(blocks, {"x": x}, CPU, [weight])
    size = x.nbytes
    assert chain.cut_bytes(0, 1) == 2 * size and chain.cut_bytes(0, 0) == 2 * size
    assert chain.gradient_bytes == [2 * size, size, 0], "the last one wants x alone"
    assert saved_bytes(chain, (0, 1, 2)) == sum(c.saved for c in chain.costs)
    assert saved_bytes(chain, ((0, 1), 2)) == 2 * size + chain.costs[2].saved


def test_costs_grow_with_size_along_a_line():
    blocks, state, weights = tower()
    small, large, larger = (profile_chain(blocks, {"x": state["x"][:n]}, CPU, weights) for n in (200, 400, 1600))
    told = extrapolate_chain(small, large, (200, 400), 1600)
    for wanted, found in zip(larger.costs, told.costs, strict=True):
        assert (found.saved, found.forward_peak, found.backward_peak) == (
            wanted.saved,
            wanted.forward_peak,
            wanted.backward_peak,
        )
        assert found.forward > 0
    assert told.edges == larger.edges
    assert all(w.grad is None for w in weights), "as they were"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("8GB", 8_000_000_000),
        ("1.5 GiB", 3 << 29),
        ("900MB", 900_000_000),
        ("900m", 900_000_000),
        (" 2tb ", 2 * 10**12),
        ("4000000", 4_000_000),
        ("512MiB", 512 << 20),
    ],
)
def test_amounts_are_read(text, wanted):
    assert amount.parse_bytes(text) == wanted


@pytest.mark.parametrize("text", ["", "much", "-8GB", "8 GBs", "8G 2M", "nan", "8"])
def test_what_is_no_amount_is_said(text):
    with pytest.raises(InputError, match="--max-memory"):
        amount.parse_bytes(text)


@pytest.mark.parametrize(
    ("text", "mend"),
    [("8", "write the unit"), ("900000", "write the unit"), ("1MB", "give more"), ("5 k", "give more")],
)
def test_a_slip_of_the_pen(text, mend):
    with pytest.raises(InputError, match=f"less than 1 MiB; {mend}"):
        amount.parse_bytes(text)


def test_amounts_are_shown_rounded_up():
    assert amount.format_bytes(1_500_000_001) == "1.51 GB" and amount.format_bytes(340_000_001) == "341 MB"
    assert amount.parse_bytes(amount.format_bytes(123_456_789)) >= 123_456_789


def test_running_out_is_known_from_other_errors():
    assert amount.is_out_of_memory(MemoryError()) and amount.is_out_of_memory(torch.cuda.OutOfMemoryError("no"))
    assert amount.is_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried"))
    assert not amount.is_out_of_memory(RuntimeError("shapes differ")) and not amount.is_out_of_memory(ValueError())
    assert amount.used_bytes(CPU) > 10 << 20
