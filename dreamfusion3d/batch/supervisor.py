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

from dreamfusion3d.batch.events import Event, Watch
from dreamfusion3d.batch.plan import Item
from dreamfusion3d.batch.state import INNER, Outcome
from dreamfusion3d.batch.worker import Message, Task
from dreamfusion3d.batch.workers import Crew, Hand
from dreamfusion3d.core import config as configs
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.pipelines.workspace import check_room

POLL_SECONDS = 0.5
LONGEST_PAUSE = 120.0  # seconds between two tries
STARTS = 3  # in a row that fail before the batch is given up


@dataclass(frozen=True)
class Limits:
    """When a worker is replaced, and how often a row is tried."""

    timeout: float = 1800.0  # seconds without a sign of progress: the worker hangs
    tries: int = 3
    pause: float = 2.0  # seconds before the second try, doubled for each further one
    growth: float = 2.0  # of a worker's memory over that after its first asset, and at least
    growth_bytes: int = 1 << 30


@dataclass
class Pending:
    item: Item
    tries: int = 0  # behind it
    due: float = 0.0  # on the monotonic clock
    seconds: float = 0.0


class Supervisor:
    """Makes ``items`` in ``out``. ``settled`` is told of each that needs no more work."""

    def __init__(
        self, items: Sequence[Item], out: Path, crew: Crew, watch: Watch, *,
        limits: Limits | None = None, remake: bool = False,
        settled: Callable[[Item, Outcome], None] | None = None, log_tail: str = "",
    ) -> None:
        self.items = {item.name: item for item in items}
        self.out, self.crew, self.watch = out, crew, watch
        self.limits, self.remake = limits or Limits(), remake
        self.settled = settled or (lambda item, outcome: None)
        self.log_tail = log_tail
        # by prior, so that a worker seldom loads another; stable, so that the manifest's order stays
        ordered = sorted(items, key=lambda item: item.config.prior.name)
        self.waiting = [Pending(item) for item in ordered]
        self.busy: dict[int, Pending] = {}
        self.hands: dict[int, Hand] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.stops = 0  # Ctrl-Cs so far
        self.failed_starts = 0
        self.broken: InputError | None = None  # why no row can go on

    @property
    def stopped(self) -> bool:
        return self.stops > 0

    def run(self) -> dict[str, Outcome]:
        """The outcome of every item; "left" for those that a stop came before.

        Raises InputError when no row can go on: no worker starts, or the folder cannot be written.
        """
        with self._signals():
            try:
                while self._work_left() and self.stops < 2:
                    self._dispatch()
                    self._listen()
                    self._police()
            finally:
                self._dismiss()
        if self.broken is not None:
            raise self.broken
        for name in self.items:
            self.outcomes.setdefault(name, Outcome("left"))
        return self.outcomes

    # --- one turn of the loop ---

    def _work_left(self) -> bool:
        return bool(self.busy) or (bool(self.waiting) and not self.stopped and self.broken is None)

    def _dispatch(self) -> None:
        """Workers for the rows that wait, and rows for the workers that are idle."""
        if self.stopped or self.broken is not None:
            return
        now = time.monotonic()
        free = [p for p in self.waiting if p.due <= now]
        for number, device in enumerate(self.crew.devices, 1):
            hand = self.hands.get(number)
            if hand is None and len(free) > sum(not h.task for h in self.hands.values()):
                log = self.out / INNER / f"worker{self.log_tail}_{number}.log"
                self.hands[number] = self.crew.hire(number, log)
                self.watch.see(Event("worker", worker=number, note=f"started on {device}"))
            elif hand is not None and hand.idle and free:
                self._give(hand, free.pop(0))

    def _give(self, hand: Hand, pending: Pending) -> None:
        self.waiting.remove(pending)
        self.busy[hand.number] = pending
        item = pending.item
        task = Task(
            item.name, item.prompt, item.seed, configs.as_dict(item.config), str(self.out), self.remake,
            item.called,
        )
        hand.give(task, pending.tries + 1)  # a worker that is gone is noticed by _police
        self.watch.see(Event("begun", item.name, hand.number, attempt=pending.tries + 1))

    def _listen(self) -> None:
        if self.hands:
            self.crew.listen(list(self.hands.values()), POLL_SECONDS)
        else:
            time.sleep(min(POLL_SECONDS, 0.05 + max(0.0, min(
                (p.due for p in self.waiting), default=0.0) - time.monotonic())))
        for hand in list(self.hands.values()):
            for message in hand.messages():
                self._hear(hand, message)
        self.watch.tick()

    def _hear(self, hand: Hand, message: Message) -> None:
        kind = message["kind"]
        if kind == "ready":
            hand.ready, self.failed_starts = True, 0
        elif kind == "stage":
            self.watch.see(Event("stage", hand.task, hand.number, stage=message["stage"]))
        elif kind == "step":
            done, total = message["done"], message["total"]
            self.watch.see(Event("step", hand.task, hand.number, done=done, total=total))
        elif kind == "say":
            self.watch.see(Event("say", hand.task, hand.number, note=message["note"]))
        else:
            self._finished(hand, message)

    def _finished(self, hand: Hand, message: Message) -> None:
        pending = self.busy.pop(hand.number)
        pending.tries, pending.seconds = pending.tries + 1, pending.seconds + message["seconds"]
        hand.task = ""
        if message["kind"] == "done":
            self._settle(pending, Outcome(message["status"], tries=pending.tries, seconds=pending.seconds))
        else:
            self._again(pending, message["how"], message["reason"], hand.tail())
            if message["how"] == "error":  # what it leaves in the process is not to be trusted
                self._replace(hand, "after an error")
                return
        self._weigh(hand, message["resident"])

    def _weigh(self, hand: Hand, resident: int | None) -> None:
        if resident is None:
            return
        if hand.first_resident is None:
            hand.first_resident = resident
        first, limits = hand.first_resident, self.limits
        if resident > first * limits.growth and resident > first + limits.growth_bytes:
            self._replace(hand, f"its memory grew from {first >> 20} to {resident >> 20} MB")

    def _police(self) -> None:
        """Workers that died or fell silent are replaced; what they were at is tried again."""
        for hand in list(self.hands.values()):
            if hand.gone():
                for message in hand.messages():  # what it said before its end counts
                    self._hear(hand, message)
                if hand.number in self.hands:
                    self._lost(hand, "crash", hand.ending())
            elif not hand.idle and hand.silent_seconds > self.limits.timeout:
                hand.explain()
                self._lost(hand, "hang", f"no sign of progress for {self.limits.timeout:g} s")

    def _lost(self, hand: Hand, how: str, reason: str) -> None:
        tail = hand.tail()
        self._replace(hand, reason)
        pending = self.busy.pop(hand.number, None)
        if pending is not None:
            pending.tries, pending.seconds = pending.tries + 1, pending.seconds + hand.silent_seconds
            self._again(pending, how, reason, tail)
        elif not hand.ready:
            self.failed_starts += 1
            if self.failed_starts >= STARTS and self.broken is None:
                last = tail.splitlines()[-1] if tail else "its log is empty"
                self.broken = InputError(f"no worker starts: {reason} ({last}); the log is {hand.log}")

    def _replace(self, hand: Hand, reason: str) -> None:
        """Ends a worker; `_dispatch` starts another where there is work for it."""
        self.watch.see(Event("worker", hand.task, hand.number, note=f"replaced: {reason}"))
        del self.hands[hand.number]
        hand.kill()

    # --- what becomes of a row ---

    def _again(self, pending: Pending, how: str, reason: str, log: str) -> None:
        """Back to the queue after a pause, or set aside; the user's own mistakes are not tried again."""
        name = pending.item.name
        if self.broken is None:
            try:
                check_room(self.out)
            except InputError as error:
                self.broken = error  # every other row would fail likewise
        if self.broken is not None:
            self.waiting.append(pending)
        elif how == "input" or pending.tries >= self.limits.tries:
            self._settle(pending, Outcome("failed", how, reason, pending.tries, pending.seconds, log))
        else:
            pause = min(LONGEST_PAUSE, self.limits.pause * 2 ** (pending.tries - 1))
            pending.due = time.monotonic() + pause
            self.waiting.append(pending)
            note = f"{reason}; again in {pause:g} s"
            self.watch.see(Event("again", name, attempt=pending.tries + 1, note=note))

    def _settle(self, pending: Pending, outcome: Outcome) -> None:
        name, seconds = pending.item.name, outcome.seconds
        self.outcomes[name] = outcome
        self.watch.see(
            Event(outcome.status, name, attempt=outcome.tries, note=outcome.reason, seconds=seconds)
        )
        self.settled(pending.item, outcome)

    # --- the end ---

    def _dismiss(self) -> None:
        idle = [hand for hand in self.hands.values() if hand.idle]
        for hand in idle:  # before any is waited for: they end side by side
            hand.let_go()
        for hand in self.hands.values():
            if hand in idle:
                hand.dismiss()
            else:
                hand.kill()
        self.hands.clear()
        self.busy.clear()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """The first Ctrl-C lets the assets that are begun be finished; the second, or a SIGTERM, does not."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(number: int, _: object) -> None:
            self.stops += 1 if number == signal.SIGINT else 2
            if self.stops == 1:
                # by hand: a signal handler must not enter a table that may be half drawn
                os.write(2, b"\nstopping once the assets that are begun are done; Ctrl-C again: at once\n")

        before = {s: signal.signal(s, stop) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
