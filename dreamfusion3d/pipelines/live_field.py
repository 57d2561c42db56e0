"""Publish a field while it is trained, for viewers in other processes; without viewers nothing is written.

    watched              touched by a viewer whenever it reads
    live.safetensors     written by the run every few seconds while it is watched: the field's tensors

Both are in the run's work/. Publishing changes no byte of the asset.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

from dreamfusion3d.core import files

if TYPE_CHECKING:
    import torch

PUBLISH_INTERVAL_SECONDS = 1.0  # minimum, between two checks of the marker
MAX_WRITE_FRACTION = 0.02  # of the run's time
WATCH_TIMEOUT_SECONDS = 15.0  # since the last change of the marker


def mark_watched(work: Path) -> None:
    """Tell the run in ``work`` that somebody watches it."""
    with contextlib.suppress(OSError):
        (work / "watched").touch()


class FieldPublisher:
    """Writes ``field`` to live.safetensors between steps while somebody watches."""

    def __init__(self, field: torch.nn.Module, work: Path) -> None:
        self.field, self.work = field, work
        self.next_check = 0.0
        self.marker_mtime: int | None = self._read_marker_mtime()  # a marker from before this run does not count
        self.last_watched: float | None = None

    def step(self) -> None:
        """Write the field if it is watched and due. Most calls only read the clock."""
        now = time.monotonic()
        if now < self.next_check:
            return
        self.next_check = now + PUBLISH_INTERVAL_SECONDS
        if not self._is_watched(now):
            return
        from safetensors.torch import save

        state = {name: t.detach().cpu().contiguous() for name, t in self.field.state_dict().items()}
        with contextlib.suppress(OSError):  # a full disk is reported by the checkpoint
            files.write_bytes(self.work / "live.safetensors", save(state))
        finished = time.monotonic()
        self.next_check = max(self.next_check, finished + (finished - now) / MAX_WRITE_FRACTION)

    def close(self) -> None:
        """Remove live.safetensors, once the trained field is saved."""
        with contextlib.suppress(OSError):
            (self.work / "live.safetensors").unlink(missing_ok=True)

    def _is_watched(self, now: float) -> bool:
        # by changes of the marker, not by its time: the viewer's machine may have another clock
        mtime = self._read_marker_mtime()
        if mtime != self.marker_mtime:
            self.marker_mtime, self.last_watched = mtime, now if mtime is not None else None
        return self.last_watched is not None and now - self.last_watched < WATCH_TIMEOUT_SECONDS

    def _read_marker_mtime(self) -> int | None:
        with contextlib.suppress(OSError):
            return (self.work / "watched").stat().st_mtime_ns
        return None
