"""Laws of supervision: no item is lost, duplicated or left half done, whatever happens to workers or supervisor."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from dreamfusion3d.batch import run, state
from dreamfusion3d.batch.manifest import ManifestRow
from dreamfusion3d.batch.plan import expand_rows
from dreamfusion3d.batch.state import BatchRun
from dreamfusion3d.batch.supervisor import Limits
from dreamfusion3d.batch.workers import LocalPool
from dreamfusion3d.core.config import Config, resolve_config
from dreamfusion3d.core.errors import InputError, LockedError
from tests.support.fakes import (
    FAST_LIMITS,
    MANIFEST,
    EventRecorder,
    attempt_pids,
    create_broken_runner,
    make_items,
    num_attempts,
    run_items,
    statuses,
)


def test_run_batch_retries_faults_and_fails_poison(tmp_path: Path) -> None:
    items = make_items("good", "a crash", "an error", "poison", "a mistake", "another good")
    reporter = EventRecorder()
    outcomes = run_items(tmp_path, items, workers=2, reporter=reporter)
    assert statuses(outcomes) == {
        "good": "made",
        "a_crash": "made",
        "an_error": "made",
        "poison": "failed",
        "a_mistake": "failed",
        "another_good": "made",
    }
    assert {n: o.attempts for n, o in outcomes.items()} == {
        "good": 1,
        "a_crash": 2,
        "an_error": 2,
        "poison": 2,
        "a_mistake": 1,
        "another_good": 1,
    }
    assert all(num_attempts(tmp_path, n) == o.attempts for n, o in outcomes.items())
    retries = {e.name: e.note for e in reporter.events if e.type == "retry"}
    assert "SIGKILL" in retries["a_crash"] and "the field exploded" in retries["an_error"]
    failures = [json.loads(line) for line in (tmp_path / "failures.jsonl").read_text().splitlines()]
    expected = [("poison", "error", 5), ("a_mistake", "input", 6)]
    assert [(f["name"], f["failure_type"], f["line"]) for f in failures] == expected
    assert "a line of the log" in failures[0]["log"] and "RuntimeError" in failures[0]["log"]
    assert failures[0]["command"] == "text2mesh poison --seed 0 --quality standard"
    summary = json.loads((tmp_path / "batch.json").read_text())
    assert (summary["made"], summary["failed"], summary["left"]) == (4, 2, 0)
    assert not [p for p in tmp_path.rglob("*") if ".tmp" in p.name or p.name == ".lock"]
    # a second batch leaves finished items alone and retries failed ones
    before = {p: p.stat().st_mtime_ns for p in tmp_path.glob("*/asset.json")}
    second = run_items(tmp_path, items)
    assert statuses(second) == {n: "there" if s == "made" else s for n, s in statuses(outcomes).items()}
    assert {p: p.stat().st_mtime_ns for p in tmp_path.glob("*/asset.json")} == before
    assert num_attempts(tmp_path, "good") == 1


def test_run_batch_names_assets_after_their_row(tmp_path: Path) -> None:
    rows = [
        ManifestRow(2, "good", "My Vase", (4, 5), True, "standard", Config()),
        ManifestRow(3, "good", None, (0,), False, "standard", Config()),
    ]
    run_items(tmp_path, expand_rows(MANIFEST, rows))
    names = {p.parent.name: json.loads(p.read_text())["name"] for p in tmp_path.glob("*/asset.json")}
    assert names == {"my_vase_s4": "my_vase", "my_vase_s5": "my_vase", "good": None}


def test_supervisor_replaces_a_hung_worker(tmp_path: Path) -> None:
    reporter = EventRecorder()
    # longer than a worker takes to start, during which it sends nothing
    limits = Limits(timeout=6.0, max_attempts=2, retry_delay=0.05)
    outcomes = run_items(tmp_path, make_items("hang", "good"), limits=limits, reporter=reporter)
    assert statuses(outcomes) == {"hang": "made", "good": "made"} and outcomes["hang"].attempts == 2
    assert len(set(attempt_pids(tmp_path, "hang"))) == 2
    assert any("no progress" in e.note for e in reporter.events if e.type == "worker_replaced")


def test_supervisor_keeps_a_worker_until_its_memory_grows(tmp_path: Path) -> None:
    limits = Limits(
        timeout=30.0, max_attempts=2, retry_delay=0.05, max_memory_growth=1.5, min_memory_growth_bytes=100 << 20
    )
    items = make_items("one", "two", "grow one", "grow two", "grow three", "last")
    outcomes = run_items(tmp_path, items, limits=limits)
    assert set(statuses(outcomes).values()) == {"made"}
    pids = [attempt_pids(tmp_path, name)[0] for name in ("one", "two", "grow_one")]
    assert len(set(pids)) == 1, "a worker is not replaced without a reason"
    assert attempt_pids(tmp_path, "last")[0] != pids[0]


def test_supervisor_ends_the_batch_if_workers_fail_to_start(tmp_path: Path) -> None:
    pool = LocalPool(["cpu"], None, create_broken_runner)
    with pytest.raises(InputError, match="workers fail to start.*no weights here"):
        run.run_batch(BatchRun(MANIFEST, tmp_path, make_items("good")), pool, EventRecorder(), limits=FAST_LIMITS)
    assert json.loads((tmp_path / "batch.json").read_text())["left"] == 1


def test_run_batch_overwrites_other_settings_only_on_request(tmp_path: Path) -> None:
    run_items(tmp_path, make_items("good"))
    record = (tmp_path / "good" / "asset.json").read_bytes()
    changed = make_items("good", config=resolve_config(sets=["mesh.max_faces=500"]))
    assert statuses(run_items(tmp_path, changed)) == {"good": "other"}
    assert (tmp_path / "good" / "asset.json").read_bytes() == record
    assert statuses(run_items(tmp_path, changed, overwrite=True)) == {"good": "made"}
    assert json.loads((tmp_path / "good" / "asset.json").read_text())["config"]["mesh"]["max_faces"] == 500


def test_run_batch_keeps_the_best_seed(tmp_path: Path) -> None:
    items = make_items("good", "flawed", seeds=3)
    outcomes = run_items(tmp_path, items, keep_best=True)
    # 'good': the last seed's silhouettes are best; 'flawed': only seed 2 passes its checks
    assert sorted(p.parent.name for p in tmp_path.glob("*/asset.json")) == ["flawed_s2", "good_s2"]
    assert outcomes["good_s2"].status == "made" and outcomes["good_s0"].status == "passed_over"
    choice = json.loads((tmp_path / "flawed_s2" / "choice.json").read_text())
    assert choice["seeds"]["0"] == {"failed_checks": 1, "silhouettes_match": 0.9} and choice["kept"] == 2
    second = run_items(tmp_path, items, keep_best=True)
    assert state.count_by_status(second)["there"] == 2 and state.count_by_status(second)["passed_over"] == 4
    assert num_attempts(tmp_path, "good_s0") == 1


def test_supervisor_stops_without_failures_if_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(out: Path) -> None:
        raise InputError("the disk is full")

    monkeypatch.setattr("dreamfusion3d.batch.supervisor.check_free_space", full)
    with pytest.raises(InputError, match="disk is full"):
        run_items(tmp_path, make_items("poison", "good"))
    assert not (tmp_path / "failures.jsonl").exists()


# --- signals, sent to a supervisor in its own process ---

PROGRAM = """
    import sys
    from pathlib import Path
    from tests.support import fakes
    from dreamfusion3d.batch import run
    from dreamfusion3d.batch.state import BatchRun
    from dreamfusion3d.batch.workers import LocalPool

    if __name__ == "__main__":
        batch = BatchRun(fakes.MANIFEST, Path(sys.argv[1]), fakes.make_items("slow one", "slow two"))
        pool = LocalPool(["cpu"], None, fakes.create_fake_runner)
        options = {"prior_hashes": fakes.PRIOR_HASHES, "limits": fakes.FAST_LIMITS}
        print(run.run_batch(batch, pool, fakes.EventRecorder(), **options)[1])
