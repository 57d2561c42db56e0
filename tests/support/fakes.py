"""Batches of fake assets: workers that write what an asset leaves behind; the prompt says which fault to inject."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from dreamfusion3d.batch import run
from dreamfusion3d.batch.events import Event
from dreamfusion3d.batch.manifest import ManifestRow
from dreamfusion3d.batch.plan import Item, expand_rows
from dreamfusion3d.batch.state import BatchRun, Outcome
from dreamfusion3d.batch.supervisor import Limits
from dreamfusion3d.batch.worker import Task, TaskRunner, TaskStatus
from dreamfusion3d.batch.workers import LocalPool
from dreamfusion3d.core import config as configs, files
from dreamfusion3d.core.config import Config, PriorConfig, resolve_config
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.progress import Progress
from dreamfusion3d.pipelines.workspace import RunIdentity, Workspace, claim_workspace

FAKE_SHA256 = "f" * 64
PRIOR_HASHES = {PriorConfig(): FAKE_SHA256}
FAST_LIMITS = Limits(timeout=30.0, max_attempts=2, retry_delay=0.05)
MANIFEST = Path("m.csv")
leaked_memory: list[bytearray] = []


def create_fake_runner(device: str) -> TaskRunner:
    return run_fake_task


def create_broken_runner(device: str) -> TaskRunner:
    raise RuntimeError("no weights here")


def run_fake_task(task: Task, progress: Progress) -> TaskStatus:
    """Write the folder that the pipeline would write. Each attempt adds a line to OUT/<name>.attempts."""
    identity = RunIdentity(task.prompt, task.seed, configs.config_from_dict(task.config), FAKE_SHA256)
    out = Path(task.out)
    workspace = Workspace(out / task.name)
    if workspace.finished_record(identity):
        return "there"
    if workspace.record_path.exists() and not task.overwrite:
        return "other"
    with open(out / f"{task.name}.attempts", "a") as counter:
        counter.write(f"{os.getpid()}\n")
    with claim_workspace(out, identity, task.name):
        workspace.begin(identity, False)
        progress.stage("optimize", 1, 1)
        progress.step(1, 2)
        inject_fault(task, num_attempts(out, task.name))
        write_fake_asset(workspace, task)
    return "made"


def write_fake_asset(workspace: Workspace, task: Task) -> None:
    glb = workspace.asset_path("glb")
    files.write_bytes(glb, f"{task.prompt} {task.seed}".encode())
    failed = "flawed" in task.prompt and task.seed != 2
    files.write_json(
        workspace.record_path,
        {
            "prompt": task.prompt,
            "seed": task.seed,
            "slug": workspace.slug,
            "config": task.config,
            "prior": {"name": "fake", "sha256": FAKE_SHA256},
            "seconds": {"optimize": 1.5},
            "name": task.asset_name,
            "files": {glb.name: {"sha256": files.file_sha256(glb), "bytes": glb.stat().st_size}},
            "mesh": {"vertices": 4, "faces": 4, "components": 1, "genus": 0, "volume": 0.1},
            "checks": {
                "watertight": {"passed": not failed, "figure": not failed},
                "silhouettes_match": {"passed": True, "figure": 0.9 + task.seed / 100},
            },
        },
    )


def write_fake_item(out: Path, name: str, prompt: str) -> None:
    """Write the finished asset ``name`` with seed 0 and default settings."""
    write_fake_asset(Workspace(out / name), Task(name, prompt, 0, configs.config_to_dict(resolve_config()), str(out)))


def inject_fault(task: Task, attempt: int) -> None:
    first, prompt = attempt == 1, task.prompt
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
        leaked_memory.append(bytearray(os.urandom(1 << 20) * 60))


def num_attempts(out: Path, name: str) -> int:
    return len(attempt_pids(out, name))


def attempt_pids(out: Path, name: str) -> list[str]:
    path = out / f"{name}.attempts"
    return path.read_text().split() if path.exists() else []


class EventRecorder:
    """A reporter that keeps all events."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def on_event(self, event: Event) -> None:
        self.events.append(event)

    def refresh(self) -> None: ...

    def close(self) -> None: ...


def make_items(*prompts: str, seeds: int | None = None, config: Config | None = None) -> list[Item]:
    rows = [
        ManifestRow(line, prompt, None, (0,), False, "standard", config or Config())
        for line, prompt in enumerate(prompts, 2)
    ]
    return expand_rows(MANIFEST, rows, seeds)


def run_items(
    out: Path,
    items: list[Item],
    *,
    workers: int = 1,
    limits: Limits = FAST_LIMITS,
    overwrite: bool = False,
    keep_best: bool = False,
    reporter: EventRecorder | None = None,
) -> dict[str, Outcome]:
    outcomes, stopped = run.run_batch(
        BatchRun(MANIFEST, out, items),
        LocalPool(["cpu"] * workers, None, create_fake_runner),
        reporter or EventRecorder(),
        prior_hashes=PRIOR_HASHES,
        limits=limits,
        overwrite=overwrite,
        keep_best=keep_best,
    )
    assert not stopped
    return outcomes


def statuses(outcomes: dict[str, Outcome]) -> dict[str, str]:
    return {name: outcome.status for name, outcome in outcomes.items()}


@pytest.fixture
def fake_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the batch command start fake workers and accept every prompt."""
    from dreamfusion3d.cli import batch as batch_command

    monkeypatch.setattr(run, "check_prompts", lambda path, items: (PRIOR_HASHES, ["a warning"]))
    monkeypatch.setattr(
        batch_command, "_local_pool", lambda workers, devices: LocalPool(["cpu"], None, create_fake_runner)
    )


def run_batch_command(manifest: Path, out: Path, *options: str) -> int:
    """Run `dreamfusion3d batch` quietly with one attempt per item; returns the exit code."""
    from dreamfusion3d.cli import main, report

    base = ["batch", str(manifest), "--out", str(out), "--quiet", "--max-attempts", "1"]
    return report.run_app(main.app, [*base, *options])


def read_seed(out: Path, name: str) -> int:
    seed = json.loads((out / name / "asset.json").read_text())["seed"]
    assert isinstance(seed, int)
    return seed
