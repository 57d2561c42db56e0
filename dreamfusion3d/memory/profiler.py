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

from dreamfusion3d.memory.checkpoint_plan import BlockCost, CostChain, TensorEdge
from dreamfusion3d.memory.checkpointed import Activations, Block

TIMING_REPEATS = 2  # of a timed pass, of which the fastest counts


@runtime_checkable
class MemoryMeter(Protocol):
    def live_bytes(self) -> int: ...

    def peak_bytes(self) -> int:
        """The most since ``reset``."""
        ...

    def reset(self) -> None: ...


class _CpuMeter(TorchDispatchMode):
    """Of a CPU."""

    def __init__(self, ignored: Iterable[Tensor]) -> None:
        super().__init__()
        self._live = self._peak = 0
        self._storages: dict[int, weakref.ref[Any] | None] = {}
        self._ignored = [t.untyped_storage() for t in ignored]  # held, so that no new one takes their place
        for storage in self._ignored:
            self._storages[storage._cdata] = None

    def live_bytes(self) -> int:
        return self._live

    def peak_bytes(self) -> int:
        return self._peak

    def reset(self) -> None:
        self._peak = self._live

    @no_type_check
    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        # numba's results first show themselves as an operation's arguments
        for leaf in tree_leaves((args, kwargs)):
            self._count(leaf)
        outputs = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(outputs):
            self._count(leaf)
        return outputs

    @no_type_check  # for every tensor of every operation: the test run's checker would take most of the time
    def _count(self, leaf):
        if not isinstance(leaf, Tensor):
            return
        storage = leaf.untyped_storage()
        key = storage._cdata
        if key in self._storages:
            return
        size = storage.nbytes()
        self._storages[key] = weakref.ref(storage, functools.partial(self._freed, key, size))
        self._live += size
        self._peak = max(self._peak, self._live)

    @no_type_check
    def _freed(self, key, size, _):
        self._live -= size
        del self._storages[key]


class _CudaMeter:
    """Of a CUDA device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def live_bytes(self) -> int:
        torch.cuda.synchronize(self.device)
        return torch.cuda.memory_allocated(self.device)

    def peak_bytes(self) -> int:
        torch.cuda.synchronize(self.device)
        return torch.cuda.max_memory_allocated(self.device)

    def reset(self) -> None:
        torch.cuda.reset_peak_memory_stats(self.device)


@contextlib.contextmanager
def measure_memory(device: torch.device, ignored: Iterable[Tensor] = ()) -> Iterator[MemoryMeter]:
    """A meter of what is made within; ``ignored`` was there before, with all that shares its memory."""
    if device.type == "cuda":
        yield _CudaMeter(device)
        return
    with _CpuMeter(ignored) as meter:
        yield meter


def time_call(device: torch.device, run: Callable[[], Any], repeats: int = TIMING_REPEATS) -> float:
    """The fastest of some runs."""
    best = float("inf")
    for _ in range(repeats):
        _synchronize(device)
        start = time.perf_counter()
        run()
        _synchronize(device)
        best = min(best, time.perf_counter() - start)
    return best


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextlib.contextmanager
def zeroed_grads(parameters: list[Tensor]) -> Iterator[list[Tensor]]:
    """Parameters with gradients of zero, the parameters' own being given back at the end; all of them."""
    saved_grads = [p.grad for p in parameters]
    for p in parameters:
        p.grad = torch.zeros_like(p)
    try:
        yield [*parameters, *(p.grad for p in parameters if p.grad is not None)]
    finally:
        for p, grad in zip(parameters, saved_grads, strict=True):
            p.grad = grad


def profile_chain(
    blocks: Sequence[Block], state: Activations, device: torch.device, parameters: Sequence[Tensor] = ()
) -> CostChain:
    """The costs of a chain, each block run by itself from what the one before it gave.

    ``parameters`` and their gradients, which are given back as they were, count as being there already.
    The last block's outputs are what the backward pass begins with.
    """
    costs, edges = [], _EdgeTracker(state)
    # what backward adds to: the real one's is a part of what is held
    with zeroed_grads([p for p in parameters if p.requires_grad]) as parameters_and_grads:
        ignored = [*parameters, *parameters_and_grads, *state.values()]
        for i, block in enumerate(blocks):
            cost, state, with_grad = _profile_block(block, state, device, ignored)
            costs.append(cost)
            edges.update(i, state, with_grad)
    return CostChain(tuple(costs), edges.edges())


class _EdgeTracker:
    """Who makes what crosses from block to block, and who is the last to take it, and the last to give it
    a gradient; one entry a storage."""

    def __init__(self, state: Activations) -> None:
        self.inputs = set(map(_storage_key, state.values()))
        self.open: dict[int, tuple[int, Tensor]] = {}  # storage -> made; held, so that none takes its place
        self.last_grad: dict[int, int] = {}  # storage -> the last block that gave it a gradient
        self.closed: list[TensorEdge] = []

    def update(self, block: int, state: Activations, with_grad: set[int]) -> None:
        self.last_grad.update(dict.fromkeys(with_grad, block))
        current = {_storage_key(value): value for value in state.values()}
        for key, (producer, value) in list(self.open.items()):
            if key not in current:
                del self.open[key]
                size, last = value.untyped_storage().nbytes(), self.last_grad.pop(key, producer)
                self.closed.append(TensorEdge(producer, block, size, size if last == block else 0))
                if producer < last < block:
                    self.closed.append(TensorEdge(producer, last, 0, size))
        for key, value in current.items():
            if key not in self.open and key not in self.inputs:
                self.open[key] = (block, value)

    def edges(self) -> tuple[TensorEdge, ...]:
        """What is left at the end is nobody's input."""
        return tuple(self.closed)


