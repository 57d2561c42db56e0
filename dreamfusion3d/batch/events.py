"""Events of a batch, and the protocol of the reporters that receive them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True)
class Event:
    """One event; ``type`` is started, stage, step, log, retry, worker, worker_replaced, or an `ItemStatus`."""

    type: str
    name: str = ""
    worker: int = 0
    stage: str = ""
    done: int = 0
    total: int = 0
    attempt: int = 0
    seconds: float = 0.0
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON object without empty fields."""
        fields = {k: round(v, 3) if k == "seconds" else v for k, v in vars(self).items() if v}
        return {"event": fields.pop("type"), **fields}


@runtime_checkable
class BatchReporter(Protocol):
    """Receives every event of a batch; subclasses need only ``on_event``."""

    def on_event(self, event: Event) -> None: ...

    def refresh(self) -> None:
        """Redraw if needed; called often."""
        return

    def close(self) -> None:
        return
