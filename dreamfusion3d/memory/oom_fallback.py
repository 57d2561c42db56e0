"""Plans from the fastest to the one with the least memory, and what happens when memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import torch

from dreamfusion3d.core.errors import InputError
from dreamfusion3d.memory.budget import format_bytes, is_out_of_memory, release_memory

BUDGET_MARGIN = 1.03  # plans are measured anew in every process: what is told must do the next time, too

PlanT = TypeVar("PlanT")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class CostedPlan(Generic[PlanT]):
    """One way of taking a step; ``peak`` bytes and ``seconds`` are predictions, None where none was made."""

    plan: PlanT
    description: str  # for people
    peak: int | None = None
    seconds: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """For records."""
        seconds = None if self.seconds is None else round(self.seconds, 4)
        return {"plan": self.description, "predicted_peak_bytes": self.peak, "predicted_seconds": seconds}

    def __str__(self) -> str:
        if self.peak is None or self.seconds is None:
            return self.description
        return f"{self.description}: {format_bytes(self.peak)}, {self.seconds:.2f} s a step (predicted)"


@dataclass
class FallbackChain(Generic[PlanT]):
    """``plans`` by rising seconds and falling peak; one of them is taken."""

    plans: list[CostedPlan[PlanT]]
    device: torch.device
    warnings: list[str] = field(default_factory=list)  # what the user should be told
    index: int = 0

    @property
    def current(self) -> CostedPlan[PlanT]:
        return self.plans[self.index]

    def run(self, function: Callable[[PlanT], ResultT], undo: Callable[[], None]) -> ResultT:
        """``run`` the plan; where memory runs out, ``undo`` what it began and run the next one down.

        Raises InputError when the last one needs more than there is, other errors as they come.
        """
        while True:
            try:
                return function(self.current.plan)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                reason = " ".join(str(error).split())[:80]
            # here, and not above: the error holds the frames that hold the tensors
            undo()
            release_memory(self.device)
            self._step_down(reason)

    def _step_down(self, reason: str) -> None:
        if self.index + 1 >= len(self.plans):
            raise InputError(
                f"out of memory ({reason}), and no way of taking a step needs less than '{self.current.description}'; "
                "free some, or make the pictures smaller"
            )
        self.index += 1
        self.warnings.append(f"out of memory; going on with less: {self.current}")

    def take_warnings(self) -> str | None:
        """The notes so far, once."""
        warnings, self.warnings[:] = "; ".join(self.warnings), []
        return warnings or None


def select_plans(
    plans: Iterable[CostedPlan[PlanT]], budget: int, subject: str, hint: str = ""
) -> list[CostedPlan[PlanT]]:
    """Those of ``plans`` that fit, without those that another beats in both, the fastest first.

    Raises InputError with the least budget that would do, and ``advice``.
    """
    front: list[CostedPlan[PlanT]] = []
    for plan in sorted(plans, key=lambda p: (p.peak or 0, p.seconds or 0.0)):
        if not front or (plan.seconds or 0.0) < (front[-1].seconds or 0.0):
            front.append(plan)
    fitting = [plan for plan in front if (plan.peak or 0) <= budget]
    if not fitting:
        least_bytes = BUDGET_MARGIN * (front[0].peak or 0)
        raise InputError(
            f"--max-memory {format_bytes(budget)} is too little for {subject}: the least that would do is "
            f"{format_bytes(least_bytes)}{hint and '; ' + hint}"
        )
    return fitting[::-1]
