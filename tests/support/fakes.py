"""Workers that make no assets but write what an asset leaves; each prompt says what is to go wrong."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from dreamfusion3d.batch.worker import Task, TaskRunner, TaskStatus
from dreamfusion3d.core import config as configs
from dreamfusion3d.core import files
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.progress import Progress
from dreamfusion3d.pipelines.workspace import RunIdentity, Workspace, claim_workspace

SHA = "f" * 64


def fake_maker(device: str) -> TaskRunner:
    return make


def broken_maker(device: str) -> TaskRunner:
    raise RuntimeError("no weights here")


def make(task: Task, progress: Progress) -> TaskStatus:
    """The folder that the pipeline would leave, minus the hours. Counts its tries in OUT/<name>.tries."""
    identity = RunIdentity(task.prompt, task.seed, configs.config_from_dict(task.config), SHA)
    out = Path(task.out)
    space = Workspace(out / task.name)
    if space.finished_record(identity):
        return "there"
    if space.record_path.exists() and not task.overwrite:
        return "other"
    with open(out / f"{task.name}.tries", "a") as counter:
        counter.write(f"{os.getpid()}\n")
    with claim_workspace(out, identity, task.name):
        space.begin(identity, False)
        progress.stage("optimise", 1, 1)
        progress.step(1, 2)
        go_wrong(task, tries(out, task.name))
        finish(space, task)
    return "made"


def finish(space: Workspace, task: Task) -> None:
    glb = space.asset_path("glb")
    files.write_bytes(glb, f"{task.prompt} {task.seed}".encode())
    failed = "flawed" in task.prompt and task.seed != 2
    files.write_json(
        space.record_path,
        {
            "prompt": task.prompt,
            "seed": task.seed,
            "slug": space.slug,
            "config": task.config,
            "prior": {"name": "fake", "sha256": SHA},
            "seconds": {"optimise": 1.5},
            "name": task.asset_name,
            "files": {glb.name: {"sha256": files.file_sha256(glb), "bytes": glb.stat().st_size}},
            "mesh": {"vertices": 4, "faces": 4, "components": 1, "genus": 0, "volume": 0.1},
            "checks": {
                "watertight": {"passed": not failed, "figure": not failed},
                "silhouettes_match": {"passed": True, "figure": 0.9 + task.seed / 100},
            },
        },
    )


def go_wrong(task: Task, count: int) -> None:
    first, prompt = count == 1, task.prompt
    if "poison" in prompt or ("error" in prompt and first):
        print("a line of the log")
        raise RuntimeError("the field exploded")
    if "mistake" in prompt:
        raise InputError("this prior does not know it")
    if "crash" in prompt and first:
        os.kill(os.getpid(), signal.SIGKILL)
    if "hang" in prompt and first:
        time.sleep(60)
    if "slow" in prompt:
        time.sleep(1.5)
    if "grow" in prompt:
        HELD.append(bytearray(os.urandom(1 << 20) * 60))


HELD: list[bytearray] = []


def tries(out: Path, name: str) -> int:
    return len(pids(out, name))


def pids(out: Path, name: str) -> list[str]:
    path = out / f"{name}.tries"
    return path.read_text().split() if path.exists() else []
