"""Where a frozen network's weights lie: on the device that computes, or in main memory."""

from __future__ import annotations

import importlib.util
import warnings
from dataclasses import dataclass

import torch

from dreamfusion3d.core.config import PriorConfig
from dreamfusion3d.core.errors import InputError, MissingExtraError
from dreamfusion3d.memory.profiler import time_call

TRANSFER_PROBE_BYTES = 1 << 26  # bytes with which the bus is timed


def enable_sequential_offload(module: torch.nn.Module, device: torch.device, settings: PriorConfig) -> None:
    """Leaves a frozen network's weights where they are (in main memory) and brings each layer's to ``device``
    for as long as it computes: same bits, least memory, and all of them cross the bus at every question."""
    if settings.compile or settings.cuda_graph:
        raise InputError(
            "prior.cpu_offload moves the network's layers, which prior.compile and prior.cuda_graph cannot follow; "
            "leave one of them out"
        )
    if importlib.util.find_spec("accelerate") is None:
        raise MissingExtraError("accelerate", "priors", "prior.cpu_offload")
    _offload_to_cpu(module, device)


def _offload_to_cpu(module: torch.nn.Module, device: torch.device) -> None:
    from accelerate import cpu_offload

    cpu_offload(module, execution_device=device, offload_buffers=True)


def place_network(
    module: torch.nn.Module, device: torch.device, settings: PriorConfig, name: str
) -> OffloadableNetwork | None:
    """Brings a network to where ``settings`` want it, and to main memory where there is no room; what may
    move it later, or None."""
    if settings.cpu_offload:
        enable_sequential_offload(module, device, settings)
        return None
    offloadable = OffloadableNetwork.from_module(module, device, settings)
    try:
        module.to(device)
    except torch.cuda.OutOfMemoryError:
        if offloadable is None:
            raise
        problem = f"{name} does not fit on {device}: its layers come from main memory in turn, which is slow"
        warnings.warn(problem, stacklevel=2)
        offloadable.set_offloaded(True)
        return None
    return offloadable


@dataclass
class OffloadableNetwork:
    """A network on ``device`` whose weights may go to main memory, and come back, between questions."""

    module: torch.nn.Module
    device: torch.device
    offloaded: bool = False

    @staticmethod
    def from_module(module: torch.nn.Module, device: torch.device, settings: PriorConfig) -> OffloadableNetwork | None:
        """None where its layers must stay: the user has said where, something holds them, or what moves
        them is not installed."""
        pinned = settings.cpu_offload or settings.compile or settings.cuda_graph
        if pinned or importlib.util.find_spec("accelerate") is None:
            return None
        return OffloadableNetwork(module, device)

    def set_offloaded(self, offloaded: bool) -> None:
        """Sends the weights to main memory, or fetches them; nothing where they are there."""
        if offloaded == self.offloaded:
            return
        if offloaded:
            self.module.to("cpu")
            _offload_to_cpu(self.module, self.device)
        else:
            from accelerate.hooks import remove_hook_from_submodules

            remove_hook_from_submodules(self.module)
            self.module.to(self.device)
        self.offloaded = offloaded

    @property
    def nbytes(self) -> int:
        tensors = (*self.module.parameters(), *self.module.buffers())
        return sum(t.numel() * t.element_size() for t in tensors)

    @property
    def max_layer_bytes(self) -> int:
        """Bytes of the layer with the most: so much is on the device while the weights are away."""

        def layer_bytes(layer: torch.nn.Module) -> int:
            tensors = (*layer.parameters(recurse=False), *layer.buffers(recurse=False))
            return sum(t.numel() * t.element_size() for t in tensors)

        return max(layer_bytes(layer) for layer in self.module.modules())

    def transfer_seconds(self) -> float:
        """That all weights take across the bus once, by a timed piece."""
        probe = torch.empty(min(self.nbytes, TRANSFER_PROBE_BYTES) or 1, dtype=torch.uint8)
        elapsed = time_call(self.device, lambda: probe.to(self.device, copy=True), 3)
        return self.nbytes / probe.numel() * elapsed
