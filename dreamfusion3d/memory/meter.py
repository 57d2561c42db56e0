"""Measure the memory and time of a computation.

On CUDA the allocator counts. On a CPU the meter counts every storage that an operation returns or receives, until it is
freed, independently of the C library's allocator. Temporary memory within one operation is not counted.
"""

from __future__ import annotations

import contextlib
import functools
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, no_type_check, runtime_checkable

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

TIMING_REPEATS = 2  # runs of a timed pass, of which the fastest counts


@runtime_checkable
class MemoryMeter(Protocol):
    """Counts the bytes of tensors on one device."""

    def live_bytes(self) -> int: ...

    def peak_bytes(self) -> int:
        """Return the largest number of live bytes since ``reset``."""

    def reset(self) -> None: ...


class _CpuMeter(TorchDispatchMode):
    """Counts the storages that torch operations touch on a CPU."""

    def __init__(self, ignored: Iterable[Tensor]) -> None:
        super().__init__()
        self._live = self._peak = 0
        self._storages: dict[int, weakref.ref[Any] | None] = {}
        self._ignored = [t.untyped_storage() for t in ignored]  # held, so that their ids are not reused
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
        # numba's results first appear as an operation's arguments
        for leaf in tree_leaves((args, kwargs)):
            self._count(leaf)
        outputs = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(outputs):
            self._count(leaf)
        return outputs

    @no_type_check  # called for every tensor: the tests' runtime checker would take most of the time
    def _count(self, leaf: Any) -> None:
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
    def _freed(self, key: int, size: int, _: Any) -> None:
        self._live -= size
        del self._storages[key]


class _CudaMeter:
    """Reads the counters of the CUDA allocator."""

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
    """Yield a meter of the tensors made within; ``ignored`` and tensors that share its memory do not count."""
    if device.type == "cuda":
        yield _CudaMeter(device)
        return
    with _CpuMeter(ignored) as meter:
        yield meter


def time_call(device: torch.device, run: Callable[[], Any], repeats: int = TIMING_REPEATS) -> float:
    """Return the seconds of the fastest of ``repeats`` runs."""
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
    """Set gradients to zero within, yield parameters and gradients, and restore the gradients at the end."""
    saved_grads = [p.grad for p in parameters]
    for p in parameters:
        p.grad = torch.zeros_like(p)
    try:
        yield [*parameters, *(p.grad for p in parameters if p.grad is not None)]
    finally:
        for p, grad in zip(parameters, saved_grads, strict=True):
            p.grad = grad
