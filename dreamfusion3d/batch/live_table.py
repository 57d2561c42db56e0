"""Reporters of a batch: a live table on a terminal, plain lines elsewhere, JSON for programs."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any, TextIO

from dreamfusion3d.batch.events import BatchReporter, Event
from dreamfusion3d.core.progress import format_eta

if TYPE_CHECKING:
    from rich.table import Table

# final statuses, in the order in which they are counted
STATUS_LABELS = {
    "made": "made",
    "there": "already there",
    "failed": "failed",
    "other": "there with other settings",
    "passed_over": "passed over",
}
REDRAWS_PER_SECOND = 4
EVENT_FORMATS = {
    "started": "[{e.worker}] {e.name}{retried}",
    "made": "made {e.name} in {e.seconds:.0f} s",
    "failed": "FAILED {e.name} (attempt {e.attempt}): {e.note}",
    "other": "{e.name} was made with other settings or weights; use --overwrite to replace it",
    "worker": "worker {e.worker} {e.note}",
    "worker_replaced": "worker {e.worker} {e.note}",
    "retry": "{e.name}: {e.note}",
    "log": "{e.name}: {e.note}",
}


class Tally:
    """Counts of finished items by status, and an estimate of the remaining time."""

    def __init__(self, total: int) -> None:
        self.total, self.start_time = total, time.monotonic()
        self.counts = dict.fromkeys(STATUS_LABELS, 0)

    def add(self, event: Event) -> None:
        if event.type in self.counts:
            self.counts[event.type] += 1

    def __str__(self) -> str:
        finished = sum(self.counts.values())
        parts = [f"{n} {STATUS_LABELS[status]}" for status, n in self.counts.items() if n]
        eta = format_eta(time.monotonic() - self.start_time, self.counts["made"], self.total - finished)
        return ", ".join([f"{finished}/{self.total}", *parts, *filter(None, [eta])])


def format_event(event: Event) -> str:
    """Format an event as one line; empty for events that are not worth a line."""
    retried = f" (attempt {event.attempt})" if event.attempt > 1 else ""
    return EVENT_FORMATS.get(event.type, "").format(e=event, retried=retried)


class LineReporter(BatchReporter):
    """Prints a line for each item that starts or ends; with ``quiet``, only for problems."""

    def __init__(self, total: int, quiet: bool = False, stream: TextIO | None = None) -> None:
        self.tally, self.quiet, self.stream = Tally(total), quiet, stream

    def on_event(self, event: Event) -> None:
        self.tally.add(event)
        text = format_event(event)
        if event.type == "made":
            text = f"{text} ({self.tally})"
        if text and (not self.quiet or event.type in ("failed", "other")):
            print(text, file=self.stream or sys.stderr, flush=True)


class JsonReporter(BatchReporter):
    """Prints one JSON object per line to stdout."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout

    def on_event(self, event: Event) -> None:
        print(json.dumps(event.as_dict()), file=self.stream, flush=True)


class LiveTable:
    """A live table of workers with a summary below; problems scroll above it."""

    def __init__(self, total: int) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive

        self.tally, self.rows = Tally(total), dict[int, dict[str, Any]]()
        self.console = Console(stderr=True)
        self.live = RichLive(self._table(), console=self.console, auto_refresh=False)
        self.live.start()
        self.last_redraw_time = 0.0

    def on_event(self, event: Event) -> None:
        self.tally.add(event)
        row = self.rows.setdefault(event.worker, {}) if event.worker else {}
        if event.type == "started":
            self.rows[event.worker] = {"name": event.name, "attempt": event.attempt, "start_time": time.monotonic()}
        elif event.type == "stage":
            row.update(stage=event.stage, steps="")
        elif event.type == "step":
            row["steps"] = f"{event.done}/{event.total}"
        elif event.type in ("worker", "worker_replaced"):
            self.rows[event.worker] = {"stage": event.note}
        elif event.type in STATUS_LABELS:
            self.rows = {n: {} if r.get("name") == event.name else r for n, r in self.rows.items()}
        if event.type in ("failed", "retry", "other", "log", "worker_replaced"):
            # no markup: a prompt may contain square brackets
            self.console.print(format_event(event), markup=False, highlight=False, soft_wrap=True)

    def refresh(self) -> None:
        if time.monotonic() - self.last_redraw_time > 1 / REDRAWS_PER_SECOND:
            self.last_redraw_time = time.monotonic()
            self.live.update(self._table(), refresh=True)

    def close(self) -> None:
        self.rows.clear()
        self.live.update(self._table(), refresh=True)
        self.live.stop()

    def _table(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, caption=str(self.tally), caption_justify="left", caption_style="")
        widths = {"worker": 6, "asset": 40, "attempt": 7, "stage": 24, "steps": 11, "time": 7}
        for title, width in widths.items():
            table.add_column(title, width=width, no_wrap=True, overflow="ellipsis")
        for number, row in sorted(self.rows.items()):
            elapsed = f"{time.monotonic() - row['start_time']:.0f} s" if "start_time" in row else ""
            cells = (number, *(row.get(key, "") for key in ("name", "attempt", "stage", "steps")), elapsed)
            table.add_row(*(Text(str(cell)) for cell in cells))
        return table


def choose_batch_reporter(total: int, *, as_json: bool = False, quiet: bool = False) -> BatchReporter:
    """Choose a reporter: JSON if asked for, a live table if stderr is a terminal, else lines."""
    if as_json:
        return JsonReporter()
    if quiet or not sys.stderr.isatty():
        return LineReporter(total, quiet)
    return LiveTable(total)
