"""A worker as its supervisor sees it: hired, given a task, listened to, ended."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from dreamfusion3d.batch import worker
from dreamfusion3d.batch.worker import Maker, Message, Task

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

LOG_TAIL = 4000  # characters of a worker's log that a failure keeps
SECONDS_TO_END = 5.0


class Hand(ABC):
    """One worker, wherever it is. ``heard`` is when it last said something; ``task`` what it is at."""

    def __init__(self, number: int, device: str, log: Path) -> None:
        self.number, self.device, self.log = number, device, log
        self.ready, self.task, self.tries = False, "", 0
        self.first_resident: int | None = None
        self.heard = time.monotonic()
        log.parent.mkdir(parents=True, exist_ok=True)

    @property
    def idle(self) -> bool:
        return self.ready and not self.task

    @property
    def silent_seconds(self) -> float:
        return time.monotonic() - self.heard

    def give(self, task: Task, tries: int) -> None:
        """Hands a task over; that the worker is gone is noticed later."""
        self.task, self.tries, self.heard = task.name, tries, time.monotonic()
        self._send(task)

    def tail(self) -> str:
        """The end of its log."""
        with contextlib.suppress(OSError):
            return self.log.read_bytes()[-4 * LOG_TAIL:].decode(errors="replace")[-LOG_TAIL:].strip()
        return ""

    @abstractmethod
    def _send(self, task: Task) -> None: ...

    @abstractmethod
    def messages(self) -> Iterator[Message]:
        """All that has come; ends early when the worker is gone."""

    @abstractmethod
    def gone(self) -> bool: ...

    @abstractmethod
    def ending(self) -> str:
        """How a worker that is gone ended."""

    @abstractmethod
    def explain(self) -> None:
        """Asks a hung worker for the traceback of where it hangs, into its log."""

    @abstractmethod
    def kill(self) -> None:
        """At once, with all that it started."""

    @abstractmethod
    def let_go(self) -> None:
        """Tells an idle worker that nothing more comes, and waits for nothing."""

    @abstractmethod
    def dismiss(self) -> None:
        """Ends an idle worker."""


@runtime_checkable
class Crew(Protocol):
    """Whom a supervisor may hire: a worker for each of ``devices``."""

    @property
    def devices(self) -> Sequence[str]: ...

    def hire(self, number: int, log: Path) -> Hand:
        """Starts the worker for ``devices[number - 1]``."""

    def listen(self, hands: Sequence[Hand], seconds: float) -> None:
        """Returns when one of them has something to say or is gone, at the latest after ``seconds``."""


class ProcessHand(Hand):
    """A process of this machine."""

    def __init__(self, number: int, device: str, maker: Maker, threads: int | None, log: Path) -> None:
        super().__init__(number, device, log)
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(
            target=worker.serve, args=(theirs, maker, device, threads, str(log)), daemon=True,
            name=f"dreamfusion3d-{number}",
        )
        with _ctrl_c_ignored():  # inherited, until the worker sees to it itself
            self.process.start()
        theirs.close()

    @property
    def ears(self) -> list[Connection | int]:
        """What to wait for: a message, or its end."""
        return [self.pipe, self.process.sentinel]

    def _send(self, task: Task) -> None:
        with contextlib.suppress(OSError):
            worker.send(self.pipe, worker.task_message(task))

    def messages(self) -> Iterator[Message]:
        with contextlib.suppress(EOFError, OSError):
            while self.pipe.poll():
                self.heard = time.monotonic()
                yield worker.receive(self.pipe)

    def gone(self) -> bool:
        return not self.process.is_alive()

    def ending(self) -> str:
        code = self.process.exitcode
        if code is not None and code < 0:
            with contextlib.suppress(ValueError):
                name = signal.Signals(-code).name
                hint = "; perhaps the machine had no memory left" if name == "SIGKILL" else ""
                return f"the worker was ended by {name}{hint}"
        return f"the worker ended with exit code {code}"

    def explain(self) -> None:
        if hasattr(signal, "SIGUSR1") and self.process.pid is not None:
            with contextlib.suppress(OSError):
                os.kill(self.process.pid, signal.SIGUSR1)
                time.sleep(0.2)

    def kill(self) -> None:
        pid = self.process.pid
        if pid is not None and self.process.is_alive() and hasattr(os, "killpg"):
            with contextlib.suppress(OSError):
                os.killpg(pid, signal.SIGKILL)  # its own group once it is settled
        self.process.kill()
        self.close()

    def let_go(self) -> None:
        self.pipe.close()  # it ends when its pipe does

    def dismiss(self) -> None:
        self.let_go()
        self.process.join(SECONDS_TO_END)
        if self.process.is_alive():
            self.process.kill()
        self.process.join(SECONDS_TO_END)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.pipe.close()
        self.process.join(SECONDS_TO_END)


@dataclass(frozen=True)
class Team:
    """A process for each of ``devices``. ``threads``: cores that each may use; None leaves it to torch."""

    devices: Sequence[str] = ("auto",)
    threads: int | None = None
    maker: Maker = worker.make_assets

    def hire(self, number: int, log: Path) -> Hand:
        return ProcessHand(number, self.devices[number - 1], self.maker, self.threads, log)

    def listen(self, hands: Sequence[Hand], seconds: float) -> None:
        wait([ear for hand in hands if isinstance(hand, ProcessHand) for ear in hand.ears], seconds)


@contextlib.contextmanager
def _ctrl_c_ignored() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
