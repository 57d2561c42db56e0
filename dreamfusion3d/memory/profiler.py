"""Profile the blocks of a chain: bytes and seconds of each, and the tensors between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dreamfusion3d.memory.checkpoint_plan import BlockCost, CostChain, TensorEdge
from dreamfusion3d.memory.checkpointed import Activations, Block
from dreamfusion3d.memory.meter import MemoryMeter, measure_memory, time_call, zeroed_grads


def profile_chain(
    blocks: Sequence[Block], state: Activations, device: torch.device, parameters: Sequence[Tensor] = ()
) -> CostChain:
    """Measure the costs of a chain, running each block by itself on the outputs of the one before.

    The ``parameters`` of the blocks and their gradients, which are restored, do not count.
    """
    costs, edges = [], _EdgeTracker(state)
    # backward accumulates into these; in a real step they already exist
    with zeroed_grads([p for p in parameters if p.requires_grad]) as parameters_and_grads:
        ignored = [*parameters, *parameters_and_grads, *state.values()]
        for i, block in enumerate(blocks):
            cost, state, with_grad = _profile_block(block, state, device, ignored)
            costs.append(cost)
            edges.update(i, state, with_grad)
    return CostChain(tuple(costs), edges.edges())


class _EdgeTracker:
    """Tracks each storage between blocks: its producer, its last consumer, and the last block to give it a gradient."""

    def __init__(self, state: Activations) -> None:
        self.inputs = set(map(_storage_key, state.values()))
        self.open: dict[int, tuple[int, Tensor]] = {}  # storage -> (producer, tensor); held, so that ids are not reused
        self.last_grad: dict[int, int] = {}  # storage -> last block that gave it a gradient
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
        """Return the closed edges; those still open at the end have no consumer."""
        return tuple(self.closed)


def _storage_key(value: Tensor) -> int:
    return int(value.untyped_storage()._cdata)


def _profile_block(
    block: Block, state: Activations, device: torch.device, ignored: list[Tensor]
) -> tuple[BlockCost, Activations, set[int]]:
    """Return the block's cost, its outputs, and the storages of the inputs that got a gradient from it."""
    inputs = {k: v.detach().requires_grad_(v.requires_grad) for k, v in state.items()}
    with measure_memory(device, [*ignored, *inputs.values()]) as meter:
        start = meter.live_bytes()
        meter.reset()
        with torch.no_grad():
            outputs = block(inputs)
        no_grad_peak = meter.peak_bytes() - start
        del outputs
        start = meter.live_bytes()
        meter.reset()
        outputs = block(inputs)
        forward_peak, saved = meter.peak_bytes() - start, meter.live_bytes() - start
        # detached, to end this block's graph here
        next_state = {
            k: state[k] if v is inputs.get(k) else v.detach().requires_grad_(v.requires_grad)
            for k, v in outputs.items()
        }
        del outputs
        backward_peak = _backward_peak(block, inputs, meter)
    with_grad = {_storage_key(value) for value in inputs.values() if value.grad is not None}
    forward, total = _time_block(block, inputs, device)
    cost = BlockCost(forward, max(total - forward, 0.0), no_grad_peak, forward_peak, saved, backward_peak)
    return cost, next_state, with_grad


def _backward_peak(block: Block, inputs: Activations, meter: MemoryMeter) -> int:
    """Measure the backward pass while nothing else holds the outputs, as later blocks have released them by then."""
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
    """Seed of a backward pass whose gradients nothing else holds, like those from a later block."""

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
    """Return the seconds of the forward pass, and of forward plus backward."""

    def forward_backward() -> None:
        if outputs := _differentiable_outputs(block(inputs), inputs):
            torch.autograd.backward(outputs, [torch.ones_like(t) for t in outputs])

    return time_call(device, lambda: block(inputs)), time_call(device, forward_backward)


def extrapolate_chain(small: CostChain, large: CostChain, sizes: tuple[int, int], size: int) -> CostChain:
    """Extrapolate a chain linearly to another batch size from two measured ones."""
    fraction = (size - sizes[0]) / (sizes[1] - sizes[0])

    def extrapolate_bytes(a: int, b: int) -> int:
        return max(0, round(a + fraction * (b - a)))

    costs = tuple(
        BlockCost(
            # short timings are noisy: LinearFit never decreases with size
            LinearFit(sizes, (a.forward, b.forward)).at(size),
            LinearFit(sizes, (a.backward, b.backward)).at(size),
            extrapolate_bytes(a.no_grad_peak, b.no_grad_peak),
            extrapolate_bytes(a.forward_peak, b.forward_peak),
            extrapolate_bytes(a.saved, b.saved),
            extrapolate_bytes(a.backward_peak, b.backward_peak),
        )
        for a, b in zip(small.costs, large.costs, strict=True)
    )
    edges = []
    for a, b in zip(small.edges, large.edges, strict=True):
        size_and_grad = extrapolate_bytes(a.bytes, b.bytes), extrapolate_bytes(a.grad_bytes, b.grad_bytes)
        edges.append(TensorEdge(a.producer, a.last_consumer, *size_and_grad))
    return CostChain(costs, tuple(edges))


@dataclass(frozen=True)
class LinearFit:
    """Bytes or seconds as a linear, never decreasing function of size through two measurements."""

    sizes: tuple[int, int]
    values: tuple[float, float]

    def at(self, size: int) -> float:
        """Return the value at ``size``."""
        (a, b), (low, high) = self.sizes, self.values
        slope = min(max((high - low) / (b - a), 0.0), high / b)
        return max(high + slope * (size - b), 0.0)
