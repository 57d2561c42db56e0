"""Nothing lost, nothing doubled, nothing half done, whatever happens to a worker or to the supervisor."""

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
from dreamfusion3d.batch.events import Event
from dreamfusion3d.batch.manifest import ManifestRow
from dreamfusion3d.batch.plan import Item, expand_rows
from dreamfusion3d.batch.state import BatchRun, Outcome
from dreamfusion3d.batch.supervisor import Limits
from dreamfusion3d.batch.workers import LocalPool
from dreamfusion3d.core.config import Config, PriorConfig, resolve_config
from dreamfusion3d.core.errors import InputError, LockedError
from tests.support.fakes import SHA, broken_maker, fake_maker, pids, tries

QUICK = Limits(timeout=30.0, max_attempts=2, retry_delay=0.05)
WEIGHTS = {PriorConfig(): SHA}


class Heard:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def see(self, event: Event) -> None:
        self.events.append(event)

    def tick(self) -> None: ...

    def close(self) -> None: ...


def items(*prompts: str, seeds: int | None = None, config: Config | None = None) -> list[Item]:
    rows = [
        ManifestRow(line, prompt, None, (0,), False, "standard", config or Config())
        for line, prompt in enumerate(prompts, 2)
    ]
    return expand_rows(Path("m.csv"), rows, seeds)


def go(
    out: Path,
    wanted: list[Item],
    *,
    workers: int = 1,
    limits: Limits = QUICK,
    remake: bool = False,
    keep_best: bool = False,
    heard: Heard | None = None,
) -> dict[str, Outcome]:
    team = LocalPool(["cpu"] * workers, None, fake_maker)
    outcomes, stopped = run.run_batch(
        BatchRun(Path("m.csv"), out, wanted),
        team,
        heard or Heard(),
        prior_hashes=WEIGHTS,
        limits=limits,
        overwrite=remake,
        keep_best=keep_best,
    )
    assert not stopped
    return outcomes


def statuses(outcomes: dict[str, Outcome]) -> dict[str, str]:
    return {name: o.status for name, o in outcomes.items()}


def test_faults_cost_a_try_and_poison_is_set_aside(tmp_path: Path) -> None:
    wanted = items("good", "a crash", "an error", "poison", "a mistake", "another good")
    heard = Heard()
    found = go(tmp_path, wanted, workers=2, heard=heard)
    assert statuses(found) == {
        "good": "made",
        "a_crash": "made",
        "an_error": "made",
        "poison": "failed",
        "a_mistake": "failed",
        "another_good": "made",
    }
    assert {n: o.attempts for n, o in found.items()} == {
        "good": 1,
        "a_crash": 2,
        "an_error": 2,
        "poison": 2,
        "a_mistake": 1,
        "another_good": 1,
    }
    assert all(tries(tmp_path, n) == o.attempts for n, o in found.items())
    again = {e.name: e.note for e in heard.events if e.type == "again"}
    assert "SIGKILL" in again["a_crash"] and "the field exploded" in again["an_error"]
    failures = [json.loads(line) for line in (tmp_path / "failures.jsonl").read_text().splitlines()]
    assert [(f["name"], f["how"], f["line"]) for f in failures] == [("poison", "error", 5), ("a_mistake", "input", 6)]
    assert "a line of the log" in failures[0]["log"] and "RuntimeError" in failures[0]["log"]
    assert failures[0]["command"] == "text2mesh poison --seed 0 --quality standard"
    summary = json.loads((tmp_path / "batch.json").read_text())
    assert (summary["made"], summary["failed"], summary["left"]) == (4, 2, 0)
    assert not [p for p in tmp_path.rglob("*") if ".tmp" in p.name or p.name == ".lock"]
    # again: what is done is not touched, what failed is tried anew
    before = {p: p.stat().st_mtime_ns for p in tmp_path.glob("*/asset.json")}
    second = go(tmp_path, wanted)
    assert statuses(second) == {n: "there" if s == "made" else s for n, s in statuses(found).items()}
    assert {p: p.stat().st_mtime_ns for p in tmp_path.glob("*/asset.json")} == before
    assert tries(tmp_path, "good") == 1


def test_what_is_inside_is_called_as_its_row(tmp_path: Path) -> None:
    rows = [
        ManifestRow(2, "good", "My Vase", (4, 5), True, "standard", Config()),
        ManifestRow(3, "good", None, (0,), False, "standard", Config()),
    ]
    go(tmp_path, expand_rows(Path("m.csv"), rows))
    names = {p.parent.name: json.loads(p.read_text())["name"] for p in tmp_path.glob("*/asset.json")}
    assert names == {"my_vase_s4": "my_vase", "my_vase_s5": "my_vase", "good": None}


def test_a_hung_worker_is_replaced_and_says_where(tmp_path: Path) -> None:
    heard = Heard()
    # a worker that starts is silent too: the limit must be longer than that takes
    found = go(
        tmp_path, items("hang", "good"), limits=Limits(timeout=6.0, max_attempts=2, retry_delay=0.05), heard=heard
    )
    assert statuses(found) == {"hang": "made", "good": "made"} and found["hang"].attempts == 2
    assert len(set(pids(tmp_path, "hang"))) == 2
    assert any("no sign of progress" in e.note for e in heard.events if e.type == "worker")


