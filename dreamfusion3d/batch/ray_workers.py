"""Workers on a Ray cluster: actors in place of processes, under the same supervisor.

Every machine must see the output folder under the same path. Ray is trusted: it starts code on its machines by
its own means, which include pickle (docs/security.md). The messages exchanged here are JSON.
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
from dreamfusion3d.batch.state import STATE_FOLDER
from dreamfusion3d.batch.worker import Message, Task, TaskRunnerFactory, create_asset_runner
from dreamfusion3d.batch.workers import WorkerHandle
from dreamfusion3d.core import files
from dreamfusion3d.core.errors import InputError, MissingExtraError
from dreamfusion3d.core.folders import release_stale_lock
from dreamfusion3d.core.runtime import configure_process

POLL_TIMEOUT_SECONDS = 2.0  # that an actor waits for a message to send
MAX_REASON_CHARS = 300  # of an actor's exit reason


class RayWorker:
    """Ray actor that loads a prior once and makes assets; `run_task` and `poll_messages` run concurrently."""

    def __init__(self, runner_factory: TaskRunnerFactory, device: str, threads: int, out: str, log: str) -> None:
        if not (Path(out) / STATE_FOLDER).is_dir():
            host = socket.gethostname()
            raise RuntimeError(f"{host} cannot see {out}: --out must be on a disk that all machines share")
        worker.redirect_output(log)
        os.environ["OMP_NUM_THREADS"] = str(threads)  # before torch is imported
        configure_process(retain_freed_memory=True)
        self.outbox: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.runner = runner_factory(device)
        process = {"host": socket.gethostname(), "pid": os.getpid(), "version": version("dreamfusion3d")}
        self._send({"type": "ready", **process})

    def _send(self, message: Message) -> None:
        self.outbox.put(json.dumps(message))

    def run_task(self, task: str) -> None:
        worker.run_task(self.runner, Task(**json.loads(task)), self._send)

    def poll_messages(self) -> list[str]:
        """Return the messages since the last call, waiting briefly if there are none."""
        messages: list[str] = []
        with contextlib.suppress(queue.Empty):
            messages.append(self.outbox.get(timeout=POLL_TIMEOUT_SECONDS))
            while True:
                messages.append(self.outbox.get_nowait())
        return messages

    def dump_traceback(self) -> None:
        import faulthandler

        faulthandler.dump_traceback(2)


class RayWorkerHandle(WorkerHandle):
    """An actor on some machine of the cluster; it may wait for its resources indefinitely."""

    def __init__(self, number: int, pool: RayPool, log: Path) -> None:
        import ray

        super().__init__(number, pool.devices[number - 1], log)
        self.pool, self.exit_message, self.process_id = pool, "", ("", 0)
        # the supervisor decides about a dead actor's item: Ray itself must not restart or retry
        actor_class: Any = ray.remote(RayWorker)
        self.actor: Any = actor_class.options(
            num_cpus=pool.cpus, num_gpus=pool.gpus, max_restarts=0, max_task_retries=0, max_concurrency=3
        ).remote(pool.runner_factory, self.device, pool.cpus, str(pool.out.resolve()), str(log.resolve()))
        self.pending_poll: Any = self.actor.poll_messages.remote()

    @property
    def seconds_since_message(self) -> float:
        return super().seconds_since_message if self.ready else 0.0

    def _send(self, task: Task) -> None:
        self.folder = Path(task.out) / task.name
        # an actor that was given up may have taken the lock before it died
        release_stale_lock(self.folder, self.pool.dead_process_ids)
        self.actor.run_task.remote(json.dumps(asdict(task)))

    def receive_messages(self) -> Iterator[Message]:
        import ray

        while not self.exit_message and ray.wait([self.pending_poll], timeout=0)[0]:
            try:
                texts = ray.get(self.pending_poll)
            except ray.exceptions.RayError as error:
                self.exit_message = parse_actor_error(str(error))
                return
            self.pending_poll = self.actor.poll_messages.remote()
            for text in texts:
                self.last_message_time = time.monotonic()
                message = json.loads(text)
                if message["type"] == "ready":
                    self._register(message)
                yield message

    def _register(self, message: Message) -> None:
        if message["version"] != version("dreamfusion3d"):
            here, there = version("dreamfusion3d"), f"{message['host']} has dreamfusion3d {message['version']}"
            raise InputError(f"{there}, this machine {here}: install the same version on all machines of the cluster")
        self.process_id = (message["host"], message["pid"])
        self.pool.record_process(self.process_id)

    def has_exited(self) -> bool:
        return bool(self.exit_message)

    def exit_reason(self) -> str:
        return self.exit_message

    def dump_traceback(self) -> None:
        import ray

        with contextlib.suppress(ray.exceptions.RayError):
            ray.wait([self.actor.dump_traceback.remote()], timeout=1.0)

    def kill(self) -> None:
        import ray

        ray.kill(self.actor)
        self.pool.dead_process_ids.add(self.process_id)
        if self.task_name:  # whether a process on another machine is alive cannot be checked
            release_stale_lock(self.folder, [self.process_id])

    def request_shutdown(self) -> None:
        """Do nothing: `kill` is immediate."""

    def shutdown(self) -> None:
        self.kill()


class RayPool:
    """``count`` actors, each with ``cpus`` cores and ``gpus`` GPUs (a fraction is allowed)."""

    def __init__(
        self, out: Path, count: int, cpus: int, gpus: float, runner_factory: TaskRunnerFactory = create_asset_runner
    ) -> None:
        self.out, self.cpus, self.gpus, self.runner_factory = out, cpus, gpus, runner_factory
        self.devices: Sequence[str] = ["cuda" if gpus else "cpu"] * count
        self.process_ids: list[tuple[str, int]] | None = None
        self.dead_process_ids: set[tuple[str, int]] = set()  # of actors that were given up

    def start_worker(self, number: int, log: Path) -> WorkerHandle:
        if self.process_ids is None:
            self._release_stale_locks(log.parent)
        return RayWorkerHandle(number, self, log)

    def wait_for_messages(self, handles: Sequence[WorkerHandle], timeout: float) -> None:
        import ray

        ray.wait([handle.pending_poll for handle in handles if isinstance(handle, RayWorkerHandle)], timeout=timeout)

    def record_process(self, process_id: tuple[str, int]) -> None:
        """Record an actor's process, so that the next batch on this folder can release its locks."""
        assert self.process_ids is not None
        self.process_ids.append(process_id)
        self.dead_process_ids.discard(process_id)  # process ids are reused
        files.write_json(self.process_file, self.process_ids)

    def _release_stale_locks(self, state_folder: Path) -> None:
        """Release the locks of actors whose driver was killed (Ray ends the actors with it).

        The batch's own lock is held, so no other driver works on this folder.
        """
        self.process_file = state_folder / "ray.json"
        previous: list[tuple[str, int]] = []
        with contextlib.suppress(OSError, ValueError, TypeError):
            previous = [(str(host), int(pid)) for host, pid in json.loads(self.process_file.read_text())]
        hostname = socket.gethostname()  # locks of this host are checked by folder_lock itself
        for lock in self.out.glob("*/.lock"):
            release_stale_lock(lock.parent, [process_id for process_id in previous if process_id[0] != hostname])
        self.process_ids = []


