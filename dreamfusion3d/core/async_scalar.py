"""Numbers that a GPU hands to the host while both go on working."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class AsyncScalar:
    """A number on its way from a device to the host.

    ``read`` waits for what makes the number, and not for what the device has been asked since: asked
    before much other work and read after it has been queued, it costs no time.
    """

    def __init__(self, value: Tensor) -> None:
        self._buffer, self._ready = value.detach(), None
        self._value: int | float | None = None
        if value.device.type == "cuda":
            # into pinned memory: the host would have to wait for a copy into any other
            self._buffer = torch.empty(value.shape, dtype=value.dtype, pin_memory=True)
            self._buffer.copy_(value.detach(), non_blocking=True)
            self._ready = torch.cuda.Event()
            self._ready.record(torch.cuda.current_stream(value.device))

    def read(self) -> int | float:
        """An int where the tensor holds one."""
        if self._value is None:
            if self._ready is not None:
                self._ready.synchronize()
            self._value = self._buffer.item()
        return self._value


class DelayedScalar:
    """A number of every step, told one step late where the host shall run ahead of a GPU."""

    def __init__(self, delayed: bool) -> None:
        self.delayed = delayed
        self.previous: AsyncScalar | None = None
        self.age = 0  # of what was told last, in steps

    def update(self, current: AsyncScalar, *, sync: bool = False) -> int | float:
        """The step before's number, of the first one its own; ``settle`` waits for this one's, unless the
        other is not finite, which must not be missed."""
        previous, self.previous = self.previous, current if self.delayed else None
        value = math.nan if previous is None else previous.read()
        use_current = previous is None or (sync and math.isfinite(value))
        self.age = 0 if use_current else 1
        return current.read() if use_current else value

    def reset(self) -> None:
        self.previous = None
