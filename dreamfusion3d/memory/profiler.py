"""Bytes that a computation takes, measured: every tensor's memory from its making to its end.

On CUDA the allocator counts. On a CPU it is counted here, whatever the C library does with it: every
storage that an operation gives or takes, until it is freed. What a kernel uses within one operation
is not seen.
"""

from __future__ import annotations

import contextlib
import functools
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, no_type_check, runtime_checkable

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dreamfusion3d.memory.checkpoint_plan import Chain, Cost, Edge
from dreamfusion3d.memory.checkpointed import Block, State

REPEATS = 2  # of a timed pass, of which the fastest counts


@runtime_checkable
class Meter(Protocol):
    def live(self) -> int: ...

    def peak(self) -> int:
        """The most since ``reset``."""
        ...

    def reset(self) -> None: ...


class _Counted(TorchDispatchMode):
    """Of a CPU."""

    def __init__(self, ignored: Iterable[Tensor]) -> None:
        super().__init__()
        self._live = self._peak = 0
        self._seen: dict[int, weakref.ref[Any] | None] = {}
        self._ignored = [t.untyped_storage() for t in ignored]  # held, so that no new one takes their place
        for storage in self._ignored:
            self._seen[storage._cdata] = None

    def live(self) -> int:
        return self._live

    def peak(self) -> int:
        return self._peak

    def reset(self) -> None:
        self._peak = self._live

    @no_type_check
    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        # numba's results first show themselves as an operation's arguments
        for leaf in tree_leaves((args, kwargs)):
            self._note(leaf)
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            self._note(leaf)
        return made

    @no_type_check  # for every tensor of every operation: the test run's checker would take most of the time
    def _note(self, leaf):
        if not isinstance(leaf, Tensor):
            return
        storage = leaf.untyped_storage()
        key = storage._cdata
        if key in self._seen:
            return
        size = storage.nbytes()
        self._seen[key] = weakref.ref(storage, functools.partial(self._freed, key, size))
        self._live += size
        self._peak = max(self._peak, self._live)

    @no_type_check
    def _freed(self, key, size, _):
        self._live -= size
        del self._seen[key]


class _Allocator:
    """Of a CUDA device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def live(self) -> int:
        torch.cuda.synchronize(self.device)
        return torch.cuda.memory_allocated(self.device)

    def peak(self) -> int:
        torch.cuda.synchronize(self.device)
        return torch.cuda.max_memory_allocated(self.device)

    def reset(self) -> None:
        torch.cuda.reset_peak_memory_stats(self.device)


@contextlib.contextmanager
def metered(device: torch.device, ignored: Iterable[Tensor] = ()) -> Iterator[Meter]:
    """A meter of what is made within; ``ignored`` was there before, with all that shares its memory."""
    if device.type == "cuda":
        yield _Allocator(device)
        return
    with _Counted(ignored) as meter:
        yield meter


def seconds_of(device: torch.device, run: Callable[[], Any], repeats: int = REPEATS) -> float:
    """The fastest of some runs."""
    best = float("inf")
    for _ in range(repeats):
        _wait(device)
        begun = time.perf_counter()
        run()
        _wait(device)
        best = min(best, time.perf_counter() - begun)
    return best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextlib.contextmanager
def as_found(parameters: list[Tensor]) -> Iterator[list[Tensor]]:
    """Parameters with gradients of zero, the parameters' own being given back at the end; all of them."""
    before = [p.grad for p in parameters]
    for p in parameters:
        p.grad = torch.zeros_like(p)
    try:
        yield [*parameters, *(p.grad for p in parameters if p.grad is not None)]
    finally:
        for p, grad in zip(parameters, before, strict=True):
            p.grad = grad


def measured(
    blocks: Sequence[Block], state: State, device: torch.device, parameters: Sequence[Tensor] = ()
) -> Chain:
    """The costs of a chain, each block run by itself from what the one before it gave.

    ``parameters`` and their gradients, which are given back as they were, count as being there already.
    The last block's outputs are what the backward pass begins with.
    """
    costs, lives = [], _Edges(state)
    # what backward adds to: the real one's is a part of what is held
    with as_found([p for p in parameters if p.requires_grad]) as learning:
        there = [*parameters, *learning, *state.values()]
        for i, block in enumerate(blocks):
            cost, state, wanted = _measure(block, state, device, there)
            costs.append(cost)
            lives.after(i, state, wanted)
    return Chain(tuple(costs), lives.edges())


class _Edges:
    """Who makes what crosses from block to block, and who is the last to take it, and the last to give it
    a gradient; one entry a storage."""

    def __init__(self, state: State) -> None:
        self.given = set(map(_storage, state.values()))
        self.open: dict[int, tuple[int, Tensor]] = {}  # storage -> made; held, so that none takes its place
        self.wanted: dict[int, int] = {}  # storage -> the last block that gave it a gradient
        self.done: list[Edge] = []

    def after(self, i: int, state: State, wanted: set[int]) -> None:
        self.wanted.update(dict.fromkeys(wanted, i))
        there = {_storage(value): value for value in state.values()}
        for key, (made, value) in list(self.open.items()):
            if key not in there:
                del self.open[key]
                size, last = value.untyped_storage().nbytes(), self.wanted.pop(key, made)
                self.done.append(Edge(made, i, size, size if last == i else 0))
                if made < last < i:
                    self.done.append(Edge(made, last, 0, size))
        for key, value in there.items():
            if key not in self.open and key not in self.given:
                self.open[key] = (i, value)

    def edges(self) -> tuple[Edge, ...]:
        """What is left at the end is nobody's input."""
        return tuple(self.done)


