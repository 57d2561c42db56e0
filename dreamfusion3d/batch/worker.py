"""The inside of a worker process: one prior, loaded once, and asset after asset until the pipe closes.

Parent and worker exchange JSON, one message a line of the pipe, so that nothing is unpickled but what
multiprocessing itself hands to a new process.
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
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from dreamfusion3d.core.errors import InputError, LockedError

if TYPE_CHECKING:
    from dreamfusion3d.core.progress import Progress
    from dreamfusion3d.priors.protocol import Prior

SECONDS_BETWEEN_STEPS = 0.5  # a table is not read faster


@dataclass(frozen=True)
class Task:
    """What a worker is told to make. ``config`` is `config.as_dict`'s."""

    name: str
    prompt: str
    seed: int
    config: dict[str, Any]
    out: str
    remake: bool = False
    called: str | None = None  # what is inside the files, where not by the prompt


Message: TypeAlias = dict[str, Any]
Made: TypeAlias = Literal["made", "there", "other"]  # see state.Status
Make: TypeAlias = "Callable[[Task, Progress], Made]"
Maker: TypeAlias = Callable[[str], Make]  # of a device; called once in each worker


def make_assets(device: str) -> Make:
    """The real thing: `text_to_mesh` with a prior that stays loaded from one asset to the next."""
    from dreamfusion3d.core.config import PriorConfig, from_dict

    loaded: dict[PriorConfig, Prior] = {}

    def make(task: Task, progress: Progress) -> Made:
        from dreamfusion3d.core.backends import choose_device
        from dreamfusion3d.priors.loading import load_prior

        config = from_dict(task.config)
        if config.prior not in loaded:
            loaded.clear()  # two large priors may not fit
            progress.stage("prior", 1, 1)
            loaded[config.prior] = load_prior(config.prior, device=choose_device(device))
        return make_with(loaded[config.prior], task, device, progress)

    return make


def make_with(prior: Prior, task: Task, device: str, progress: Progress) -> Made:
    """The task's asset by this prior, unless its folder holds it, or another that is to stay."""
    from dreamfusion3d.core.config import from_dict
    from dreamfusion3d.pipelines.text_to_mesh import text_to_mesh
    from dreamfusion3d.pipelines.workspace import Identity, Workspace, locked

    config, out = from_dict(task.config), Path(task.out)
    identity, space = Identity(task.prompt, task.seed, config, prior.sha256), Workspace(out / task.name)
    if space.finished(identity):
        return "there"
    if space.report.exists() and space.owner() != identity.digest:
        if not task.remake:
            return "other"
        with locked(space.folder):
            _clear(space.folder)
    text_to_mesh(
        task.prompt, out=out, seed=task.seed, config=config, device=device, progress=progress, prior=prior,
        folder=task.name, called=task.called,
    )
    return "made"


def _clear(folder: Path) -> None:
    """Removes the files that another run of the folder listed, its report first."""
    report = folder / "asset.json"
    names: list[str] = []
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        names = [str(name) for name in json.loads(report.read_text(encoding="utf-8"))["files"]]
    report.unlink(missing_ok=True)
    for name in ["choice.json", *names]:
        if Path(name).name == name:
            (folder / name).unlink(missing_ok=True)


# --- the loop ------------------------------------------------------------------------------------


def send(pipe: Connection, message: Message) -> None:
    pipe.send_bytes(json.dumps(message).encode())


def receive(pipe: Connection) -> Message:
    """The next message. Raises EOFError or OSError when the other end is gone."""
    found = json.loads(pipe.recv_bytes())
    assert isinstance(found, dict)
    return found


def serve(pipe: Connection, maker: Maker, device: str, threads: int | None, log: str) -> None:
    """What a worker process runs: tasks from ``pipe``, progress and results back through it."""
    _settle(threads, log)
    with contextlib.suppress(EOFError, OSError):  # the supervisor is gone: so are we
        make = maker(device)
        send(pipe, {"kind": "ready"})
        while True:
            carry_out(make, Task(**receive(pipe)), functools.partial(send, pipe))


def carry_out(make: Make, task: Task, tell: Callable[[Message], None]) -> None:
    """One task: its progress and how it ended are told. The log (descriptor 2) is this task's alone."""
    os.ftruncate(2, 0)
    tell(_result(make, task, Reporter(tell)))


def _result(make: Make, task: Task, progress: Reporter) -> Message:
    begun = time.monotonic()
    found: Message
    try:
        found = {"kind": "done", "status": make(task, progress)}
    except InputError as error:
        how = "locked" if isinstance(error, LockedError) else "input"
        found = {"kind": "failed", "how": how, "reason": " ".join(str(error).split())}
    except Exception as error:  # the boundary of the worker: the supervisor decides what becomes of it
        traceback.print_exc()
        reason = " ".join(f"{type(error).__name__}: {str(error) or _hint(error)}".split())
        found = {"kind": "failed", "how": "error", "reason": reason}
    sys.stdout.flush()
    sys.stderr.flush()
    return {**found, "seconds": time.monotonic() - begun, "resident": resident_bytes()}


def _hint(error: Exception) -> str:
    """For one that has no words of its own."""
    return "no memory left; try fewer --workers" if isinstance(error, MemoryError) else ""


class Reporter:
    """Progress, told to the supervisor; steps not more often than they can be looked at."""

    def __init__(self, tell: Callable[[Message], None]) -> None:
        self.tell, self.spoken = tell, 0.0

    def stage(self, name: str, number: int, count: int) -> None:
        self.spoken = 0.0
        self.tell({"kind": "stage", "stage": name})

    def step(self, done: int, total: int, note: str = "") -> None:
        now = time.monotonic()
        if now - self.spoken >= SECONDS_BETWEEN_STEPS:
            self.spoken = now
            self.tell({"kind": "step", "done": done, "total": total})

    def say(self, message: str) -> None:
        print(message, file=sys.stderr, flush=True)
        self.tell({"kind": "say", "note": message})

    def close(self) -> None: ...


def task_message(task: Task) -> Message:
    return asdict(task)


def _settle(threads: int | None, log: str) -> None:
    """Own process group, own log, no Ctrl-C, and an end when the supervisor ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor tells us when to stop
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)  # so that what we start can be ended with us
    keep_log(log)
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(threads)  # before torch is imported
    threading.Thread(target=_follow_the_supervisor, daemon=True).start()


def keep_log(log: str) -> None:
    """What this process prints goes to the file ``log``, a crash's and a hang's traceback too."""
    stream = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_APPEND, 0o644)
    for descriptor in (1, 2):
        os.dup2(stream, descriptor)
    import faulthandler

    faulthandler.enable()  # a crash of native code leaves a traceback in the log
    if hasattr(signal, "SIGUSR1"):
        faulthandler.register(signal.SIGUSR1)  # a hang too: the supervisor asks before it ends us


def _follow_the_supervisor() -> None:
    from multiprocessing import parent_process

    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        if hasattr(os, "killpg"):
            os.killpg(0, signal.SIGKILL)
        os._exit(1)


def resident_bytes() -> int | None:
    """Memory that this process holds now; None where that cannot be told (outside Linux)."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")
