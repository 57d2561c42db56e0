"""Workers on a Ray cluster: actors in the place of processes; supervisor, rows and folder are the same.

The folder must be one that every machine sees under the same path. Ray is trusted: it starts our code on its
machines by its own means, which include pickle (docs/security.md). What we say to each other is JSON.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import queue
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dreamfusion3d.batch import worker
from dreamfusion3d.batch.state import INNER
from dreamfusion3d.batch.worker import Maker, Message, Task, make_assets
from dreamfusion3d.batch.workers import Hand
from dreamfusion3d.core import files
from dreamfusion3d.core.errors import InputError, MissingExtraError
from dreamfusion3d.pipelines.workspace import release

HEAR_SECONDS = 2.0  # that an actor waits for something to say
LONGEST_REASON = 300  # characters of how an actor ended


class Maid:
    """The actor: one prior, loaded once, and asset after asset. Two calls run beside each other in it,
    one that makes and one that tells."""

    def __init__(self, maker: Maker, device: str, threads: int, out: str, log: str) -> None:
        if not (Path(out) / INNER).is_dir():
            raise RuntimeError(
                f"{socket.gethostname()} does not see {out}: it must be on a disk that all machines share"
            )
        worker.keep_log(log)
        os.environ["OMP_NUM_THREADS"] = str(threads)  # before torch is imported
        self.said: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.make_one = maker(device)
        self._tell({
            "kind": "ready", "host": socket.gethostname(), "pid": os.getpid(),
            "version": version("dreamfusion3d"),
        })

    def _tell(self, message: Message) -> None:
        self.said.put(json.dumps(message))

    def make(self, task: str) -> None:
        worker.carry_out(self.make_one, Task(**json.loads(task)), self._tell)

    def hear(self) -> list[str]:
        """What was said since; waits a little when that is nothing."""
        found: list[str] = []
        with contextlib.suppress(queue.Empty):
            found.append(self.said.get(timeout=HEAR_SECONDS))
            while True:
                found.append(self.said.get_nowait())
        return found

    def explain(self) -> None:
        import faulthandler

        faulthandler.dump_traceback(2)


class RayHand(Hand):
    """An actor on some machine of the cluster. It waits for its resources as long as need be."""

    def __init__(self, number: int, crew: RayCrew, log: Path) -> None:
        import ray

        super().__init__(number, crew.devices[number - 1], log)
        self.crew, self.lost, self.who = crew, "", ("", 0)
        # what becomes of a dead actor's row is the supervisor's business: Ray itself starts nothing again
        made: Any = ray.remote(Maid)
        self.actor: Any = made.options(
            num_cpus=crew.cpus, num_gpus=crew.gpus, max_restarts=0, max_task_retries=0, max_concurrency=3,
        ).remote(crew.maker, self.device, crew.cpus, str(crew.out.resolve()), str(log.resolve()))
        self.asked: Any = self.actor.hear.remote()

    @property
    def silent_seconds(self) -> float:
        return super().silent_seconds if self.ready else 0.0

    def _send(self, task: Task) -> None:
        self.folder = Path(task.out) / task.name
        release(self.folder, self.crew.lost)  # one may have taken it after we gave it up, before its end
        self.actor.make.remote(json.dumps(asdict(task)))

    def messages(self) -> Iterator[Message]:
        import ray

        while not self.lost and ray.wait([self.asked], timeout=0)[0]:
            try:
                texts = ray.get(self.asked)
            except ray.exceptions.RayError as error:
                self.lost = reason_of(str(error))
                return
            self.asked = self.actor.hear.remote()
            for text in texts:
                self.heard = time.monotonic()
                message = json.loads(text)
                if message["kind"] == "ready":
                    self._welcome(message)
                yield message

    def _welcome(self, message: Message) -> None:
        if message["version"] != version("dreamfusion3d"):
            raise InputError(
                f"{message['host']} has dreamfusion3d {message['version']}, this machine "
                f"{version('dreamfusion3d')}: install the same version on all machines of the cluster"
            )
        self.who = (message["host"], message["pid"])
        self.crew.remember(self.who)

    def gone(self) -> bool:
        return bool(self.lost)

    def ending(self) -> str:
        return self.lost

    def explain(self) -> None:
        import ray

        with contextlib.suppress(ray.exceptions.RayError):
            ray.wait([self.actor.explain.remote()], timeout=1.0)

    def kill(self) -> None:
        import ray

        ray.kill(self.actor)
        self.crew.lost.add(self.who)
        if self.task:  # its machine cannot be asked whether the lock's process lives
            release(self.folder, [self.who])

    def let_go(self) -> None:
        """`kill` takes no time."""

    def dismiss(self) -> None:
        self.kill()


class RayCrew:
    """``count`` actors with ``cpus`` cores and ``gpus`` GPUs (a share of one may be given) each."""

    def __init__(self, out: Path, count: int, cpus: int, gpus: float, maker: Maker = make_assets) -> None:
        self.out, self.cpus, self.gpus, self.maker = out, cpus, gpus, maker
        self.devices: Sequence[str] = ["cuda" if gpus else "cpu"] * count
        self.known: list[tuple[str, int]] | None = None
        self.lost: set[tuple[str, int]] = set()  # actors that were given up

    def hire(self, number: int, log: Path) -> Hand:
        if self.known is None:
            self._sweep(log.parent)
        return RayHand(number, self, log)

    def listen(self, hands: Sequence[Hand], seconds: float) -> None:
        import ray

        ray.wait([hand.asked for hand in hands if isinstance(hand, RayHand)], timeout=seconds)

    def remember(self, who: tuple[str, int]) -> None:
        """Written down, so that the next batch on this folder knows whose locks nobody holds any more."""
        assert self.known is not None
        self.known.append(who)
        self.lost.discard(who)  # numbers come again
        files.write_json(self.list, self.known)

    def _sweep(self, inner: Path) -> None:
        """Takes away locks of actors whose driver was killed: Ray ends the actors with it.

        The supervisor holds the batch's own lock: no other driver works for this folder.
        """
        self.list = inner / "ray.json"
        earlier: list[tuple[str, int]] = []
        with contextlib.suppress(OSError, ValueError, TypeError):
            earlier = [(str(host), int(pid)) for host, pid in json.loads(self.list.read_text())]
        here = socket.gethostname()  # whose processes can be asked: a lock that lives is left
        for lock in self.out.glob("*/.lock"):
            release(lock.parent, [who for who in earlier if who[0] != here])
        self.known = []


def reason_of(text: str) -> str:
    """One line of what Ray says of an actor's end: our own words where it failed to start."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    ours = [line for line in lines if line.startswith("RuntimeError: ")]
    dead = [line for line in lines if line.startswith("The actor is dead because") or "node" in line.lower()]
    chosen = (ours or dead or lines or ["the actor ended"])[-1]
    return chosen.removeprefix("RuntimeError: ").split(" Some common causes")[0][:LONGEST_REASON]