def parse_actor_error(text: str) -> str:
    """Reduce Ray's report on a dead actor to one line; an error raised by `RayWorker` takes precedence."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    worker_errors = [line for line in lines if line.startswith("RuntimeError: ")]
    death_causes = [line for line in lines if line.startswith("The actor is dead because") or "node" in line.lower()]
    reason = (worker_errors or death_causes or lines or ["the actor ended"])[-1]
    return reason.removeprefix("RuntimeError: ").split(" Some common causes")[0][:MAX_REASON_CHARS]


@contextlib.contextmanager
def ray_connection(address: str) -> Iterator[None]:
    """Connect to the cluster at ``address``; "local" starts one on this machine until the block ends."""
    try:
        import ray
    except ImportError:
        raise MissingExtraError("ray", "ray", "--ray") from None
    try:
        _check_reachable(address)
        ray.init(
            address=address,  # Ray itself defines "local"; None would join a cluster running here
            include_dashboard=False if address == "local" else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except Exception as error:  # ConnectionError, RuntimeError or ValueError, depending on the address
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"no Ray cluster at {address!r} ({reason}); start one with 'ray start --head' or use --ray local"
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Raise OSError if nothing listens at HOST:PORT; Ray itself would retry for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10.0).close()


def count_worker_slots(cpus: int, gpus: float) -> int:
    """Count how many assets the cluster can make at once. Raises InputError if no machine is large enough."""
    import ray

    resources = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    num_slots = 0
    for node in resources:
        fits = [node.get("CPU", 0.0) / cpus, *([node.get("GPU", 0.0) / gpus] if gpus else [])]
        num_slots += math.floor(min(fits) + 1e-9)
    if not num_slots:
        best = ", ".join(f"{n.get('CPU', 0):g} CPUs and {n.get('GPU', 0):g} GPUs" for n in resources)
        raise InputError(
            f"no machine of the cluster has {cpus} CPUs and {gpus:g} GPUs for an asset (available: {best}); "
            "lower --cpus or --gpus"
        )
    return num_slots