"""


def start_batch(out: Path) -> subprocess.Popen[str]:
    """Start a batch in its own process and wait until its first item has started."""
    out.mkdir(exist_ok=True)
    program = out.parent / "program.py"
    program.write_text(textwrap.dedent(PROGRAM))
    root = str(Path(__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, str(program), str(out)],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])},
    )
    deadline = time.monotonic() + 60
    while not attempt_pids(out, "slow_one"):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.02)
    return process


def finished_names(out: Path) -> list[str]:
    return sorted(p.parent.name for p in out.glob("*/asset.json"))


def test_sigint_finishes_running_items(tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start_batch(out)
    with pytest.raises(LockedError):  # two batches on one folder
        run_items(out, make_items("slow one"))
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert stdout == "True\n" and "stopping" in stderr
    assert finished_names(out) == ["slow_one"] and num_attempts(out, "slow_two") == 0
    summary = json.loads((out / "batch.json").read_text())
    assert summary["stopped"] and (summary["made"], summary["left"]) == (1, 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_run_batch_resumes_after_sigterm_and_sigkill(number: int, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start_batch(out)
    process.send_signal(number)
    process.communicate(timeout=60)
    worker = int(attempt_pids(out, "slow_one")[0])
    deadline = time.monotonic() + 20
    while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not Path(f"/proc/{worker}").exists(), "no worker outlives its supervisor"
    assert finished_names(out) == []
    assert statuses(run_items(out, make_items("slow one", "slow two"))) == {"slow_one": "made", "slow_two": "made"}
