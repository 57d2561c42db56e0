"""What happens in a batch, and who may want to know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True)
class Event:
    """``kind`` is begun, stage, step, say, again, worker, or the `Status` of an item that is settled."""

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
        """Without what is empty."""
        record = {"event": self.type, **{k: v for k, v in vars(self).items() if k != "type" and v}}
        if "seconds" in record:
            record["seconds"] = round(self.seconds, 3)
        return record


@runtime_checkable
class BatchReporter(Protocol):
    """Told of all that happens."""

    def on_event(self, event: Event) -> None: ...

    def refresh(self) -> None:
        """Called often; the time to draw."""

    def close(self) -> None: ...