@contextlib.contextmanager
def connected(address: str) -> Iterator[None]:
    """A connection to the cluster at ``address``; "local" starts one here, for as long as it is open."""
    try:
        import ray
    except ImportError:
        raise MissingExtraError("ray", "ray", "--ray") from None
    try:
        _knock(address)
        ray.init(
            address=address,  # "local" is Ray's word too; without one it would join a cluster that runs here
            include_dashboard=False if address == "local" else None,
            log_to_driver=False, logging_level=logging.ERROR,
        )
    except Exception as error:  # ConnectionError, RuntimeError, ValueError, by what is wrong with the address
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"no Ray cluster at {address!r} ({reason}); start one by 'ray start --head', or give --ray local"
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raises OSError when nothing listens at HOST:PORT: Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10.0).close()


def slots(cpus: int, gpus: float) -> int:
    """How many assets the cluster can make at once. Raises InputError when not one fits any machine."""
    import ray

    have = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    found = 0
    for node in have:
        fits = [node.get("CPU", 0.0) / cpus, *([node.get("GPU", 0.0) / gpus] if gpus else [])]
        found += math.floor(min(fits) + 1e-9)
    if not found:
        best = ", ".join(f"{n.get('CPU', 0):g} CPUs and {n.get('GPU', 0):g} GPUs" for n in have)
        raise InputError(
            f"an asset asks for {cpus} CPUs and {gpus:g} GPUs; no machine of the cluster has them ({best}). "
            "Lower --cpus or --gpus"
        )
    return found
