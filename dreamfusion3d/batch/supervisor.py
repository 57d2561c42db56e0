"""Supervision of a batch's workers: workers that crash, hang or leak memory are replaced, items are retried.

All state is in the folder: if the supervisor is killed, only the steps since the last checkpoints are lost, and
the same command resumes.
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
from dreamfusion3d.core.folders import check_free_space

POLL_SECONDS = 0.5
MAX_RETRY_DELAY_SECONDS = 120.0
MAX_FAILED_STARTS = 3  # in a row, after which the batch is aborted


@dataclass(frozen=True)
class Limits:
    """When a worker is replaced, and how often an item is retried."""

    timeout: float = 1800.0  # seconds without progress after which a worker counts as hung
    max_attempts: int = 3
    retry_delay: float = 2.0  # seconds before the second attempt, doubled for each further one
    max_memory_growth: float = 2.0  # factor over a worker's memory after its first asset ...
    min_memory_growth_bytes: int = 1 << 30  # ... if it has grown by at least this much


@dataclass
class PendingItem:
    """An item that waits for a worker, with its past attempts."""

    item: Item
    attempts: int = 0  # finished ones
    not_before: float = 0.0  # on the monotonic clock
    seconds: float = 0.0

    def add_attempt(self, seconds: float) -> None:
        self.attempts, self.seconds = self.attempts + 1, self.seconds + seconds


class Supervisor:
    """Makes ``items`` in ``out`` and calls ``on_finished`` for each item that needs no more work."""

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
        self.out, self.pool, self.reporter = out, pool, reporter
        self.limits, self.overwrite = limits or Limits(), overwrite
        self.on_finished = on_finished or (lambda item, outcome: None)
        self.log_suffix = log_suffix
        # sorted by prior, so that workers rarely load another; the sort is stable
        self.queue = [PendingItem(item) for item in sorted(items, key=lambda item: item.config.prior.name)]
        self.running: dict[int, PendingItem] = {}
        self.handles: dict[int, WorkerHandle] = {}
        self.stop_signals = 0  # 1: finish the running items; 2: stop at once
        self.failed_starts = 0
        self.fatal_error: InputError | None = None  # why no item can be made

    @property
    def stopped(self) -> bool:
        return self.stop_signals > 0

    def run(self) -> None:
        """Make all items, until stopped. Raises InputError if no worker starts or the folder is not writable."""
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

    # --- one iteration of the loop ---

    def _work_left(self) -> bool:
        return bool(self.running) or (bool(self.queue) and not self.stopped and self.fatal_error is None)

    def _dispatch(self) -> None:
        """Start workers for waiting items and assign items to idle workers."""
        if self.stopped or self.fatal_error is not None:
            return
        ready = [p for p in self.queue if p.not_before <= time.monotonic()]
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
        item, config = pending.item, configs.config_to_dict(pending.item.config)
        handle.assign(Task(item.name, item.prompt, item.seed, config, str(self.out), self.overwrite, item.asset_name))
        self.reporter.on_event(Event("started", item.name, handle.number, attempt=pending.attempts + 1))

    def _process_messages(self) -> None:
        if self.handles:
            self.pool.wait_for_messages(list(self.handles.values()), POLL_SECONDS)
        else:
            delay = min((p.not_before for p in self.queue), default=0.0) - time.monotonic()
            time.sleep(min(POLL_SECONDS, 0.05 + max(0.0, delay)))
        for handle in list(self.handles.values()):
            for message in handle.receive_messages():
                self._handle_message(handle, message)
        self.reporter.refresh()

    def _handle_message(self, handle: WorkerHandle, message: Message) -> None:
        if message["type"] == "ready":
            handle.ready, self.failed_starts = True, 0
        elif message["type"] in ("stage", "step", "log"):
            self.reporter.on_event(Event(name=handle.task_name, worker=handle.number, **message))
        else:
            self._handle_result(handle, message)

    def _handle_result(self, handle: WorkerHandle, message: Message) -> None:
        pending = self.running.pop(handle.number)
        pending.add_attempt(message["seconds"])
        handle.task_name = ""
        if message["type"] == "done":
            self._finish_item(pending, Outcome(message["status"], attempts=pending.attempts, seconds=pending.seconds))
        else:
            self._retry_or_fail(pending, message["failure_type"], message["reason"], handle.log_tail())
            if message["failure_type"] == "error":  # the process may be in a bad state
                self._replace_worker(handle, "after an error")
                return
        self._check_memory(handle, message["resident"])

    def _check_memory(self, handle: WorkerHandle, resident: int) -> None:
        if handle.baseline_memory is None:
            handle.baseline_memory = resident
        baseline, limits = handle.baseline_memory, self.limits
        if resident > baseline * limits.max_memory_growth and resident > baseline + limits.min_memory_growth_bytes:
            self._replace_worker(handle, f"its memory grew from {baseline >> 20} to {resident >> 20} MB")

    def _replace_failed_workers(self) -> None:
        """Replace workers that have exited or hang, and retry their items."""
        for handle in list(self.handles.values()):
            if handle.has_exited():
                for message in handle.receive_messages():  # messages sent before it ended count
                    self._handle_message(handle, message)
                if handle.number in self.handles:
                    self._handle_lost_worker(handle, "crash", handle.exit_reason())
            elif not handle.idle and handle.seconds_since_message > self.limits.timeout:
                handle.dump_traceback()
                self._handle_lost_worker(handle, "hang", f"no progress for {self.limits.timeout:g} s")

    def _handle_lost_worker(self, handle: WorkerHandle, failure_type: str, reason: str) -> None:
        tail = handle.log_tail()
        self._replace_worker(handle, reason)
        pending = self.running.pop(handle.number, None)
        if pending is not None:
            pending.add_attempt(handle.seconds_since_message)
            self._retry_or_fail(pending, failure_type, reason, tail)
        elif not handle.ready:
            self.failed_starts += 1
            if self.failed_starts >= MAX_FAILED_STARTS and self.fatal_error is None:
                last = tail.splitlines()[-1] if tail else "its log is empty"
                self.fatal_error = InputError(f"workers fail to start: {reason} ({last}); see the log {handle.log}")

    def _replace_worker(self, handle: WorkerHandle, reason: str) -> None:
        """Kill a worker; `_dispatch` starts another if there is work for it."""
        self.reporter.on_event(Event("worker_replaced", handle.task_name, handle.number, note=f"replaced: {reason}"))
        del self.handles[handle.number]
        handle.kill()

    # --- results ---

    def _retry_or_fail(self, pending: PendingItem, failure_type: str, reason: str, log: str) -> None:
        """Queue an item again after a delay, or fail it; errors in the user's input are not retried."""
        if self.fatal_error is None:
            try:
                check_free_space(self.out)
            except InputError as error:
                self.fatal_error = error  # every other item would fail too
        if self.fatal_error is not None:
            self.queue.append(pending)
        elif failure_type == "input" or pending.attempts >= self.limits.max_attempts:
            self._finish_item(pending, Outcome("failed", failure_type, reason, pending.attempts, pending.seconds, log))
        else:
            delay = min(MAX_RETRY_DELAY_SECONDS, self.limits.retry_delay * 2 ** (pending.attempts - 1))
            pending.not_before = time.monotonic() + delay
            self.queue.append(pending)
            note = f"{reason}; retrying in {delay:g} s"
            self.reporter.on_event(Event("retry", pending.item.name, attempt=pending.attempts + 1, note=note))

    def _finish_item(self, pending: PendingItem, outcome: Outcome) -> None:
        attempt, seconds = outcome.attempts, outcome.seconds
        self.reporter.on_event(
            Event(outcome.status, pending.item.name, attempt=attempt, note=outcome.reason, seconds=seconds)
        )
        self.on_finished(pending.item, outcome)

    # --- shutdown ---

    def _shutdown_workers(self) -> None:
        idle = [handle for handle in self.handles.values() if handle.idle]
        for handle in idle:  # all before waiting for any: they end concurrently
            handle.request_shutdown()
        for handle in self.handles.values():
            handle.shutdown() if handle in idle else handle.kill()
        self.handles.clear()
        self.running.clear()

    @contextlib.contextmanager
    def _handle_signals(self) -> Iterator[None]:
        """Finish running assets after the first Ctrl-C; stop at once after the second, or SIGTERM."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(number: int, _: object) -> None:
            self.stop_signals += 1 if number == signal.SIGINT else 2
            if self.stop_signals == 1:
                # written directly: the live table may be half drawn
                os.write(2, b"\nstopping when the running assets are done; press Ctrl-C again to stop now\n")

        previous_handlers = {s: signal.signal(s, stop) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in previous_handlers.items():
                signal.signal(number, handler)
