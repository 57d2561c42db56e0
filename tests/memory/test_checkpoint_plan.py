"""Checkpointing schedules against exhaustive search and a step-by-step simulation; profiling; budgets."""

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
from dreamfusion3d.memory.meter import measure_memory
from dreamfusion3d.memory.profiler import extrapolate_chain, profile_chain

CPU = torch.device("cpu")


def random_chain(n: int, seed: int, skips: int = 0) -> CostChain:
    rng = random.Random(seed)
    edges = [TensorEdge(i, i + 1, rng.randint(1, 9), rng.randint(0, 9)) for i in range(n - 1)]
    for _ in range(skips):
        producer, consumer = sorted(rng.sample(range(n), 2))
        edges.append(TensorEdge(producer, consumer, rng.randint(1, 9), rng.randint(0, 9)))
    costs = []
    for i in range(n):
        output_bytes = sum(e.bytes for e in edges if e.producer == i)
        saved = output_bytes + rng.randint(0, 20)
        costs.append(
            BlockCost(
                float(rng.randint(1, 9)),
                float(rng.randint(1, 9)),
                output_bytes + rng.randint(0, 5),
                saved + rng.randint(0, 5),
                saved,
                saved + rng.randint(-9, 12),
            )
        )
    return CostChain(tuple(costs), tuple(edges))


def every_schedule(s: int, t: int):
    """Enumerate all schedules of the blocks s..t."""
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
def test_pareto_front_is_optimal_at_every_budget(seed, skips):
    chain = random_chain(5, seed, skips)
    points = pareto_front(chain, grain=1)
    all_points = [schedule_cost(chain, s) for s in every_schedule(0, 4)]
    assert points[0].peak == min(p.peak for p in all_points)
    for budget in range(points[0].peak, max(p.peak for p in all_points) + 1):
        ours = [p.seconds for p in points if p.peak <= budget][-1]
        assert ours == min(p.seconds for p in all_points if p.peak <= budget)
    assert [p.peak for p in points] == sorted({p.peak for p in points})
    assert all(a.seconds > b.seconds for a, b in zip(points, points[1:], strict=False))


@pytest.mark.parametrize("seed", range(4))
def test_pareto_front_is_never_worse_than_known_schedules(seed):
    chain = random_chain(14, seed, skips=5)
    points = pareto_front(chain, grain=1)
    for make_schedule in (save_all_schedule, recompute_all_schedule, sqrt_schedule):
        point = schedule_cost(chain, make_schedule(14))
        ours = [p for p in points if p.peak <= point.peak]
        assert ours and ours[-1].seconds <= point.seconds, make_schedule.__name__
    assert points[-1].seconds == schedule_cost(chain, save_all_schedule(14)).seconds
    rounded = pareto_front(chain)
    assert rounded[-1].seconds == points[-1].seconds and rounded[0].peak <= 1.01 * points[0].peak


def simulated_peak(chain: CostChain, schedule) -> int:
    """Compute the peak by simulating every allocation; the reference of `schedule_cost`."""
    held, peak = {}, 0

    def record(extra: int = 0) -> None:
        nonlocal peak
        peak = max(peak, sum(held.values()) + extra)

    def crossing(s: int, e: int) -> int:
        return sum(x.bytes for x in chain.edges if s <= x.producer <= e < x.last_consumer)

    def leaves(node):
        return [node] if isinstance(node, int) else [x for inner in node for x in leaves(inner)]

    def forward(part) -> None:
        for node in part:
            if isinstance(node, int):
                record(chain.costs[node].forward_peak)
                held["saved", node] = chain.costs[node].saved
            else:
                first, last = leaves(node)[0], leaves(node)[-1]
                for i in range(first, last + 1):
                    record(crossing(first, i - 1) + chain.costs[i].no_grad_peak)
                held["cut", first, last] = crossing(first, last)

    def backward(part) -> None:
        for node in reversed(part):
            if isinstance(node, int):
                held["gradient"] = chain.gradient_bytes[node]
                del held["saved", node]  # what the graph holds of it is in the peak
                record(chain.costs[node].backward_peak)
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
def test_schedule_cost_matches_simulation(seed):
    chain = random_chain(6, seed, skips=seed % 3)
    schedules = list(every_schedule(0, 5))
    for schedule in random.Random(seed).sample(schedules, 60):
        assert schedule_cost(chain, schedule).peak == simulated_peak(chain, schedule)


