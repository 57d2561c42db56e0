"""Numbers that a GPU hands to the host while both go on working."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class Later:
    """A number on its way from a device to the host.

    ``read`` waits for what makes the number, and not for what the device has been asked since: asked
    before much other work and read after it has been queued, it costs no time.
    """

    def __init__(self, number: Tensor) -> None:
        self._number, self._made = number.detach(), None
        self._value: int | float | None = None
        if number.device.type == "cuda":
            # into pinned memory: the host would have to wait for a copy into any other
            self._number = torch.empty(number.shape, dtype=number.dtype, pin_memory=True)
            self._number.copy_(number.detach(), non_blocking=True)
            self._made = torch.cuda.Event()
            self._made.record(torch.cuda.current_stream(number.device))

    def read(self) -> int | float:
        """An int where the tensor holds one."""
        if self._value is None:
            if self._made is not None:
                self._made.synchronize()
            self._value = self._number.item()
        return self._value


class Trailing:
    """A number of every step, told one step late where the host shall run ahead of a GPU."""

    def __init__(self, late: bool) -> None:
        self.late = late
        self.before: Later | None = None
        self.age = 0  # of what was told last, in steps

    def told(self, number: Later, *, settle: bool = False) -> int | float:
        """The step before's number, of the first one its own; ``settle`` waits for this one's, unless the
        other is not finite, which must not be missed."""
        before, self.before = self.before, number if self.late else None
        value = math.nan if before is None else before.read()
        own = before is None or (settle and math.isfinite(value))
        self.age = 0 if own else 1
        return number.read() if own else value

    def forget(self) -> None:
        self.before = None
