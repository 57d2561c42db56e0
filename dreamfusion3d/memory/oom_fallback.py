"""Plans from the fastest to the one with the least memory, and what happens when memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import torch

from dreamfusion3d.core.errors import InputError
from dreamfusion3d.memory.budget import give_back, ran_out, shown

ROOM = 1.03  # plans are measured anew in every process: what is told must do the next time, too

Choice = TypeVar("Choice")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Plan(Generic[Choice]):
    """One way of taking a step; ``peak`` bytes and ``seconds`` are predictions, None where none was made."""

    choice: Choice
    words: str  # for people
    peak: int | None = None
    seconds: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """For records."""
        seconds = None if self.seconds is None else round(self.seconds, 4)
        return {"plan": self.words, "predicted_peak_bytes": self.peak, "predicted_seconds": seconds}

    def __str__(self) -> str:
        if self.peak is None or self.seconds is None:
            return self.words
        return f"{self.words}: {shown(self.peak)}, {self.seconds:.2f} s a step (predicted)"


@dataclass
class Ladder(Generic[Choice]):
    """``plans`` by rising seconds and falling peak; one of them is taken."""

    plans: list[Plan[Choice]]
    device: torch.device
    notes: list[str] = field(default_factory=list)  # what the user should be told
    at: int = 0

    @property
    def plan(self) -> Plan[Choice]:
        return self.plans[self.at]

    def attempt(self, run: Callable[[Choice], Result], undo: Callable[[], None]) -> Result:
        """``run`` the plan; where memory runs out, ``undo`` what it began and run the next one down.

        Raises InputError when the last one needs more than there is, other errors as they come.
        """
        while True:
            try:
                return run(self.plan.choice)
            except Exception as error:
                if not ran_out(error):
                    raise
                reason = " ".join(str(error).split())[:80]
            # here, and not above: the error holds the frames that hold the tensors
            undo()
            give_back(self.device)
            self._step_down(reason)

    def _step_down(self, reason: str) -> None:
        if self.at + 1 >= len(self.plans):
            raise InputError(
                f"out of memory ({reason}), and no way of taking a step needs less than '{self.plan.words}'; "
                "free some, or make the pictures smaller"
            )
        self.at += 1
        self.notes.append(f"out of memory; going on with less: {self.plan}")

    def told(self) -> str | None:
        """The notes so far, once."""
        notes, self.notes[:] = "; ".join(self.notes), []
        return notes or None


def within(plans: Iterable[Plan[Choice]], budget: int, what: str, advice: str = "") -> list[Plan[Choice]]:
    """Those of ``plans`` that fit, without those that another beats in both, the fastest first.

    Raises InputError with the least budget that would do, and ``advice``.
    """
    best: list[Plan[Choice]] = []
    for plan in sorted(plans, key=lambda p: (p.peak or 0, p.seconds or 0.0)):
        if not best or (plan.seconds or 0.0) < (best[-1].seconds or 0.0):
            best.append(plan)
    fitting = [plan for plan in best if (plan.peak or 0) <= budget]
    if not fitting:
        least = ROOM * (best[0].peak or 0)
        raise InputError(
            f"--memory-budget {shown(budget)} is too little for {what}: the least that would do is "
            f"{shown(least)}{advice and '; ' + advice}"
        )
    return fitting[::-1]