def tower(n: int = 9) -> tuple[list[Block], dict[str, torch.Tensor], list[torch.Tensor]]:
    """Make blocks of one to three layers with one skip connection over four of them."""
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


def test_run_checkpointed_keeps_gradients_and_predicted_peaks():
    blocks, state, weights = tower()
    chain = profile_chain(blocks, state, CPU, weights)
    points = pareto_front(chain)
    known = [
        schedule_cost(chain, make_schedule(len(blocks)))
        for make_schedule in (save_all_schedule, recompute_all_schedule, sqrt_schedule)
    ]
    assert len(points) > 4 and points[0].peak < 0.5 * points[-1].peak
    expected = None
    for point in [points[-1], *points, *known]:
        for w in weights:
            w.grad = torch.zeros_like(w)
        grads = [w.grad for w in weights]
        with measure_memory(CPU, [*state.values(), *weights, *grads]) as meter:
            run_checkpointed(blocks, point.schedule, state)["loss"].backward()
            peak = meter.peak_bytes()
        found = torch.cat([w.grad.flatten() for w in weights])
        expected = found if expected is None else expected
        assert (found - expected).abs().max() <= 1e-6 * expected.abs().max()
        assert abs(peak / point.peak - 1) < 0.1, (peak, point)


def test_profile_chain_ends_gradients_with_the_last_block_that_gives_one():
    """The last block reads a tensor whose gradient comes from an earlier block only."""

    def begin(state):
        return {"x": state["x"] * weight, "detached": state["x"] * weight}

    def multiply(state):
        return {"x": state["x"] * state["detached"]}

    def read(state):
        return {"loss": (state["x"] * state["detached"].detach()).sum()}

    weight, x = torch.ones(16).requires_grad_(), torch.ones(100, 16)
    blocks = [Block("begin", begin), Block("multiply", multiply), Block("read", read, ("x", "detached"))]
    chain = profile_chain(blocks, {"x": x}, CPU, [weight])
    size = x.nbytes
    assert chain.cut_bytes(0, 1) == 2 * size and chain.cut_bytes(0, 0) == 2 * size
    assert chain.gradient_bytes == [2 * size, size, 0], "the last block needs the gradient of x only"
    assert saved_bytes(chain, (0, 1, 2)) == sum(c.saved for c in chain.costs)
    assert saved_bytes(chain, ((0, 1), 2)) == 2 * size + chain.costs[2].saved


def test_extrapolate_chain_matches_profile_at_larger_size():
    blocks, state, weights = tower()
    small, large, larger = (profile_chain(blocks, {"x": state["x"][:n]}, CPU, weights) for n in (200, 400, 1600))
    extrapolated = extrapolate_chain(small, large, (200, 400), 1600)
    for expected, found in zip(larger.costs, extrapolated.costs, strict=True):
        assert (found.saved, found.forward_peak, found.backward_peak) == (
            expected.saved,
            expected.forward_peak,
            expected.backward_peak,
        )
        assert found.forward > 0
    assert extrapolated.edges == larger.edges
    assert all(w.grad is None for w in weights), "gradients are restored"


@pytest.mark.parametrize(
    ("text", "expected"),
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
def test_parse_bytes(text, expected):
    assert amount.parse_bytes(text) == expected


@pytest.mark.parametrize("text", ["", "much", "-8GB", "8 GBs", "8G 2M", "nan", "8"])
def test_parse_bytes_rejects_malformed_amounts(text):
    with pytest.raises(InputError, match="--max-memory"):
        amount.parse_bytes(text)


@pytest.mark.parametrize(
    ("text", "hint"), [("8", "Add the unit"), ("900000", "Add the unit"), ("1MB", "Give more"), ("5 k", "Give more")]
)
def test_parse_bytes_rejects_tiny_amounts(text, hint):
    with pytest.raises(InputError, match=f"less than 1 MiB. {hint}"):
        amount.parse_bytes(text)


def test_format_bytes_rounds_up():
    assert amount.format_bytes(1_500_000_001) == "1.51 GB" and amount.format_bytes(340_000_001) == "341 MB"
    assert amount.parse_bytes(amount.format_bytes(123_456_789)) >= 123_456_789


def test_is_out_of_memory_recognizes_errors():
    assert amount.is_out_of_memory(MemoryError()) and amount.is_out_of_memory(torch.cuda.OutOfMemoryError("no"))
    assert amount.is_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried"))
    assert not amount.is_out_of_memory(RuntimeError("shapes differ")) and not amount.is_out_of_memory(ValueError())
    assert amount.used_bytes(CPU) > 10 << 20