def test_one_process_makes_many_until_it_grows(tmp_path: Path) -> None:
    limits = Limits(
        timeout=30.0, max_attempts=2, retry_delay=0.05, max_memory_growth=1.5, min_memory_growth_bytes=100 << 20
    )
    wanted = items("one", "two", "grow one", "grow two", "grow three", "last")
    found = go(tmp_path, wanted, limits=limits)
    assert set(statuses(found).values()) == {"made"}
    same = [pids(tmp_path, name)[0] for name in ("one", "two", "grow_one")]
    assert len(set(same)) == 1, "a worker is not replaced without a reason"
    assert pids(tmp_path, "last")[0] != same[0]


def test_workers_that_do_not_start_end_the_batch(tmp_path: Path) -> None:
    team = LocalPool(["cpu"], None, broken_maker)
    with pytest.raises(InputError, match="no worker starts.*no weights here"):
        run.run_batch(BatchRun(Path("m.csv"), tmp_path, items("good")), team, Heard(), limits=QUICK)
    assert json.loads((tmp_path / "batch.json").read_text())["left"] == 1


def test_other_settings_stay_until_asked(tmp_path: Path) -> None:
    go(tmp_path, items("good"))
    report = (tmp_path / "good" / "asset.json").read_bytes()
    changed = items("good", config=resolve_config(sets=["mesh.max_faces=500"]))
    assert statuses(go(tmp_path, changed)) == {"good": "other"}
    assert (tmp_path / "good" / "asset.json").read_bytes() == report
    assert statuses(go(tmp_path, changed, remake=True)) == {"good": "made"}
    assert json.loads((tmp_path / "good" / "asset.json").read_text())["config"]["mesh"]["faces"] == 500


def test_the_best_seed_is_kept(tmp_path: Path) -> None:
    wanted = items("good", "flawed", seeds=3)
    found = go(tmp_path, wanted, keep_best=True)
    # 'good': the last seed's silhouettes are best; 'flawed': only seed 2 passes its checks
    assert sorted(p.parent.name for p in tmp_path.glob("*/asset.json")) == ["flawed_s2", "good_s2"]
    assert found["good_s2"].status == "made" and found["good_s0"].status == "passed_over"
    choice = json.loads((tmp_path / "flawed_s2" / "choice.json").read_text())
    assert choice["seeds"]["0"] == {"failed_checks": 1, "silhouettes_match": 0.9} and choice["kept"] == 2
    second = go(tmp_path, wanted, keep_best=True)
    assert state.count_by_status(second)["there"] == 2 and state.count_by_status(second)["passed_over"] == 4
    assert tries(tmp_path, "good_s0") == 1


def test_a_full_disk_stops_the_batch_and_fails_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(out: Path) -> None:
        raise InputError("the disk is full")

    monkeypatch.setattr("dreamfusion3d.batch.supervisor.check_free_space", full)
    with pytest.raises(InputError, match="disk is full"):
        go(tmp_path, items("poison", "good"))
    assert not (tmp_path / "failures.jsonl").exists()


# --- a supervisor of its own, for signals ---

PROGRAM = """
    import sys
    from pathlib import Path
    from tests.batch.test_supervisor import Heard, QUICK, WEIGHTS, fake_maker, items
    from dreamfusion3d.batch import run
    from dreamfusion3d.batch.state import Batch
    from dreamfusion3d.batch.workers import Team

    if __name__ == "__main__":
        batch = Batch(Path("m.csv"), Path(sys.argv[1]), items("slow one", "slow two"))
        print(run.run(batch, Team(["cpu"], None, fake_maker), Heard(), weights=WEIGHTS, limits=QUICK)[1])
"""


def begin(out: Path) -> subprocess.Popen[str]:
    """A batch in a process of its own, once its first row is begun."""
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
    while not pids(out, "slow_one"):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.02)
    return process


def done(out: Path) -> list[str]:
    return sorted(p.parent.name for p in out.glob("*/asset.json"))


def test_ctrl_c_finishes_what_is_begun(tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = begin(out)
    with pytest.raises(LockedError):  # two batches on one folder
        go(out, items("slow one"))
    process.send_signal(signal.SIGINT)
    said, complaints = process.communicate(timeout=60)
    assert said == "True\n" and "stopping" in complaints
    assert done(out) == ["slow_one"] and tries(out, "slow_two") == 0
    summary = json.loads((out / "batch.json").read_text())
    assert summary["stopped"] and (summary["made"], summary["left"]) == (1, 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_stopped_at_once_and_resumed(number: int, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = begin(out)
    process.send_signal(number)
    process.communicate(timeout=60)
    worker = int(pids(out, "slow_one")[0])
    deadline = time.monotonic() + 20
    while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not Path(f"/proc/{worker}").exists(), "no worker outlives its supervisor"
    assert done(out) == []
    assert statuses(go(out, items("slow one", "slow two"))) == {"slow_one": "made", "slow_two": "made"}
