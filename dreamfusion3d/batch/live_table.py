"""A batch on the screen: a live table on a terminal, plain lines elsewhere, JSON for programs."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any, TextIO

from dreamfusion3d.batch.events import BatchReporter, Event
from dreamfusion3d.core.progress import format_eta

if TYPE_CHECKING:
    from rich.table import Table

# Words for what an item is when it is settled, and their order in the count.
STATUS_LABELS = {
    "made": "made",
    "there": "there already",
    "failed": "failed",
    "other": "there with other settings",
    "passed_over": "passed over",
}
REDRAWS_PER_SECOND = 4


class Tally:
    """Counts, and how long the rest may take by the rate so far."""

    def __init__(self, total: int) -> None:
        self.total, self.start_time = total, time.monotonic()
        self.counts = dict.fromkeys(STATUS_LABELS, 0)

    def add(self, event: Event) -> None:
        if event.type in self.counts:
            self.counts[event.type] += 1

    @property
    def num_finished(self) -> int:
        return sum(self.counts.values())

    def __str__(self) -> str:
        parts = [f"{self.num_finished}/{self.total}"]
        parts += [f"{n} {STATUS_LABELS[status]}" for status, n in self.counts.items() if n]
        left = format_eta(time.monotonic() - self.start_time, self.counts["made"], self.total - self.num_finished)
        return ", ".join([*parts, *([left] if left else [])])


def format_event(event: Event) -> str:
    """One line for what is worth a line; empty for the rest."""
    if event.type == "begun":
        return f"[{event.worker}] {event.name}" + (f" (try {event.attempt})" if event.attempt > 1 else "")
    if event.type == "made":
        return f"made {event.name} in {event.seconds:.0f} s"
    if event.type == "failed":
        return f"FAILED {event.name} (try {event.attempt}): {event.note}"
    if event.type == "again":
        return f"{event.name}: {event.note}"
    if event.type == "other":
        return f"{event.name} is there with other settings or weights; --remake makes it again"
    if event.type == "worker":
        return f"worker {event.worker} {event.note}"
    return f"{event.name}: {event.note}" if event.type == "say" else ""


class LineReporter:
    """A line for each row that begins or ends; with ``quiet`` only for what went wrong."""

    def __init__(self, total: int, quiet: bool = False, stream: TextIO | None = None) -> None:
        self.tally, self.quiet, self.stream = Tally(total), quiet, stream

    def on_event(self, event: Event) -> None:
        self.tally.add(event)
        text = format_event(event)
        if event.type == "made":
            text = f"{text} ({self.tally})"
        if text and (not self.quiet or event.type in ("failed", "other")):
            print(text, file=self.stream or sys.stderr, flush=True)

    def refresh(self) -> None: ...

    def close(self) -> None: ...


class JsonReporter:
    """One JSON object a line on stdout."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout

    def on_event(self, event: Event) -> None:
        print(json.dumps(event.as_dict()), file=self.stream, flush=True)

    def refresh(self) -> None: ...

    def close(self) -> None: ...


class LiveTable:
    """rich's live table: a row a worker, the count below; what went wrong scrolls above it."""

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
        if event.type == "begun":
            row.clear()
            row.update(name=event.name, attempt=event.attempt, begun=time.monotonic())
        elif event.type == "stage":
            row.update(stage=event.stage, steps="")
        elif event.type == "step":
            row.update(steps=f"{event.done}/{event.total}")
        elif event.type == "worker":
            row.clear()
            row.update(stage=event.note)
        elif event.type in STATUS_LABELS:
            for number, other in self.rows.items():
                if other.get("name") == event.name:
                    self.rows[number] = {}
        if event.type in ("failed", "again", "other", "say") or (
            event.type == "worker" and event.note.startswith("replaced")
        ):
            # markup off: a prompt may hold square brackets
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
        widths = {"worker": 6, "asset": 40, "try": 3, "stage": 24, "steps": 11, "time": 7}
        for title, width in widths.items():
            table.add_column(title, width=width, no_wrap=True, overflow="ellipsis")
        for number, row in sorted(self.rows.items()):
            elapsed = f"{time.monotonic() - row['begun']:.0f} s" if "begun" in row else ""
            cells = [
                str(number),
                row.get("name", ""),
                str(row.get("attempt", "")),
                row.get("stage", ""),
                row.get("steps", ""),
                elapsed,
            ]
            table.add_row(*(Text(cell) for cell in cells))
        return table


def choose_batch_reporter(total: int, *, as_json: bool = False, quiet: bool = False) -> BatchReporter:
    """The fitting one for this stderr."""
    if as_json:
        return JsonReporter()
    if quiet or not sys.stderr.isatty():
        return LineReporter(total, quiet)
    return LiveTable(total)