def _storage_key(value: Tensor) -> int:
    return int(value.untyped_storage()._cdata)


def _profile_block(
    block: Block, state: Activations, device: torch.device, ignored: list[Tensor]
) -> tuple[BlockCost, Activations, set[int]]:
    """Its cost, what it gives, and the storages of the inputs that have a gradient from it."""
    inputs = {k: v.detach().requires_grad_(v.requires_grad) for k, v in state.items()}
    with measure_memory(device, [*ignored, *inputs.values()]) as meter:
        start = meter.live_bytes()
        meter.reset()
        with torch.no_grad():
            outputs = block(inputs)
        light_peak = meter.peak_bytes() - start
        del outputs
        start = meter.live_bytes()
        meter.reset()
        outputs = block(inputs)
        full_peak, saved = meter.peak_bytes() - start, meter.live_bytes() - start
        # detached, so that this block's graph ends here
        next_state = {
            k: state[k] if v is inputs.get(k) else v.detach().requires_grad_(v.requires_grad)
            for k, v in outputs.items()
        }
        del outputs
        backward_peak = _backward_peak(block, inputs, meter)
    with_grad = {_storage_key(value) for value in inputs.values() if value.grad is not None}
    forward, total = _time_block(block, inputs, device)
    return (
        BlockCost(forward, max(total - forward, 0.0), light_peak, full_peak, saved, backward_peak),
        next_state,
        with_grad,
    )


def _backward_peak(block: Block, inputs: Activations, meter: MemoryMeter) -> int:
    """From a graph whose outputs nobody else holds: when a block's turn comes, later ones have let go."""
    start = meter.live_bytes()
    outputs = _differentiable_outputs(block(inputs), inputs)
    if not outputs:
        return 0
    seed_bytes = sum(t.numel() * t.element_size() for t in outputs)
    seed = _GradientSeed.apply(*outputs)
    del outputs
    meter.reset()
    seed.backward()
    return max(0, meter.peak_bytes() - start - seed_bytes)


class _GradientSeed(torch.autograd.Function):
    """The beginning of a backward pass whose gradients nobody else holds, as those of a later block's."""

    @staticmethod
    def forward(ctx: Any, *outputs: Tensor) -> Tensor:
        ctx.forms = [(t.shape, t.dtype, t.device) for t in outputs]
        return torch.zeros(())

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> Any:
        return tuple(torch.ones(shape, dtype=dtype, device=device) for shape, dtype, device in ctx.forms)


def _differentiable_outputs(outputs: Activations, inputs: Activations) -> list[Tensor]:
    return [v for k, v in outputs.items() if v.requires_grad and v is not inputs.get(k)]


def _time_block(block: Block, inputs: Activations, device: torch.device) -> tuple[float, float]:
    """Seconds of the forward pass, and of both."""

    def forward() -> Activations:
        return block(inputs)

    def forward_backward() -> None:
        state = block(inputs)
        outputs = _differentiable_outputs(state, inputs)
        if outputs:
            torch.autograd.backward(outputs, [torch.ones_like(t) for t in outputs])

    return time_call(device, forward), time_call(device, forward_backward)


def extrapolate_chain(small: CostChain, large: CostChain, sizes: tuple[int, int], size: int) -> CostChain:
    """The chain at another batch size, by the line through two that were measured."""
    fraction = (size - sizes[0]) / (sizes[1] - sizes[0])

    def interpolate(a: int, b: int) -> float:
        return a + fraction * (b - a)

    def extrapolate_bytes(a: int, b: int) -> int:
        return max(0, round(interpolate(a, b)))

    costs = tuple(
        BlockCost(
            # two timings of little work differ by chance: time never falls with size
            _extrapolate_seconds(a.forward, b.forward, sizes, size),
            _extrapolate_seconds(a.backward, b.backward, sizes, size),
            extrapolate_bytes(a.no_grad_peak, b.no_grad_peak),
            extrapolate_bytes(a.forward_peak, b.forward_peak),
            extrapolate_bytes(a.saved, b.saved),
            extrapolate_bytes(a.backward_peak, b.backward_peak),
        )
        for a, b in zip(small.costs, large.costs, strict=True)
    )
    edges = tuple(
        TensorEdge(
            a.producer,
            a.last_consumer,
            extrapolate_bytes(a.bytes, b.bytes),
            extrapolate_bytes(a.grad_bytes, b.grad_bytes),
        )
        for a, b in zip(small.edges, large.edges, strict=True)
    )
    return CostChain(costs, edges)


def _extrapolate_seconds(a: float, b: float, sizes: tuple[int, int], size: int) -> float:
    slope = min(max((b - a) / (sizes[1] - sizes[0]), 0.0), b / sizes[1])
    return max(b + slope * (size - sizes[1]), 0.0)


@dataclass(frozen=True)
class LinearFit:
    """Bytes or seconds by size, through two measured sizes; never falling."""

    sizes: tuple[int, int]
    values: tuple[float, float]

    def at(self, size: int) -> float:
        (a, b), (low, high) = self.sizes, self.values
        slope = min(max((high - low) / (b - a), 0.0), high / b)
        return max(high + slope * (size - b), 0.0)
