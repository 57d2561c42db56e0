"""Log of the steps of a run, work/steps.jsonl."""

from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dreamfusion3d.core import files

if TYPE_CHECKING:
    from dreamfusion3d.training.loop import Step

TRAINING_STAGES = ("optimize", "paint")  # in order; each counts its own steps
MAX_LOG_LINES = 4000


def stage_position(stage: str, step: int) -> tuple[int, int]:
    """Return the sort key of a step of a run."""
    return TRAINING_STAGES.index(stage), step


def read_step_log(work: Path) -> list[dict[str, Any]]:
    """Return the entries of steps.jsonl, oldest first; damaged lines are left out."""
    steps = []
    with contextlib.suppress(OSError):
        for line in (work / "steps.jsonl").read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):
                step = json.loads(line)
                if step["stage"] in TRAINING_STAGES and isinstance(step["step"], int):
                    steps.append(step)
    return steps


class StepLog:
    """Writer of steps.jsonl, one object per step: stage, step, total, gradient norm, losses by name, seconds.

    At ``max_lines`` lines every second one is dropped, and half as many are written from then on.
    """

    def __init__(self, work: Path, stage: str, max_lines: int | None = None) -> None:
        self.work, self.path, self.stage = work, work / "steps.jsonl", stage
        self.max_lines = max_lines or MAX_LOG_LINES
        self.stride, self.loaded = 1, False
        self.entries: list[dict[str, Any]] = []

    def add(self, step: Step) -> None:
        """Append a step. A full disk is reported by the checkpoint, not here."""
        with contextlib.suppress(OSError):
            if not self.loaded:
                self._load_earlier(step.index)
            if step.index % self.stride and step.index != step.total:
                return
            entry = {
                "stage": self.stage,
                "step": step.index,
                "total": step.total,
                "gradient_norm": _finite_or_none(step.gradient_norm),
                "losses": {name: _finite_or_none(value) for name, value in step.losses.items()},
                "seconds": round(step.seconds, 6),
            }
            self.entries.append(entry)
            if len(self.entries) > self.max_lines:
                self.stride *= 2
                self.entries = self.entries[1::2]
                self._rewrite()
            else:
                with open(self.path, "a", encoding="utf-8") as stream:
                    stream.write(json.dumps(entry) + "\n")

    def _load_earlier(self, index: int) -> None:
        """Keep what an earlier process logged of the steps before ``index``."""
        position = stage_position(self.stage, index)
        self.entries = [s for s in read_step_log(self.work) if stage_position(s["stage"], s["step"]) < position]
        self.loaded = True
        self._rewrite()

    def _rewrite(self) -> None:
        files.write_bytes(self.path, "".join(json.dumps(entry) + "\n" for entry in self.entries).encode())


def _finite_or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
