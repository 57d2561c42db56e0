"""Worker process of a batch: loads a prior once and makes assets until its pipe closes.

Supervisor and worker exchange JSON messages, so that nothing is unpickled except what multiprocessing itself
passes to a new process.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from dreamfusion3d.core.errors import InputError, LockedError
from dreamfusion3d.core.progress import WARNING_PREFIX
from dreamfusion3d.core.runtime import configure_process, resident_bytes

if TYPE_CHECKING:
    from dreamfusion3d.core.progress import Progress
    from dreamfusion3d.pipelines.workspace import Workspace
    from dreamfusion3d.priors.protocol import Prior

STEP_MESSAGE_INTERVAL_SECONDS = 0.5  # at most one message per interval


@dataclass(frozen=True)
class Task:
    """An asset to make, as sent to a worker. ``config`` is a `config_to_dict` dictionary."""

    name: str
    prompt: str
    seed: int
    config: dict[str, Any]
    out: str
    overwrite: bool = False
    asset_name: str | None = None  # name inside the files, if not derived from the prompt


Message: TypeAlias = dict[str, Any]
TaskStatus: TypeAlias = Literal["made", "there", "other"]  # see state.ItemStatus
TaskRunner: TypeAlias = "Callable[[Task, Progress], TaskStatus]"
TaskRunnerFactory: TypeAlias = Callable[[str], TaskRunner]  # called once per worker with its device


def create_asset_runner(device: str) -> TaskRunner:
    """Return a runner that calls `text_to_mesh` with a prior that stays loaded between assets."""
    from dreamfusion3d.core.config import PriorConfig, config_from_dict

    loaded: dict[PriorConfig, Prior] = {}

    def run(task: Task, progress: Progress) -> TaskStatus:
        from dreamfusion3d.core.backends import choose_device
        from dreamfusion3d.priors.loading import load_prior

        config = config_from_dict(task.config)
        if config.prior not in loaded:
            loaded.clear()  # two large priors may not fit in memory
            progress.stage("prior", 1, 1)
            loaded[config.prior] = load_prior(config.prior, device=choose_device(device))
        return make_asset(loaded[config.prior], task, device, progress)

    return run


def make_asset(prior: Prior, task: Task, device: str, progress: Progress) -> TaskStatus:
    """Make the task's asset, unless its folder already holds it, or another one that must not be overwritten."""
    from dreamfusion3d.core.config import config_from_dict
    from dreamfusion3d.core.folders import folder_lock
    from dreamfusion3d.pipelines.text_to_mesh import text_to_mesh
    from dreamfusion3d.pipelines.workspace import RunIdentity, Workspace

    config, out = config_from_dict(task.config), Path(task.out)
    identity = RunIdentity(task.prompt, task.seed, config, prior.sha256)
    workspace = Workspace(out / task.name)
    if workspace.finished_record(identity):
        return "there"
    if workspace.record_path.exists() and workspace.owner_digest() != identity.digest:
        if not task.overwrite:
            return "other"
        with folder_lock(workspace.folder):
            _remove_listed_files(workspace)
    text_to_mesh(
        task.prompt,
        out=out,
        seed=task.seed,
        config=config,
        device=device,
        progress=progress,
        prior=prior,
        folder=task.name,
        asset_name=task.asset_name,
    )
    return "made"


def _remove_listed_files(workspace: Workspace) -> None:
    """Remove the files listed in asset.json, which goes first so that the folder never looks finished."""
    from dreamfusion3d.pipelines.workspace import read_asset_record

    names: list[str] = []
    with contextlib.suppress(KeyError, TypeError):
        names = [str(name) for name in (read_asset_record(workspace) or {})["files"]]
    workspace.record_path.unlink(missing_ok=True)
    for name in ["choice.json", *names]:
        if Path(name).name == name:
            (workspace.folder / name).unlink(missing_ok=True)


# --- the loop ------------------------------------------------------------------------------------


def send_message(pipe: Connection, message: Message) -> None:
    pipe.send_bytes(json.dumps(message).encode())


def receive_message(pipe: Connection) -> Message:
    """Wait for the next message. Raises EOFError or OSError if the other end is gone."""
    message = json.loads(pipe.recv_bytes())
    assert isinstance(message, dict)
    return message


def run_worker(pipe: Connection, runner_factory: TaskRunnerFactory, device: str, threads: int | None, log: str) -> None:
    """Run tasks from ``pipe`` and send progress and results back: the main function of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor decides when to stop
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)  # a group of its own, so that child processes can be killed together with it
    redirect_output(log)
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(threads)  # before torch is imported
    threading.Thread(target=_exit_with_supervisor, daemon=True).start()
    configure_process(retain_freed_memory=True)
    with contextlib.suppress(EOFError, OSError):  # end together with the supervisor
        runner = runner_factory(device)
        send_message(pipe, {"type": "ready"})
        while True:
            run_task(runner, Task(**receive_message(pipe)), functools.partial(send_message, pipe))


def run_task(runner: TaskRunner, task: Task, send: Callable[[Message], None]) -> None:
    """Run one task and send its progress and result. The log (descriptor 2) is truncated first."""
    os.ftruncate(2, 0)
    start_time = time.monotonic()
    try:
        result = {"type": "done", "status": runner(task, WorkerProgress(send))}
    except InputError as error:
        failure_type = "locked" if isinstance(error, LockedError) else "input"
        result = {"type": "failed", "failure_type": failure_type, "reason": " ".join(str(error).split())}
    except Exception as error:  # the supervisor decides whether to retry
        traceback.print_exc()
        hint = "out of memory; try fewer --workers" if isinstance(error, MemoryError) else ""
        reason = " ".join(f"{type(error).__name__}: {str(error) or hint}".split())
        result = {"type": "failed", "failure_type": "error", "reason": reason}
    sys.stdout.flush()
    sys.stderr.flush()
    send({**result, "seconds": time.monotonic() - start_time, "resident": resident_bytes()})


class WorkerProgress:
    """Progress that is sent to the supervisor; steps are rate-limited."""

    def __init__(self, send: Callable[[Message], None]) -> None:
        self.send, self.last_step_time = send, 0.0

    def stage(self, name: str, number: int, count: int) -> None:
        self.last_step_time = 0.0
        self.send({"type": "stage", "stage": name})

    def step(self, done: int, total: int, note: str = "") -> None:
        now = time.monotonic()
        if now - self.last_step_time >= STEP_MESSAGE_INTERVAL_SECONDS:
            self.last_step_time = now
            self.send({"type": "step", "done": done, "total": total})

    def log(self, message: str) -> None:
        print(message, file=sys.stderr, flush=True)
        self.send({"type": "log", "note": message})

    def warn(self, message: str) -> None:
        self.log(f"{WARNING_PREFIX}{message}")

    def close(self) -> None: ...


def redirect_output(log: str) -> None:
    """Redirect stdout and stderr to the file ``log``, including tracebacks of crashes and hangs."""
    stream = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_APPEND, 0o644)
    for descriptor in (1, 2):
        os.dup2(stream, descriptor)
    import faulthandler

    faulthandler.enable()  # a crash of native code leaves a traceback in the log
    if hasattr(signal, "SIGUSR1"):
        faulthandler.register(signal.SIGUSR1)  # sent by the supervisor before it kills a hung worker


def _exit_with_supervisor() -> None:
    from multiprocessing import parent_process

    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        if hasattr(os, "killpg"):
            os.killpg(0, signal.SIGKILL)
        os._exit(1)
