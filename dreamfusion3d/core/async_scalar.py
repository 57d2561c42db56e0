"""Scalars copied from a GPU to the host without stalling either."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


class AsyncTensor:
    """Small tensor on its way from a device to the host.

    ``read`` waits for the operations that compute it, and not for those queued since: created before much other
    work and read after that work is queued, it costs no time.
    """

    def __init__(self, value: Tensor) -> None:
        self._buffer, self._ready = value.detach(), None
        self._value: Any = None
        if value.device.type == "cuda":
            # pinned memory: a copy into pageable memory would block the host
            self._buffer = torch.empty(value.shape, dtype=value.dtype, pin_memory=True)
            self._buffer.copy_(value.detach(), non_blocking=True)
            self._ready = torch.cuda.Event()
            self._ready.record(torch.cuda.current_stream(value.device))

    def tolist(self) -> Any:
        """Return the value as ``Tensor.tolist`` does."""
        if self._value is None:
            if self._ready is not None:
                self._ready.synchronize()
            self._value = self._buffer.tolist()
        return self._value


class AsyncScalar(AsyncTensor):
    """A 0-d ``AsyncTensor``."""

    def read(self) -> int | float:
        """Return the number; an int if the tensor is integral."""
        return self.tolist()


class DelayedScalar:
    """A number per step, returned one step late if ``delayed``, so that the host can run ahead of a GPU."""

    def __init__(self, delayed: bool) -> None:
        self.delayed = delayed
        self.previous: AsyncScalar | None = None
        self.age = 0  # steps since the last returned value was current

    def update(self, current: AsyncScalar, *, sync: bool = False) -> int | float:
        """Return the previous step's value (the first call returns its own).

        ``sync=True`` waits for the current one, unless the previous one is not finite: that must not be missed.
        """
        previous, self.previous = self.previous, current if self.delayed else None
        value = math.nan if previous is None else previous.read()
        use_current = previous is None or (sync and math.isfinite(value))
        self.age = 0 if use_current else 1
        return current.read() if use_current else value

    def reset(self) -> None:
        self.previous = None
