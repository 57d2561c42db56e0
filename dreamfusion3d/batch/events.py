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
        record = {"event": self.type, **{k: v for k, v in vars(self).items() if k != "type" and v}}
        if "seconds" in record:
            record["seconds"] = round(self.seconds, 3)
        return record


@runtime_checkable
class BatchReporter(Protocol):
    """Receives every event of a batch."""

    def on_event(self, event: Event) -> None: ...

    def refresh(self) -> None:
        """Redraw if needed; called often."""

    def close(self) -> None: ...
