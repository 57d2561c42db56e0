"""A batch on the screen: a live table on a terminal, plain lines elsewhere, JSON for programs."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any, TextIO

from dreamfusion3d.batch.events import Event, Watch
from dreamfusion3d.core.progress import remaining

if TYPE_CHECKING:
    from rich.table import Table

# Words for what an item is when it is settled, and their order in the count.
WORDS = {
    "made": "made", "there": "there already", "failed": "failed",
    "other": "there with other settings", "passed_over": "passed over",
}
DRAWS_A_SECOND = 4


class Tally:
    """Counts, and how long the rest may take by the rate so far."""

    def __init__(self, total: int) -> None:
        self.total, self.begun = total, time.monotonic()
        self.counts = dict.fromkeys(WORDS, 0)

    def add(self, event: Event) -> None:
        if event.kind in self.counts:
            self.counts[event.kind] += 1

    @property
    def settled(self) -> int:
        return sum(self.counts.values())

    def __str__(self) -> str:
        parts = [f"{self.settled}/{self.total}"]
        parts += [f"{n} {WORDS[kind]}" for kind, n in self.counts.items() if n]
        left = remaining(time.monotonic() - self.begun, self.counts["made"], self.total - self.settled)
        return ", ".join([*parts, *([left] if left else [])])


def line_of(event: Event) -> str:
    """One line for what is worth a line; empty for the rest."""
    if event.kind == "begun":
        return f"[{event.worker}] {event.name}" + (f" (try {event.attempt})" if event.attempt > 1 else "")
    if event.kind == "made":
        return f"made {event.name} in {event.seconds:.0f} s"
    if event.kind == "failed":
        return f"FAILED {event.name} (try {event.attempt}): {event.note}"
    if event.kind == "again":
        return f"{event.name}: {event.note}"
    if event.kind == "other":
        return f"{event.name} is there with other settings or weights; --remake makes it again"
    if event.kind == "worker":
        return f"worker {event.worker} {event.note}"
    return f"{event.name}: {event.note}" if event.kind == "say" else ""


class Lines:
    """A line for each row that begins or ends; with ``quiet`` only for what went wrong."""

    def __init__(self, total: int, quiet: bool = False, stream: TextIO | None = None) -> None:
        self.tally, self.quiet, self.stream = Tally(total), quiet, stream

    def see(self, event: Event) -> None:
        self.tally.add(event)
        text = line_of(event)
        if event.kind == "made":
            text = f"{text} ({self.tally})"
        if text and (not self.quiet or event.kind in ("failed", "other")):
            print(text, file=self.stream or sys.stderr, flush=True)

    def tick(self) -> None: ...

    def close(self) -> None: ...


class Json:
    """One JSON object a line on stdout."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout

    def see(self, event: Event) -> None:
        print(json.dumps(event.as_dict()), file=self.stream, flush=True)

    def tick(self) -> None: ...

    def close(self) -> None: ...


class Live:
    """rich's live table: a row a worker, the count below; what went wrong scrolls above it."""

    def __init__(self, total: int) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive

        self.tally, self.rows = Tally(total), dict[int, dict[str, Any]]()
        self.console = Console(stderr=True)
        self.live = RichLive(self._table(), console=self.console, auto_refresh=False)
        self.live.start()
        self.drawn = 0.0

    def see(self, event: Event) -> None:
        self.tally.add(event)
        row = self.rows.setdefault(event.worker, {}) if event.worker else {}
        if event.kind == "begun":
            row.clear()
            row.update(name=event.name, attempt=event.attempt, begun=time.monotonic())
        elif event.kind == "stage":
            row.update(stage=event.stage, steps="")
        elif event.kind == "step":
            row.update(steps=f"{event.done}/{event.total}")
        elif event.kind == "worker":
            row.clear()
            row.update(stage=event.note)
        elif event.kind in WORDS:
            for number, other in self.rows.items():
                if other.get("name") == event.name:
                    self.rows[number] = {}
        if event.kind in ("failed", "again", "other", "say") or (
            event.kind == "worker" and event.note.startswith("replaced")
        ):
            # markup off: a prompt may hold square brackets
            self.console.print(line_of(event), markup=False, highlight=False, soft_wrap=True)

    def tick(self) -> None:
        if time.monotonic() - self.drawn > 1 / DRAWS_A_SECOND:
            self.drawn = time.monotonic()
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
            spent = f"{time.monotonic() - row['begun']:.0f} s" if "begun" in row else ""
            cells = [str(number), row.get("name", ""), str(row.get("attempt", "")), row.get("stage", ""),
                     row.get("steps", ""), spent]
            table.add_row(*(Text(cell) for cell in cells))
        return table


def choose(total: int, *, as_json: bool = False, quiet: bool = False) -> Watch:
    """The fitting one for this stderr."""
    if as_json:
        return Json()
    if quiet or not sys.stderr.isatty():
        return Lines(total, quiet)
    return Live(total)
