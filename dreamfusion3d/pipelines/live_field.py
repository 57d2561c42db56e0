"""A field that is being trained, kept for whoever looks at it; nothing is written while nobody does.

    watched              by whoever looks: touched at every look
    live.safetensors     by the run: the field's tensors, anew every few seconds while it is watched

Both lie in the run's work/. Writing is paced by what it costs, and changes no byte of the asset.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

from dreamfusion3d.core import files

if TYPE_CHECKING:
    import torch

SECONDS_BETWEEN = 1.0  # at least, of two looks at the mark, and so of two files
SHARE = 0.02  # of the time, at most, is spent on writing
SECONDS_WATCHED = 15.0  # after the mark was last seen to change


def look_at(work: Path) -> None:
    """Tells the run in ``work`` that somebody looks."""
    with contextlib.suppress(OSError):
        (work / "watched").touch()


class Live:
    """Between steps: keeps ``field`` while somebody looks."""

    def __init__(self, field: torch.nn.Module, work: Path) -> None:
        self.field, self.work = field, work
        self.due = 0.0
        self.mark: int | None = self._mark()  # one from before this run is nobody's
        self.seen: float | None = None

    def step(self) -> None:
        """Called after every step; a clock is all that most calls look at."""
        now = time.monotonic()
        if now < self.due:
            return
        self.due = now + SECONDS_BETWEEN
        if not self._watched(now):
            return
        from safetensors.torch import save

        state = {name: t.detach().cpu().contiguous() for name, t in self.field.state_dict().items()}
        with contextlib.suppress(OSError):  # a disk that is full is told by the checkpoint
            files.write_bytes(self.work / "live.safetensors", save(state))
        after = time.monotonic()
        self.due = max(self.due, after + (after - now) / SHARE)

    def close(self) -> None:
        """The trained field is kept: nothing is left of this."""
        with contextlib.suppress(OSError):
            (self.work / "live.safetensors").unlink(missing_ok=True)

    def _watched(self, now: float) -> bool:
        # by the mark's changes, not by its time: whoever looks may be on a machine with another clock
        mark = self._mark()
        if mark != self.mark:
            self.mark, self.seen = mark, now if mark is not None else None
        return self.seen is not None and now - self.seen < SECONDS_WATCHED

    def _mark(self) -> int | None:
        with contextlib.suppress(OSError):
            return (self.work / "watched").stat().st_mtime_ns
        return None
