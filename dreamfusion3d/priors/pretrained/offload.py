"""Where a frozen network's weights lie: on the device that computes, or in main memory."""

from __future__ import annotations

import importlib.util
import warnings
from dataclasses import dataclass

import torch

from dreamfusion3d.core.config import PriorConfig
from dreamfusion3d.core.errors import InputError, MissingExtraError
from dreamfusion3d.memory.profiler import seconds_of

PIECE = 1 << 26  # bytes with which the bus is timed


def a_layer_at_a_time(module: torch.nn.Module, device: torch.device, settings: PriorConfig) -> None:
    """Leaves a frozen network's weights where they are (in main memory) and brings each layer's to ``device``
    for as long as it computes: same bits, least memory, and all of them cross the bus at every question."""
    if settings.compile or settings.graph:
        raise InputError(
            "prior.offload moves the network's layers, which prior.compile and prior.graph cannot follow; "
            "leave one of them out"
        )
    if importlib.util.find_spec("accelerate") is None:
        raise MissingExtraError("accelerate", "priors", "prior.offload")
    _send_away(module, device)


def _send_away(module: torch.nn.Module, device: torch.device) -> None:
    from accelerate import cpu_offload

    cpu_offload(module, execution_device=device, offload_buffers=True)


def place(
    module: torch.nn.Module, device: torch.device, settings: PriorConfig, name: str
) -> Placed | None:
    """Brings a network to where ``settings`` want it, and to main memory where there is no room; what may
    move it later, or None."""
    if settings.offload:
        a_layer_at_a_time(module, device, settings)
        return None
    placed = Placed.of(module, device, settings)
    try:
        module.to(device)
    except torch.cuda.OutOfMemoryError:
        if placed is None:
            raise
        problem = f"{name} does not fit on {device}: its layers come from main memory in turn, which is slow"
        warnings.warn(problem, stacklevel=2)
        placed.put(True)
        return None
    return placed


@dataclass
class Placed:
    """A network on ``device`` whose weights may go to main memory, and come back, between questions."""

    module: torch.nn.Module
    device: torch.device
    away: bool = False

    @staticmethod
    def of(module: torch.nn.Module, device: torch.device, settings: PriorConfig) -> Placed | None:
        """None where its layers must stay: the user has said where, something holds them, or what moves
        them is not installed."""
        fixed = settings.offload or settings.compile or settings.graph
        if fixed or importlib.util.find_spec("accelerate") is None:
            return None
        return Placed(module, device)

    def put(self, away: bool) -> None:
        """Sends the weights to main memory, or fetches them; nothing where they are there."""
        if away == self.away:
            return
        if away:
            self.module.to("cpu")
            _send_away(self.module, self.device)
        else:
            from accelerate.hooks import remove_hook_from_submodules

            remove_hook_from_submodules(self.module)
            self.module.to(self.device)
        self.away = away

    @property
    def bytes(self) -> int:
        tensors = (*self.module.parameters(), *self.module.buffers())
        return sum(t.numel() * t.element_size() for t in tensors)

    @property
    def largest(self) -> int:
        """Bytes of the layer with the most: so much is on the device while the weights are away."""
        def own(layer: torch.nn.Module) -> int:
            held = (*layer.parameters(recurse=False), *layer.buffers(recurse=False))
            return sum(t.numel() * t.element_size() for t in held)

        return max(own(layer) for layer in self.module.modules())

    def seconds(self) -> float:
        """That all weights take across the bus once, by a timed piece."""
        piece = torch.empty(min(self.bytes, PIECE) or 1, dtype=torch.uint8)
        took = seconds_of(self.device, lambda: piece.to(self.device, copy=True), 3)
        return self.bytes / piece.numel() * took