def _storage(value: Tensor) -> int:
    return int(value.untyped_storage()._cdata)


def _measure(
    block: Block, state: State, device: torch.device, there: list[Tensor]
) -> tuple[Cost, State, set[int]]:
    """Its cost, what it gives, and the storages of the inputs that have a gradient from it."""
    inputs = {k: v.detach().requires_grad_(v.requires_grad) for k, v in state.items()}
    with metered(device, [*there, *inputs.values()]) as meter:
        start = meter.live()
        meter.reset()
        with torch.no_grad():
            made = block(inputs)
        light_peak = meter.peak() - start
        del made
        start = meter.live()
        meter.reset()
        made = block(inputs)
        full_peak, kept = meter.peak() - start, meter.live() - start
        # detached, so that this block's graph ends here
        after = {
            k: state[k] if v is inputs.get(k) else v.detach().requires_grad_(v.requires_grad)
            for k, v in made.items()
        }
        del made
        backward_peak = _backward_peak(block, inputs, meter)
    wanted = {_storage(value) for value in inputs.values() if value.grad is not None}
    forward, whole = _timed(block, inputs, device)
    return Cost(forward, max(whole - forward, 0.0), light_peak, full_peak, kept, backward_peak), after, wanted


def _backward_peak(block: Block, inputs: State, meter: Meter) -> int:
    """From a graph whose outputs nobody else holds: when a block's turn comes, later ones have let go."""
    start = meter.live()
    outputs = _roots(block(inputs), inputs)
    if not outputs:
        return 0
    given = sum(t.numel() * t.element_size() for t in outputs)
    seed = _Seed.apply(*outputs)
    del outputs
    meter.reset()
    seed.backward()
    return max(0, meter.peak() - start - given)


class _Seed(torch.autograd.Function):
    """The beginning of a backward pass whose gradients nobody else holds, as those of a later block's."""

    @staticmethod
    def forward(ctx: Any, *outputs: Tensor) -> Tensor:
        ctx.forms = [(t.shape, t.dtype, t.device) for t in outputs]
        return torch.zeros(())

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> Any:
        return tuple(torch.ones(shape, dtype=dtype, device=device) for shape, dtype, device in ctx.forms)


def _roots(made: State, inputs: State) -> list[Tensor]:
    return [v for k, v in made.items() if v.requires_grad and v is not inputs.get(k)]


def _timed(block: Block, inputs: State, device: torch.device) -> tuple[float, float]:
    """Seconds of the forward pass, and of both."""
    def forward() -> State:
        return block(inputs)

    def both() -> None:
        made = block(inputs)
        outputs = _roots(made, inputs)
        if outputs:
            torch.autograd.backward(outputs, [torch.ones_like(t) for t in outputs])

    return seconds_of(device, forward), seconds_of(device, both)


def scaled(small: Chain, large: Chain, sizes: tuple[int, int], size: int) -> Chain:
    """The chain at another batch size, by the line through two that were measured."""
    share = (size - sizes[0]) / (sizes[1] - sizes[0])

    def line(a: int, b: int) -> float:
        return a + share * (b - a)

    def whole(a: int, b: int) -> int:
        return max(0, round(line(a, b)))

    costs = tuple(
        Cost(
            # two timings of little work differ by chance: time never falls with size
            _seconds(a.forward, b.forward, sizes, size), _seconds(a.backward, b.backward, sizes, size),
            whole(a.light_peak, b.light_peak), whole(a.full_peak, b.full_peak), whole(a.kept, b.kept),
            whole(a.backward_peak, b.backward_peak),
        )
        for a, b in zip(small.costs, large.costs, strict=True)
    )
    edges = tuple(
        Edge(a.made, a.used, whole(a.bytes, b.bytes), whole(a.grad, b.grad))
        for a, b in zip(small.edges, large.edges, strict=True)
    )
    return Chain(costs, edges)


def _seconds(a: float, b: float, sizes: tuple[int, int], size: int) -> float:
    slope = min(max((b - a) / (sizes[1] - sizes[0]), 0.0), b / sizes[1])
    return max(b + slope * (size - sizes[1]), 0.0)


@dataclass(frozen=True)
class Line:
    """Bytes or seconds by size, through two measured sizes; never falling."""

    sizes: tuple[int, int]
    values: tuple[float, float]

    def at(self, size: int) -> float:
        (a, b), (low, high) = self.sizes, self.values
        slope = min(max((high - low) / (b - a), 0.0), high / b)
        return max(high + slope * (size - b), 0.0)
