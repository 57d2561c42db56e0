"""A batch on its workers: those that crash, hang or grow are replaced, and their rows are tried again.

Nothing is remembered here that the folder does not hold: a supervisor that is killed loses the steps since
the last checkpoints, and the same command goes on.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dreamfusion3d.batch.events import BatchReporter, Event
from dreamfusion3d.batch.plan import Item
from dreamfusion3d.batch.state import STATE_FOLDER, Outcome
from dreamfusion3d.batch.worker import Message, Task
from dreamfusion3d.batch.workers import WorkerHandle, WorkerPool
from dreamfusion3d.core import config as configs
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.pipelines.workspace import check_free_space

POLL_SECONDS = 0.5
MAX_RETRY_DELAY_SECONDS = 120.0  # seconds between two tries
MAX_FAILED_STARTS = 3  # in a row that fail before the batch is given up


@dataclass(frozen=True)
class Limits:
    """When a worker is replaced, and how often a row is tried."""

    timeout: float = 1800.0  # seconds without a sign of progress: the worker hangs
    max_attempts: int = 3
    retry_delay: float = 2.0  # seconds before the second try, doubled for each further one
    max_memory_growth: float = 2.0  # of a worker's memory over that after its first asset, and at least
    min_memory_growth_bytes: int = 1 << 30


@dataclass
class PendingItem:
    item: Item
    attempts: int = 0  # behind it
    not_before: float = 0.0  # on the monotonic clock
    seconds: float = 0.0


class Supervisor:
    """Makes ``items`` in ``out``. ``settled`` is told of each that needs no more work."""

    def __init__(
        self,
        items: Sequence[Item],
        out: Path,
        pool: WorkerPool,
        reporter: BatchReporter,
        *,
        limits: Limits | None = None,
        overwrite: bool = False,
        on_finished: Callable[[Item, Outcome], None] | None = None,
        log_suffix: str = "",
    ) -> None:
        self.items = {item.name: item for item in items}
        self.out, self.pool, self.reporter = out, pool, reporter
        self.limits, self.overwrite = limits or Limits(), overwrite
        self.on_finished = on_finished or (lambda item, outcome: None)
        self.log_suffix = log_suffix
        # by prior, so that a worker seldom loads another; stable, so that the manifest's order stays
        ordered = sorted(items, key=lambda item: item.config.prior.name)
        self.queue = [PendingItem(item) for item in ordered]
        self.running: dict[int, PendingItem] = {}
        self.handles: dict[int, WorkerHandle] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.stop_signals = 0  # Ctrl-Cs so far
        self.failed_starts = 0
        self.fatal_error: InputError | None = None  # why no row can go on

    @property
    def stopped(self) -> bool:
        return self.stop_signals > 0

    def run(self) -> dict[str, Outcome]:
        """The outcome of every item; "left" for those that a stop came before.

        Raises InputError when no row can go on: no worker starts, or the folder cannot be written.
        """
        with self._handle_signals():
            try:
                while self._work_left() and self.stop_signals < 2:
                    self._dispatch()
                    self._process_messages()
                    self._replace_failed_workers()
            finally:
                self._shutdown_workers()
        if self.fatal_error is not None:
            raise self.fatal_error
        for name in self.items:
            self.outcomes.setdefault(name, Outcome("left"))
        return self.outcomes

    # --- one turn of the loop ---

    def _work_left(self) -> bool:
        return bool(self.running) or (bool(self.queue) and not self.stopped and self.fatal_error is None)

    def _dispatch(self) -> None:
        """Workers for the rows that wait, and rows for the workers that are idle."""
        if self.stopped or self.fatal_error is not None:
            return
        now = time.monotonic()
        ready = [p for p in self.queue if p.not_before <= now]
        for number, device in enumerate(self.pool.devices, 1):
            handle = self.handles.get(number)
            if handle is None and len(ready) > sum(not h.task_name for h in self.handles.values()):
                log = self.out / STATE_FOLDER / f"worker{self.log_suffix}_{number}.log"
                self.handles[number] = self.pool.start_worker(number, log)
                self.reporter.on_event(Event("worker", worker=number, note=f"started on {device}"))
            elif handle is not None and handle.idle and ready:
                self._assign(handle, ready.pop(0))

    def _assign(self, handle: WorkerHandle, pending: PendingItem) -> None:
        self.queue.remove(pending)
        self.running[handle.number] = pending
        item = pending.item
        task = Task(
            item.name,
            item.prompt,
            item.seed,
            configs.config_to_dict(item.config),
            str(self.out),
            self.overwrite,
            item.asset_name,
        )
        handle.assign(task, pending.attempts + 1)  # a worker that is gone is noticed by _police
        self.reporter.on_event(Event("begun", item.name, handle.number, attempt=pending.attempts + 1))

    def _process_messages(self) -> None:
        if self.handles:
            self.pool.wait_for_messages(list(self.handles.values()), POLL_SECONDS)
        else:
            time.sleep(
                min(
                    POLL_SECONDS,
                    0.05 + max(0.0, min((p.not_before for p in self.queue), default=0.0) - time.monotonic()),
                )
            )
        for handle in list(self.handles.values()):
            for message in handle.receive_messages():
                self._handle_message(handle, message)
        self.reporter.refresh()

    def _handle_message(self, handle: WorkerHandle, message: Message) -> None:
        message_type = message["kind"]
        if message_type == "ready":
            handle.ready, self.failed_starts = True, 0
        elif message_type == "stage":
            self.reporter.on_event(Event("stage", handle.task_name, handle.number, stage=message["stage"]))
        elif message_type == "step":
            done, total = message["done"], message["total"]
            self.reporter.on_event(Event("step", handle.task_name, handle.number, done=done, total=total))
        elif message_type == "say":
            self.reporter.on_event(Event("say", handle.task_name, handle.number, note=message["note"]))
        else:
            self._handle_result(handle, message)

    def _handle_result(self, handle: WorkerHandle, message: Message) -> None:
        pending = self.running.pop(handle.number)
        pending.attempts, pending.seconds = pending.attempts + 1, pending.seconds + message["seconds"]
        handle.task_name = ""
        if message["kind"] == "done":
            self._finish_item(pending, Outcome(message["status"], attempts=pending.attempts, seconds=pending.seconds))
        else:
            self._retry_or_fail(pending, message["how"], message["reason"], handle.log_tail())
            if message["how"] == "error":  # what it leaves in the process is not to be trusted
                self._replace_worker(handle, "after an error")
                return
        self._check_memory(handle, message["resident"])

    def _check_memory(self, handle: WorkerHandle, resident: int | None) -> None:
        if resident is None:
            return
        if handle.baseline_memory is None:
            handle.baseline_memory = resident
        baseline, limits = handle.baseline_memory, self.limits
        if resident > baseline * limits.max_memory_growth and resident > baseline + limits.min_memory_growth_bytes:
            self._replace_worker(handle, f"its memory grew from {baseline >> 20} to {resident >> 20} MB")

    def _replace_failed_workers(self) -> None:
        """Workers that died or fell silent are replaced; what they were at is tried again."""
        for handle in list(self.handles.values()):
            if handle.has_exited():
                for message in handle.receive_messages():  # what it said before its end counts
                    self._handle_message(handle, message)
                if handle.number in self.handles:
                    self._handle_lost_worker(handle, "crash", handle.exit_reason())
            elif not handle.idle and handle.seconds_since_message > self.limits.timeout:
                handle.dump_traceback()
                self._handle_lost_worker(handle, "hang", f"no sign of progress for {self.limits.timeout:g} s")

    def _handle_lost_worker(self, handle: WorkerHandle, failure_type: str, reason: str) -> None:
        tail = handle.log_tail()
        self._replace_worker(handle, reason)
        pending = self.running.pop(handle.number, None)
        if pending is not None:
            pending.attempts, pending.seconds = (pending.attempts + 1, pending.seconds + handle.seconds_since_message)
            self._retry_or_fail(pending, failure_type, reason, tail)
        elif not handle.ready:
            self.failed_starts += 1
            if self.failed_starts >= MAX_FAILED_STARTS and self.fatal_error is None:
                last = tail.splitlines()[-1] if tail else "its log is empty"
                self.fatal_error = InputError(f"no worker starts: {reason} ({last}); the log is {handle.log}")

    def _replace_worker(self, handle: WorkerHandle, reason: str) -> None:
        """Ends a worker; `_dispatch` starts another where there is work for it."""
        self.reporter.on_event(Event("worker", handle.task_name, handle.number, note=f"replaced: {reason}"))
        del self.handles[handle.number]
        handle.kill()

    # --- what becomes of a row ---

    def _retry_or_fail(self, pending: PendingItem, failure_type: str, reason: str, log: str) -> None:
        """Back to the queue after a pause, or set aside; the user's own mistakes are not tried again."""
        name = pending.item.name
        if self.fatal_error is None:
            try:
                check_free_space(self.out)
            except InputError as error:
                self.fatal_error = error  # every other row would fail likewise
        if self.fatal_error is not None:
            self.queue.append(pending)
        elif failure_type == "input" or pending.attempts >= self.limits.max_attempts:
            self._finish_item(pending, Outcome("failed", failure_type, reason, pending.attempts, pending.seconds, log))
        else:
            delay = min(MAX_RETRY_DELAY_SECONDS, self.limits.retry_delay * 2 ** (pending.attempts - 1))
            pending.not_before = time.monotonic() + delay
            self.queue.append(pending)
            note = f"{reason}; again in {delay:g} s"
            self.reporter.on_event(Event("again", name, attempt=pending.attempts + 1, note=note))

    def _finish_item(self, pending: PendingItem, outcome: Outcome) -> None:
        name, seconds = pending.item.name, outcome.seconds
        self.outcomes[name] = outcome
        self.reporter.on_event(
            Event(outcome.status, name, attempt=outcome.attempts, note=outcome.reason, seconds=seconds)
        )
        self.on_finished(pending.item, outcome)

    # --- the end ---

    def _shutdown_workers(self) -> None:
        idle = [handle for handle in self.handles.values() if handle.idle]
        for handle in idle:  # before any is waited for: they end side by side
            handle.request_shutdown()
        for handle in self.handles.values():
            if handle in idle:
                handle.shutdown()
            else:
                handle.kill()
        self.handles.clear()
        self.running.clear()

    @contextlib.contextmanager
    def _handle_signals(self) -> Iterator[None]:
        """The first Ctrl-C lets the assets that are begun be finished; the second, or a SIGTERM, does not."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(number: int, _: object) -> None:
            self.stop_signals += 1 if number == signal.SIGINT else 2
            if self.stop_signals == 1:
                # by hand: a signal handler must not enter a table that may be half drawn
                os.write(2, b"\nstopping once the assets that are begun are done; Ctrl-C again: at once\n")

        previous_handlers = {s: signal.signal(s, stop) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in previous_handlers.items():
                signal.signal(number, handler)
