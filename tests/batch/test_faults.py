"""What faults leave in a folder is not kept: numbers that are none, temporary files, records of nothing."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

from dreamfusion3d.batch import ray_workers
from dreamfusion3d.batch.worker import Task
from dreamfusion3d.core.config import Config
from dreamfusion3d.core.errors import LockedError
from dreamfusion3d.core.progress import QuietProgress
from dreamfusion3d.pipelines import workspace
from dreamfusion3d.pipelines.context import RunContext, train_or_load
from dreamfusion3d.pipelines.stages import StageTracker, load_or_compute
from dreamfusion3d.pipelines.workspace import RunIdentity, Workspace, folder_lock, read_asset_record, release_stale_lock
from tests.pipelines.test_text_to_mesh import FakePrior


@dataclass
class Result:
    values: np.ndarray


def test_results_that_are_no_numbers_are_not_kept(tmp_path: Path) -> None:
    path, good = tmp_path / "result.npz", Result(np.ones(3, np.float32))
    with pytest.raises(FloatingPointError, match="values of result"):
        load_or_compute(path, Result, lambda: Result(np.array([0.0, np.nan])), QuietProgress())
    assert not path.exists()
    np.savez(path, values=np.array([np.nan]))
    assert np.array_equal(load_or_compute(path, Result, lambda: good, QuietProgress()).values, good.values)
    assert np.isfinite(np.load(path)["values"]).all()


def test_a_field_that_is_no_numbers_is_not_kept(tmp_path: Path) -> None:
    space, identity = Workspace(tmp_path / "a"), RunIdentity("a mug", 0, Config(), "0" * 64)
    space.work.mkdir(parents=True)
    job = RunContext(FakePrior(), identity, space, torch.device("cpu"), StageTracker(("optimise",), QuietProgress()))
    path, field = space.work / "field.safetensors", torch.nn.Linear(2, 2)

    def run(what: torch.nn.Module) -> None:
        train_or_load(what, path, lambda text, at: iter(()), "optimise", space.work / "checkpoint.safetensors", job)

    field.weight.data[0, 0] = torch.nan
    with pytest.raises(FloatingPointError):
        run(field)
    assert not path.exists()
    field.weight.data[0, 0] = 0.5
    run(field)
    other = torch.nn.Linear(2, 2)
    run(other)
    assert torch.equal(other.weight, field.weight)


@pytest.mark.parametrize("record", ["null", "[]", "3", '"x"', "[" * 100_000, '{"source": 3, "prompt": {}}'])
def test_records_of_nothing_and_strays_go(record: str, tmp_path: Path) -> None:
    space, identity = Workspace(tmp_path / "a"), RunIdentity("a mug", 0, Config(), "0" * 64)
    space.work.mkdir(parents=True)
    space.record_path.write_text(record)
    space.run_info_path.write_text(record)
    assert space.owner_digest() is None and space.finished_record(identity) is None
    read_asset_record(space)
    strays = [space.folder / ".a.77.tmp.glb", space.work / ".mesh.77.tmp.npz"]
    for stray in strays:
        stray.write_bytes(b"half")
    space.begin(identity, False)
    for stray in strays:
        stray.write_bytes(b"half")
    space.begin(identity, False)
    assert not any(stray.exists() for stray in strays) and space.owner_digest() == identity.digest


def test_only_the_lock_of_the_gone_is_released(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    lock.write_text(json.dumps({"host": "there", "pid": 7}))
    release_stale_lock(tmp_path, [("there", 8), ("here", 7)])
    assert lock.exists()
    release_stale_lock(tmp_path, [("there", 7)])
    assert not lock.exists()


@pytest.mark.parametrize("skew", [-86400.0, 0.0, 86400.0])
def test_clocks_of_a_farm_may_differ(skew: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, lock = time.time, tmp_path / ".lock"
    monkeypatch.setattr(time, "time", lambda: plain() + skew)

    def taken() -> bool:
        try:
            with folder_lock(tmp_path):
                return True
        except LockedError:
            return False

    lock.write_text(json.dumps({"host": "another", "pid": os.getpid()}))
    for age in (0.0, 1e9):  # no lease: it does not run out
        os.utime(lock, (plain() - age, plain() - age))
        assert not taken() and lock.exists()
    for text in ("", '{"pid": 7'):  # its process died, or is about to go on
        lock.write_text(text)
        assert not taken()
        os.utime(lock, (plain() - 60, plain() - 60))
        assert taken() and not lock.exists()
    assert not list(tmp_path.iterdir())


def test_of_two_that_find_a_dead_lock_one_gets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The slower one found it dead, and goes on when the faster has its own there."""
    lock, plain, first = tmp_path / ".lock", workspace._is_alive, contextlib.ExitStack()
    lock.write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}))  # of an earlier process
    monkeypatch.setattr(workspace, "_held_locks", set())

    def looks(holder: dict[str, Any], path: Path) -> bool:
        monkeypatch.setattr(workspace, "_is_alive", plain)
        found = plain(holder, path)
        assert not found
        first.enter_context(folder_lock(tmp_path))
        return found

    monkeypatch.setattr(workspace, "_is_alive", looks)
    with first:
        with pytest.raises(LockedError), folder_lock(tmp_path):
            pass
        assert lock.exists()
    assert not list(tmp_path.iterdir())


def test_a_takeover_that_died_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".lock").write_text('{"host": "there"')
    guard = tmp_path / ".lock.taking.tmp"
    guard.touch()
    for path in tmp_path.iterdir():
        os.utime(path, (0, 0))
    with folder_lock(tmp_path):
        assert not guard.exists()
    assert not list(tmp_path.iterdir())


def test_a_process_that_nobody_waited_for_holds_no_lock(tmp_path: Path) -> None:
    """As every orphan that is killed in a container whose first process asks for none."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    os.kill(child.pid, 0)  # it has its number still
    (tmp_path / ".lock").write_text(json.dumps({"host": socket.gethostname(), "pid": child.pid}))
    with folder_lock(tmp_path):
        pass
    child.wait()


def test_who_was_thought_to_be_gone_leaves_the_others_lock(tmp_path: Path) -> None:
    lock, other = tmp_path / ".lock", json.dumps({"host": "there", "pid": 7})
    with folder_lock(tmp_path):
        lock.write_text(other)
    assert lock.read_text() == other


def test_a_lock_taken_after_its_actor_was_given_up_is_taken_away(tmp_path: Path) -> None:
    """Its machine is gone for us, and it took the lock while it went."""
    crew = ray_workers.RayPool(tmp_path, 1, 1, 0.0)
    hand = object.__new__(ray_workers.RayWorkerHandle)
    hand.pool, hand.actor = crew, mock.MagicMock()
    task = Task("red_mug", "a red mug", 0, {}, str(tmp_path), False)
    lock = tmp_path / "red_mug" / ".lock"
    lock.parent.mkdir()
    lock.write_text(json.dumps({"host": "there", "pid": 7}))
    crew.dead_process_ids.add(("there", 8))
    hand._send(task)
    assert lock.exists()
    crew.dead_process_ids.add(("there", 7))
    hand._send(task)
    assert not lock.exists() and hand.actor.run_task.remote.call_count == 2
