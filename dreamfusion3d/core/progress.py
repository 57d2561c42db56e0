"""What a run says while it works: to stderr, as a bar on a terminal and as plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any, Protocol, TextIO, runtime_checkable

SECONDS_BETWEEN_LINES = 5.0
WARNING = "warning: "


@runtime_checkable
class Progress(Protocol):
    """Told of stages and steps by the pipeline; a notebook or a farm may bring its own."""

    def stage(self, name: str, number: int, count: int) -> None:
        """Stage ``number`` (from 1) of ``count`` begins."""

    def step(self, done: int, total: int, note: str = "") -> None:
        """``done`` of ``total`` steps of the present stage are behind us."""

    def say(self, message: str) -> None:
        """A line that stays. One that begins with WARNING is for those too who want no others."""

    def close(self) -> None:
        """Nothing more will come; called on errors too."""


class Quiet:
    """Says nothing but warnings."""

    def __init__(self, stream: TextIO | None = None, warnings: bool = True) -> None:
        self.stream, self.warnings = stream, warnings

    def stage(self, name: str, number: int, count: int) -> None: ...

    def step(self, done: int, total: int, note: str = "") -> None: ...

    def say(self, message: str) -> None:
        if self.warnings and message.startswith(WARNING):
            print(message, file=self.stream or sys.stderr, flush=True)

    def close(self) -> None: ...


class Plain:
    """One line a stage, and one every few seconds within it: for logs and pipes."""

    def __init__(self, stream: TextIO | None = None, interval: float = SECONDS_BETWEEN_LINES) -> None:
        self.stream, self.interval = stream, interval
        self.name, self.begun, self.spoken, self.first = "", 0.0, 0.0, -1

    def stage(self, name: str, number: int, count: int) -> None:
        self.name, self.begun, self.first = name, time.monotonic(), -1
        self.spoken = self.begun
        self.say(f"[{number}/{count}] {name}")

    def step(self, done: int, total: int, note: str = "") -> None:
        now = time.monotonic()
        if self.first < 0:
            # a resumed run begins at some step > 1: the rate counts from here
            self.first, self.begun = done, now
        if now - self.spoken < self.interval and done < total:
            return
        self.spoken = now
        left = remaining(now - self.begun, done - self.first, total - done)
        self.say("  ".join(part for part in (f"  {self.name} {done}/{total}", left, note) if part))

    def say(self, message: str) -> None:
        print(message, file=self.stream or sys.stderr, flush=True)

    def close(self) -> None: ...


class Bar:
    """rich's bar, one for the present stage."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress

        self.bars = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[steps]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]} [dim]{task.fields[note]}"),
            console=Console(stderr=True),
        )
        self.task: Any = None
        self.begun, self.first = 0.0, -1

    def stage(self, name: str, number: int, count: int) -> None:
        self._finish()
        self.begun, self.first = time.monotonic(), -1
        self.bars.start()
        self.task = self.bars.add_task(
            f"{number}/{count} {name:<20}", total=None, steps="", left="", note=""
        )

    def step(self, done: int, total: int, note: str = "") -> None:
        now = time.monotonic()
        if self.first < 0:
            self.first, self.begun = done, now
        left = remaining(now - self.begun, done - self.first, total - done)
        if self.task is not None:
            self.bars.update(
                self.task, completed=done, total=total, steps=f"{done}/{total}", left=left, note=note
            )

    def say(self, message: str) -> None:
        # markup off: a prompt may hold square brackets
        self.bars.console.print(message, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        # an interrupted stage stays as far as it came
        if self.task is not None:
            self.bars.stop_task(self.task)
        self.bars.stop()

    def _finish(self) -> None:
        if self.task is not None:
            total = next(t.total for t in self.bars.tasks if t.id == self.task) or 1
            self.bars.update(self.task, total=total, completed=total, left="", note="")
            self.bars.stop_task(self.task)


def remaining(seconds: float, done: int, left: int) -> str:
    """'about 40 s left', from the rate so far; empty while there is no rate."""
    if done <= 0 or left <= 0:
        return ""
    estimate = seconds / done * left
    if estimate < 100:
        return f"about {max(1, round(estimate))} s left"
    return f"about {round(estimate / 60)} min left"


def choose(quiet: bool = False) -> Progress:
    """The fitting one for this stderr."""
    if quiet:
        return Quiet()
    return Bar() if sys.stderr.isatty() else Plain()
