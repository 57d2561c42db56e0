"""Progress of a run on stderr: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any, Protocol, runtime_checkable

SECONDS_BETWEEN_LINES = 5.0
WARNING_PREFIX = "warning: "


@runtime_checkable
class Progress(Protocol):
    """Receives the stages and steps of a run. A notebook or a render farm may provide its own."""

    def stage(self, name: str, number: int, count: int) -> None:
        """Begin stage ``number`` (from 1) of ``count``."""

    def step(self, done: int, total: int, note: str = "") -> None:
        """Report that ``done`` of ``total`` steps of the current stage are finished."""

    def log(self, message: str) -> None:
        """Print a line that stays on screen."""

    def warn(self, message: str) -> None:
        """Print a warning; shown in quiet runs too."""

    def close(self) -> None:
        """End the report; called on errors too."""


class QuietProgress:
    """Print warnings only."""

    def stage(self, name: str, number: int, count: int) -> None: ...

    def step(self, done: int, total: int, note: str = "") -> None: ...

    def log(self, message: str) -> None:
        if message.startswith(WARNING_PREFIX):
            print(message, file=sys.stderr, flush=True)

    def warn(self, message: str) -> None:
        self.log(f"{WARNING_PREFIX}{message}")

    def close(self) -> None: ...


class LineProgress(QuietProgress):
    """Print one line per stage, and one every few seconds within it: for logs and pipes."""

    def __init__(self, interval: float = SECONDS_BETWEEN_LINES) -> None:
        self.interval = interval
        self.stage_name, self.start_time, self.last_print_time, self.first_step = "", 0.0, 0.0, -1

    def stage(self, name: str, number: int, count: int) -> None:
        self.stage_name, self.start_time, self.first_step = name, time.monotonic(), -1
        self.last_print_time = self.start_time
        self.log(f"[{number}/{count}] {name}")

    def step(self, done: int, total: int, note: str = "") -> None:
        now = time.monotonic()
        if self.first_step < 0:
            # a resumed run begins at some step > 1: the rate counts from here
            self.first_step, self.start_time = done, now
        if now - self.last_print_time < self.interval and done < total:
            return
        self.last_print_time = now
        eta = format_eta(now - self.start_time, done - self.first_step, total - done)
        self.log("  ".join(part for part in (f"  {self.stage_name} {done}/{total}", eta, note) if part))

    def log(self, message: str) -> None:
        print(message, file=sys.stderr, flush=True)


class BarProgress(QuietProgress):
    """Show rich's progress bar for the current stage."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress as RichProgress, TextColumn, TimeElapsedColumn

        self.rich_progress = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[steps]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]} [dim]{task.fields[note]}"),
            console=Console(stderr=True),
        )
        self.task: Any = None
        self.start_time, self.first_step = 0.0, -1

    def stage(self, name: str, number: int, count: int) -> None:
        self._complete_stage()
        self.start_time, self.first_step = time.monotonic(), -1
        self.rich_progress.start()
        self.task = self.rich_progress.add_task(f"{number}/{count} {name:<20}", total=None, steps="", left="", note="")

    def step(self, done: int, total: int, note: str = "") -> None:
        now = time.monotonic()
        if self.first_step < 0:
            self.first_step, self.start_time = done, now
        eta = format_eta(now - self.start_time, done - self.first_step, total - done)
        if self.task is not None:
            steps = f"{done}/{total}"
            self.rich_progress.update(self.task, completed=done, total=total, steps=steps, left=eta, note=note)

    def log(self, message: str) -> None:
        # markup off: a prompt may contain square brackets
        self.rich_progress.console.print(message, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        # an interrupted stage keeps its position
        if self.task is not None:
            self.rich_progress.stop_task(self.task)
        self.rich_progress.stop()

    def _complete_stage(self) -> None:
        if self.task is not None:
            total = next(t.total for t in self.rich_progress.tasks if t.id == self.task) or 1
            self.rich_progress.update(self.task, total=total, completed=total, left="", note="")
            self.rich_progress.stop_task(self.task)


def format_eta(seconds: float, done: int, steps_left: int) -> str:
    """Format the remaining time at the rate so far, 'about 40 s left'; empty before there is a rate."""
    if done <= 0 or steps_left <= 0:
        return ""
    estimate = seconds / done * steps_left
    if estimate < 100:
        return f"about {max(1, round(estimate))} s left"
    return f"about {round(estimate / 60)} min left"


def default_progress(quiet: bool = False) -> Progress:
    """Return the progress that suits stderr: a bar on a terminal, lines elsewhere, warnings only if ``quiet``."""
    if quiet:
        return QuietProgress()
    return BarProgress() if sys.stderr.isatty() else LineProgress()
