"""Plans ordered from the fastest to the one with the least memory, and the fallback when memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import torch

from dreamfusion3d.core.errors import InputError
from dreamfusion3d.memory.budget import format_bytes, is_out_of_memory, release_memory

BUDGET_MARGIN = 1.03  # costs are measured anew in every process: the reported minimum must suffice next time too

PlanT = TypeVar("PlanT")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class CostedPlan(Generic[PlanT]):
    """A plan for one step with its predicted ``peak`` in bytes and ``seconds``; None if not predicted."""

    plan: PlanT
    description: str  # for messages
    peak: int | None = None
    seconds: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the plan and its predictions for JSON."""
        seconds = None if self.seconds is None else round(self.seconds, 4)
        return {"plan": self.description, "predicted_peak_bytes": self.peak, "predicted_seconds": seconds}

    def __str__(self) -> str:
        if self.peak is None or self.seconds is None:
            return self.description
        return f"{self.description}: {format_bytes(self.peak)}, {self.seconds:.2f} s per step (predicted)"


@dataclass
class FallbackChain(Generic[PlanT]):
    """Plans by increasing seconds and decreasing peak, of which one is current."""

    plans: list[CostedPlan[PlanT]]
    device: torch.device
    warnings: list[str] = field(default_factory=list)  # for the user, see `take_warnings`
    index: int = 0

    @property
    def current(self) -> CostedPlan[PlanT]:
        return self.plans[self.index]

    def run(self, function: Callable[[PlanT], ResultT], undo: Callable[[], None]) -> ResultT:
        """Call ``function`` with the current plan; when memory runs out, call ``undo`` and fall back to the next plan.

        Raises InputError if memory runs out under the last plan. Other errors propagate.
        """
        while True:
            try:
                return function(self.current.plan)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                reason = " ".join(str(error).split())[:80]
            # not in the handler above: there the error still holds the frames that hold the tensors
            undo()
            release_memory(self.device)
            self._step_down(reason)

    def _step_down(self, reason: str) -> None:
        if self.index + 1 >= len(self.plans):
            raise InputError(
                f"out of memory even in the smallest configuration ('{self.current.description}'): {reason}. "
                "Lower render.resolution or optim.num_views, or free memory"
            )
        self.index += 1
        self.warnings.append(f"out of memory; continuing with {self.current}")

    def take_warnings(self) -> str | None:
        """Return the warnings so far and clear them; None if there are none."""
        warnings, self.warnings[:] = "; ".join(self.warnings), []
        return warnings or None


def select_plans(
    plans: Iterable[CostedPlan[PlanT]], budget: int, subject: str, hint: str = ""
) -> list[CostedPlan[PlanT]]:
    """Return the Pareto-optimal plans that fit ``budget`` bytes, fastest first.

    Raises InputError with the smallest sufficient budget if no plan fits; it names ``subject``, e.g. "a step".
    """
    front: list[CostedPlan[PlanT]] = []
    for plan in sorted(plans, key=lambda p: (p.peak or 0, p.seconds or 0.0)):
        if not front or (plan.seconds or 0.0) < (front[-1].seconds or 0.0):
            front.append(plan)
    fitting = [plan for plan in front if (plan.peak or 0) <= budget]
    if not fitting:
        least_bytes = BUDGET_MARGIN * (front[0].peak or 0)
        raise InputError(
            f"--max-memory {format_bytes(budget)} is too little for {subject}; the minimum is "
            f"{format_bytes(least_bytes)}{hint and '; ' + hint}"
        )
    return fitting[::-1]
