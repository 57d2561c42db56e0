"""Placement of a frozen network's weights: on the compute device, or offloaded to main memory."""

from __future__ import annotations

import importlib.util
import warnings
from dataclasses import dataclass

import torch

from dreamfusion3d.core.config import PriorConfig
from dreamfusion3d.core.errors import InputError, MissingExtraError
from dreamfusion3d.memory.profiler import time_call

TRANSFER_PROBE_BYTES = 1 << 26  # transferred to time the bus


def _offload_to_cpu(module: torch.nn.Module, device: torch.device) -> None:
    """Keep the weights in main memory and move each layer to ``device`` only while it computes.

    Results are bit-identical and memory is minimal, but every forward pass transfers all weights.
    """
    from accelerate import cpu_offload

    cpu_offload(module, execution_device=device, offload_buffers=True)


def place_network(
    module: torch.nn.Module, device: torch.device, settings: PriorConfig, name: str
) -> OffloadableNetwork | None:
    """Place a network as ``settings`` ask, falling back to main memory if the device is full.

    Returns:
        A handle that can move the weights later, or None if they must stay in place.
    """
    pinned, can_offload = settings.compile or settings.cuda_graph, importlib.util.find_spec("accelerate") is not None
    if settings.cpu_offload and pinned:
        raise InputError(
            "prior.cpu_offload moves the network's layers, which prior.compile and prior.cuda_graph do not support; "
            "disable one of them"
        )
    if settings.cpu_offload and not can_offload:
        raise MissingExtraError("accelerate", "priors", "prior.cpu_offload")
    if settings.cpu_offload:
        _offload_to_cpu(module, device)
        return None
    offloadable = OffloadableNetwork(module, device) if can_offload and not pinned else None
    try:
        module.to(device)
    except torch.cuda.OutOfMemoryError:
        if offloadable is None:
            raise
        warnings.warn(
            f"{name} does not fit on {device}: its layers are loaded from main memory one at a time, which is slow",
            stacklevel=2,
        )
        offloadable.set_offloaded(True)
        return None
    return offloadable


@dataclass
class OffloadableNetwork:
    """A network on ``device`` whose weights can move to main memory and back between forward passes."""

    module: torch.nn.Module
    device: torch.device
    offloaded: bool = False

    def set_offloaded(self, offloaded: bool) -> None:
        """Move the weights to main memory or back; a no-op if they are already there."""
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
        return sum(t.nbytes for t in (*self.module.parameters(), *self.module.buffers()))

    @property
    def max_layer_bytes(self) -> int:
        """Size of the largest layer, which is what stays on the device while the weights are offloaded."""
        layers = ((*m.parameters(recurse=False), *m.buffers(recurse=False)) for m in self.module.modules())
        return max(sum(t.nbytes for t in layer) for layer in layers)

    def transfer_seconds(self) -> float:
        """Estimate the time to transfer all weights once, by timing a smaller transfer."""
        probe = torch.empty(min(self.nbytes, TRANSFER_PROBE_BYTES) or 1, dtype=torch.uint8)
        elapsed = time_call(self.device, lambda: probe.to(self.device, copy=True), 3)
        return self.nbytes / probe.numel() * elapsed
