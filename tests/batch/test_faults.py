"""Leftovers of faults are discarded: non-finite results, temporary files, broken records, stale locks."""

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
from dreamfusion3d.core import folders
from dreamfusion3d.core.config import Config
from dreamfusion3d.core.errors import LockedError
from dreamfusion3d.core.folders import folder_lock, release_stale_lock
from dreamfusion3d.core.progress import QuietProgress
from dreamfusion3d.pipelines.context import RunContext
from dreamfusion3d.pipelines.stages import StageTracker, load_or_compute
from dreamfusion3d.pipelines.training_stage import train_or_load
from dreamfusion3d.pipelines.workspace import RunIdentity, Workspace, read_asset_record
from tests.support.pipelines import FakePrior


@dataclass
class Result:
    values: np.ndarray


def test_load_or_compute_discards_non_finite_results(tmp_path: Path) -> None:
    path, good = tmp_path / "result.npz", Result(np.ones(3, np.float32))
    with pytest.raises(FloatingPointError, match="values of result"):
        load_or_compute(path, Result, lambda: Result(np.array([0.0, np.nan])), QuietProgress())
    assert not path.exists()
    np.savez(path, values=np.array([np.nan]))
    assert np.array_equal(load_or_compute(path, Result, lambda: good, QuietProgress()).values, good.values)
    assert np.isfinite(np.load(path)["values"]).all()


def test_train_or_load_discards_non_finite_fields(tmp_path: Path) -> None:
    space, identity = Workspace(tmp_path / "a"), RunIdentity("a mug", 0, Config(), "0" * 64)
    space.work.mkdir(parents=True)
    run = RunContext(FakePrior(), identity, space, torch.device("cpu"), StageTracker(("optimize",), QuietProgress()))
    path, field = space.work / "field.safetensors", torch.nn.Linear(2, 2)

    def train(module: torch.nn.Module) -> None:
        train_or_load(module, lambda prompts, checkpoint: iter(()), "optimize", run)

    field.weight.data[0, 0] = torch.nan
    with pytest.raises(FloatingPointError):
        train(field)
    assert not path.exists()
    field.weight.data[0, 0] = 0.5
    train(field)
    other = torch.nn.Linear(2, 2)
    train(other)
    assert torch.equal(other.weight, field.weight)


@pytest.mark.parametrize("record", ["null", "[]", "3", '"x"', "[" * 100_000, '{"source": 3, "prompt": {}}'])
def test_begin_removes_broken_records_and_temporary_files(record: str, tmp_path: Path) -> None:
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


def test_release_stale_lock_only_of_dead_holders(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    lock.write_text(json.dumps({"host": "there", "pid": 7}))
    release_stale_lock(tmp_path, [("there", 8), ("here", 7)])
    assert lock.exists()
    release_stale_lock(tmp_path, [("there", 7)])
    assert not lock.exists()


@pytest.mark.parametrize("skew", [-86400.0, 0.0, 86400.0])
def test_folder_lock_ignores_clock_skew(skew: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, lock = time.time, tmp_path / ".lock"
    monkeypatch.setattr(time, "time", lambda: original() + skew)

    def can_lock() -> bool:
        try:
            with folder_lock(tmp_path):
                return True
        except LockedError:
            return False

    lock.write_text(json.dumps({"host": "another", "pid": os.getpid()}))
    for age in (0.0, 1e9):  # locks of other hosts do not expire
        os.utime(lock, (original() - age, original() - age))
        assert not can_lock() and lock.exists()
    for text in ("", '{"pid": 7'):  # its process died, or is still writing it
        lock.write_text(text)
        assert not can_lock()
        os.utime(lock, (original() - 60, original() - 60))
        assert can_lock() and not lock.exists()
    assert not list(tmp_path.iterdir())


def test_folder_lock_race_for_a_stale_lock_has_one_winner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The slower process finds the lock stale, but the faster one has already replaced it."""
    lock, plain, first = tmp_path / ".lock", folders._is_alive, contextlib.ExitStack()
    lock.write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}))  # of an earlier process
    monkeypatch.setattr(folders, "_held_locks", set())

    def check(holder: dict[str, Any], path: Path) -> bool:
        monkeypatch.setattr(folders, "_is_alive", plain)
        found = plain(holder, path)
        assert not found
        first.enter_context(folder_lock(tmp_path))
        return found

    monkeypatch.setattr(folders, "_is_alive", check)
    with first:
        with pytest.raises(LockedError), folder_lock(tmp_path):
            pass
        assert lock.exists()
    assert not list(tmp_path.iterdir())


def test_folder_lock_completes_an_interrupted_takeover(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".lock").write_text('{"host": "there"')
    guard = tmp_path / ".lock.taking.tmp"
    guard.touch()
    for path in tmp_path.iterdir():
        os.utime(path, (0, 0))
    with folder_lock(tmp_path):
        assert not guard.exists()
    assert not list(tmp_path.iterdir())


def test_folder_lock_ignores_zombies(tmp_path: Path) -> None:
    """A killed orphan stays a zombie in a container whose init process does not reap it."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    os.kill(child.pid, 0)  # the pid still exists
    (tmp_path / ".lock").write_text(json.dumps({"host": socket.gethostname(), "pid": child.pid}))
    with folder_lock(tmp_path):
        pass
    child.wait()


def test_folder_lock_leaves_a_lock_that_was_taken_over(tmp_path: Path) -> None:
    lock, other = tmp_path / ".lock", json.dumps({"host": "there", "pid": 7})
    with folder_lock(tmp_path):
        lock.write_text(other)
    assert lock.read_text() == other


def test_ray_worker_handle_releases_locks_of_dead_actors(tmp_path: Path) -> None:
    """An actor that was given up may still take a lock before it dies."""
    pool = ray_workers.RayPool(tmp_path, 1, 1, 0.0)
    handle = object.__new__(ray_workers.RayWorkerHandle)
    handle.pool, handle.actor = pool, mock.MagicMock()
    task = Task("red_mug", "a red mug", 0, {}, str(tmp_path), False)
    lock = tmp_path / "red_mug" / ".lock"
    lock.parent.mkdir()
    lock.write_text(json.dumps({"host": "there", "pid": 7}))
    pool.dead_process_ids.add(("there", 8))
    handle._send(task)
    assert lock.exists()
    pool.dead_process_ids.add(("there", 7))
    handle._send(task)
    assert not lock.exists() and handle.actor.run_task.remote.call_count == 2
