"""A worker process as its supervisor sees it: started, given a task, listened to, ended."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dreamfusion3d.batch import worker
from dreamfusion3d.batch.worker import Maker, Task

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

LOG_TAIL = 4000  # characters of a worker's log that a failure keeps
SECONDS_TO_END = 5.0


class Hand:
    """One worker process. ``heard`` is when it last said something; ``task`` what it is at."""

    def __init__(self, number: int, device: str, maker: Maker, threads: int | None, log: Path) -> None:
        self.number, self.device, self.log = number, device, log
        self.ready, self.task, self.tries = False, "", 0
        self.first_resident: int | None = None
        self.heard = time.monotonic()
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        log.parent.mkdir(parents=True, exist_ok=True)
        self.process: SpawnProcess = context.Process(
            target=worker.serve, args=(theirs, maker, device, threads, str(log)), daemon=True,
            name=f"dreamfusion3d-{number}",
        )
        with _ctrl_c_ignored():  # inherited, until the worker sees to it itself
            self.process.start()
        theirs.close()

    @property
    def idle(self) -> bool:
        return self.ready and not self.task

    @property
    def silent_seconds(self) -> float:
        return time.monotonic() - self.heard

    @property
    def ears(self) -> list[Connection | int]:
        """What to wait for: a message, or its end."""
        return [self.pipe, self.process.sentinel]

    def give(self, task: Task, tries: int) -> bool:
        """Hands a task over; False when the worker is gone."""
        self.task, self.tries, self.heard = task.name, tries, time.monotonic()
        try:
            worker.send(self.pipe, worker.task_message(task))
        except OSError:
            return False
        return True

    def messages(self) -> Iterator[dict[str, Any]]:
        """All that has come; ends early when the worker is gone."""
        with contextlib.suppress(EOFError, OSError):
            while self.pipe.poll():
                self.heard = time.monotonic()
                yield worker.receive(self.pipe)

    def gone(self) -> bool:
        return not self.process.is_alive()

    def ending(self) -> str:
        """How a dead process ended."""
        code = self.process.exitcode
        if code is not None and code < 0:
            with contextlib.suppress(ValueError):
                name = signal.Signals(-code).name
                hint = "; perhaps the machine had no memory left" if name == "SIGKILL" else ""
                return f"the worker was ended by {name}{hint}"
        return f"the worker ended with exit code {code}"

    def tail(self) -> str:
        """The end of its log."""
        with contextlib.suppress(OSError):
            return self.log.read_bytes()[-4 * LOG_TAIL:].decode(errors="replace")[-LOG_TAIL:].strip()
        return ""

    def explain(self) -> None:
        """Asks a hung worker for the traceback of where it hangs, into its log."""
        if hasattr(signal, "SIGUSR1") and self.process.pid is not None:
            with contextlib.suppress(OSError):
                os.kill(self.process.pid, signal.SIGUSR1)
                time.sleep(0.2)

    def kill(self) -> None:
        """At once, with all that it started."""
        pid = self.process.pid
        if pid is not None and self.process.is_alive() and hasattr(os, "killpg"):
            with contextlib.suppress(OSError):
                os.killpg(pid, signal.SIGKILL)  # its own group once it is settled
        self.process.kill()
        self.close()

    def dismiss(self) -> None:
        """Lets an idle worker go: it ends when its pipe does."""
        self.pipe.close()
        self.process.join(SECONDS_TO_END)
        if self.process.is_alive():
            self.process.kill()
        self.process.join(SECONDS_TO_END)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.pipe.close()
        self.process.join(SECONDS_TO_END)


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
