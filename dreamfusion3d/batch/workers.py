"""Worker handles and pools, as seen by the supervisor; here for processes of this machine."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from dreamfusion3d.batch import worker
from dreamfusion3d.batch.worker import Message, Task, TaskRunnerFactory

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

LOG_TAIL_CHARS = 4000  # of a worker's log, kept with a failure
JOIN_TIMEOUT_SECONDS = 5.0


class WorkerHandle(ABC):
    """A local or remote worker. ``task_name`` is the item it works on, empty if none."""

    def __init__(self, number: int, device: str, log: Path) -> None:
        self.number, self.device, self.log = number, device, log
        self.ready, self.task_name = False, ""
        self.baseline_memory: int | None = None
        self.last_message_time = time.monotonic()
        log.parent.mkdir(parents=True, exist_ok=True)

    @property
    def idle(self) -> bool:
        return self.ready and not self.task_name

    @property
    def seconds_since_message(self) -> float:
        return time.monotonic() - self.last_message_time

    def assign(self, task: Task) -> None:
        """Send a task; a worker that has died is detected later."""
        self.task_name, self.last_message_time = task.name, time.monotonic()
        self._send(task)

    def log_tail(self) -> str:
        """Return the end of the worker's log."""
        with contextlib.suppress(OSError):
            return self.log.read_bytes()[-4 * LOG_TAIL_CHARS :].decode(errors="replace")[-LOG_TAIL_CHARS:].strip()
        return ""

    @abstractmethod
    def _send(self, task: Task) -> None: ...

    @abstractmethod
    def receive_messages(self) -> Iterator[Message]:
        """Yield all messages received so far; ends early if the worker is gone."""

    @abstractmethod
    def has_exited(self) -> bool: ...

    @abstractmethod
    def exit_reason(self) -> str:
        """Return why an exited worker ended."""

    @abstractmethod
    def dump_traceback(self) -> None:
        """Make a hung worker write its traceback to its log."""

    @abstractmethod
    def kill(self) -> None:
        """Kill the worker and its child processes immediately."""

    @abstractmethod
    def request_shutdown(self) -> None:
        """Ask an idle worker to end, without waiting for it."""

    @abstractmethod
    def shutdown(self) -> None:
        """End an idle worker and wait for it."""


@runtime_checkable
class WorkerPool(Protocol):
    """A source of workers, one per entry of ``devices``."""

    @property
    def devices(self) -> Sequence[str]: ...

    def start_worker(self, number: int, log: Path) -> WorkerHandle:
        """Start the worker for ``devices[number - 1]``."""

    def wait_for_messages(self, handles: Sequence[WorkerHandle], timeout: float) -> None:
        """Wait until a worker has sent a message or exited, at most ``timeout`` seconds."""


class ProcessWorkerHandle(WorkerHandle):
    """A worker process on this machine."""

    def __init__(
        self, number: int, device: str, runner_factory: TaskRunnerFactory, threads: int | None, log: Path
    ) -> None:
        super().__init__(number, device, log)
        context = multiprocessing.get_context("spawn")
        self.pipe, child_pipe = context.Pipe()
        self.process: SpawnProcess = context.Process(
            target=worker.run_worker,
            args=(child_pipe, runner_factory, device, threads, str(log)),
            daemon=True,
            name=f"dreamfusion3d-{number}",
        )
        with _ignore_sigint():  # inherited by the process until it sets its own handler
            self.process.start()
        child_pipe.close()

    def _send(self, task: Task) -> None:
        with contextlib.suppress(OSError):
            worker.send_message(self.pipe, asdict(task))

    def receive_messages(self) -> Iterator[Message]:
        with contextlib.suppress(EOFError, OSError):
            while self.pipe.poll():
                self.last_message_time = time.monotonic()
                yield worker.receive_message(self.pipe)

    def has_exited(self) -> bool:
        return not self.process.is_alive()

    def exit_reason(self) -> str:
        code = self.process.exitcode
        if code is not None and code < 0:
            with contextlib.suppress(ValueError):
                name = signal.Signals(-code).name
                hint = "; the machine may have run out of memory" if name == "SIGKILL" else ""
                return f"the worker was killed by {name}{hint}"
        return f"the worker exited with code {code}"

    def dump_traceback(self) -> None:
        if hasattr(signal, "SIGUSR1") and self.process.pid is not None:
            with contextlib.suppress(OSError):
                os.kill(self.process.pid, signal.SIGUSR1)
                time.sleep(0.2)

    def kill(self) -> None:
        pid = self.process.pid
        if pid is not None and self.process.is_alive() and hasattr(os, "killpg"):
            with contextlib.suppress(OSError):
                os.killpg(pid, signal.SIGKILL)  # its own group, once it has set itself up
        self.process.kill()
        with contextlib.suppress(OSError):
            self.pipe.close()
        self.process.join(JOIN_TIMEOUT_SECONDS)

    def request_shutdown(self) -> None:
        self.pipe.close()  # the worker ends when its pipe closes

    def shutdown(self) -> None:
        self.request_shutdown()
        self.process.join(JOIN_TIMEOUT_SECONDS)
        self.process.kill()  # does nothing if it has ended
        self.process.join(JOIN_TIMEOUT_SECONDS)


@dataclass(frozen=True)
class LocalPool:
    """One process per device, each limited to ``threads`` CPU threads (None: torch's default)."""

    devices: Sequence[str] = ("auto",)
    threads: int | None = None
    runner_factory: TaskRunnerFactory = worker.create_asset_runner

    def start_worker(self, number: int, log: Path) -> WorkerHandle:
        return ProcessWorkerHandle(number, self.devices[number - 1], self.runner_factory, self.threads, log)

    def wait_for_messages(self, handles: Sequence[WorkerHandle], timeout: float) -> None:
        processes = [handle for handle in handles if isinstance(handle, ProcessWorkerHandle)]
        wait([w for handle in processes for w in (handle.pipe, handle.process.sentinel)], timeout)


@contextlib.contextmanager
def _ignore_sigint() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous_handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous_handler)
