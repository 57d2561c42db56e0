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

PUBLISH_INTERVAL_SECONDS = 1.0  # at least, of two looks at the mark, and so of two files
MAX_WRITE_FRACTION = 0.02  # of the time, at most, is spent on writing
WATCH_TIMEOUT_SECONDS = 15.0  # after the mark was last seen to change


def mark_watched(work: Path) -> None:
    """Tells the run in ``work`` that somebody looks."""
    with contextlib.suppress(OSError):
        (work / "watched").touch()


class FieldPublisher:
    """Between steps: keeps ``field`` while somebody looks."""

    def __init__(self, field: torch.nn.Module, work: Path) -> None:
        self.field, self.work = field, work
        self.next_check = 0.0
        self.marker_mtime: int | None = self._read_marker_mtime()  # one from before this run is nobody's
        self.last_watched: float | None = None

    def step(self) -> None:
        """Called after every step; a clock is all that most calls look at."""
        now = time.monotonic()
        if now < self.next_check:
            return
        self.next_check = now + PUBLISH_INTERVAL_SECONDS
        if not self._is_watched(now):
            return
        from safetensors.torch import save

        state = {name: t.detach().cpu().contiguous() for name, t in self.field.state_dict().items()}
        with contextlib.suppress(OSError):  # a disk that is full is told by the checkpoint
            files.write_bytes(self.work / "live.safetensors", save(state))
        finished = time.monotonic()
        self.next_check = max(self.next_check, finished + (finished - now) / MAX_WRITE_FRACTION)

    def close(self) -> None:
        """The trained field is kept: nothing is left of this."""
        with contextlib.suppress(OSError):
            (self.work / "live.safetensors").unlink(missing_ok=True)

    def _is_watched(self, now: float) -> bool:
        # by the mark's changes, not by its time: whoever looks may be on a machine with another clock
        mtime = self._read_marker_mtime()
        if mtime != self.marker_mtime:
            self.marker_mtime, self.last_watched = mtime, now if mtime is not None else None
        return self.last_watched is not None and now - self.last_watched < WATCH_TIMEOUT_SECONDS

    def _read_marker_mtime(self) -> int | None:
        with contextlib.suppress(OSError):
            return (self.work / "watched").stat().st_mtime_ns
        return None
