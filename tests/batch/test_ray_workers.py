"""The same batch on Ray: an actor, a machine or the driver may die. Starts real clusters on this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dreamfusion3d.batch import ray_workers, run
from dreamfusion3d.batch.state import BatchRun
from dreamfusion3d.batch.supervisor import Limits
from dreamfusion3d.core.errors import InputError
from tests.batch.test_supervisor import WEIGHTS, Heard, items, statuses
from tests.support.fakes import fake_maker, pids, tries

ray = pytest.importorskip("ray", reason="pip install 'dreamfusion3d[ray]'")
pytestmark = pytest.mark.clients
ROOT = Path(__file__).parents[2]
PATIENT = Limits(timeout=30.0, max_attempts=4, retry_delay=0.05)  # a row may be given to an actor on the dead machine


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A machine that drives, and one more with the only two slots."""
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        yield found
    finally:
        ray.shutdown()
        found.shutdown()


def test_an_actor_and_a_machine_die(cluster: Any, tmp_path: Path) -> None:
    first = cluster.add_node(num_cpus=2)
    wanted = items("good", "a crash", "an error", "poison", "hang", "slow two")

    class Killer(Heard):
        done = False

        def tick(self) -> None:
            if not self.done and pids(tmp_path, "hang"):
                self.done = True
                cluster.add_node(num_cpus=2)
                cluster.remove_node(first, allow_graceful=False)

    heard = Killer()
    with ray_workers.ray_connection(cluster.address):
        with pytest.raises(InputError, match="asks for 3 CPUs"):
            ray_workers.count_worker_slots(3, 0.0)
        assert ray_workers.count_worker_slots(1, 0.0) == 2
        crew = ray_workers.RayPool(tmp_path, 2, 1, 0.0, fake_maker)
        outcomes, stopped = run.run_batch(
            BatchRun(Path("m.csv"), tmp_path, wanted), crew, heard, prior_hashes=WEIGHTS, limits=PATIENT
        )
    assert not stopped and heard.done
    assert statuses(outcomes) == {
        "good": "made",
        "a_crash": "made",
        "an_error": "made",
        "poison": "failed",
        "hang": "made",
        "slow_two": "made",
    }, (outcomes, [e for e in heard.events if e.type in ("begun", "again", "worker")])
    assert outcomes["hang"].attempts >= 2 and tries(tmp_path, "hang") >= 2
    first = next(e.note for e in heard.events if e.type == "again" and e.name == "hang")
    assert "no sign of progress" not in first, "it was the machine that went"
    failure = json.loads((tmp_path / "failures.jsonl").read_text())
    assert "RuntimeError" in failure["log"] and not list(tmp_path.rglob(".lock"))


PROGRAM = """
    import sys
    from pathlib import Path
    from tests.batch.test_supervisor import Heard, QUICK, WEIGHTS, fake_maker, items
    from dreamfusion3d.batch import on_ray, run
    from dreamfusion3d.batch.state import Batch

    if __name__ == "__main__":
        out = Path(sys.argv[1])
        with on_ray.connected("local"):
            crew = on_ray.RayCrew(out, 1, 1, 0.0, fake_maker)
            batch = Batch(Path("m.csv"), out, items("good", "hang"))
            found, _ = run.run(batch, crew, Heard(), weights=WEIGHTS, limits=QUICK)
        print(sorted(o.status for o in found.values()))
"""


def test_the_driver_dies_and_the_folder_is_enough(tmp_path: Path) -> None:
    out, program = tmp_path / "out", tmp_path / "program.py"
    out.mkdir()
    program.write_text(textwrap.dedent(PROGRAM))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    words = [sys.executable, str(program), str(out)]
    driver = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 90
    while not pids(out, "hang"):
        assert driver.poll() is None and time.monotonic() < deadline, driver.communicate()
        time.sleep(0.02)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    report = out / "good" / "asset.json"
    before = report.stat().st_mtime_ns
    # as another machine's actor would leave it
    known = json.loads((out / ".batch" / "ray.json").read_text())
    (out / ".batch" / "ray.json").write_text(json.dumps([*known, ["elsewhere", 7]]))
    (out / "hang" / ".lock").write_text(json.dumps({"host": "elsewhere", "pid": 7}))
    time.sleep(2)
    again = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120)
    assert again.stdout == "['made', 'there']\n", again.stderr
    assert report.stat().st_mtime_ns == before and not list(out.rglob(".lock"))


def test_local_joins_no_cluster_that_runs_here(cluster: Any) -> None:
    with ray_workers.ray_connection("local"):
        assert ray.get_runtime_context().gcs_address != cluster.address
        assert ray_workers.count_worker_slots(1, 0.0) >= 1, "the one that runs has no cores"


def test_no_cluster_is_one_line() -> None:
    with pytest.raises(InputError, match="no Ray cluster at '127.0.0.1:1'"), ray_workers.ray_connection("127.0.0.1:1"):
        pass
