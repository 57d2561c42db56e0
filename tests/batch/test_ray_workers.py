"""Batches on Ray survive the death of an actor, a machine or the driver. Starts real clusters on this machine."""

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
from tests.support.fakes import (
    MANIFEST,
    PRIOR_HASHES,
    EventRecorder,
    attempt_pids,
    create_fake_runner,
    make_items,
    num_attempts,
    statuses,
)

ray = pytest.importorskip("ray", reason="pip install 'dreamfusion3d[ray]'")
pytestmark = pytest.mark.clients
ROOT = Path(__file__).parents[2]
LIMITS = Limits(timeout=30.0, max_attempts=4, retry_delay=0.05)  # an item may first go to an actor on the dead machine


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A cluster whose head node has no CPUs."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


def test_run_batch_survives_the_death_of_actor_and_machine(cluster: Any, tmp_path: Path) -> None:
    first = cluster.add_node(num_cpus=2)
    items = make_items("good", "a crash", "an error", "poison", "hang", "slow two")

    class NodeKiller(EventRecorder):
        done = False

        def refresh(self) -> None:
            if not self.done and attempt_pids(tmp_path, "hang"):
                self.done = True
                cluster.add_node(num_cpus=2)
                cluster.remove_node(first, allow_graceful=False)

    reporter = NodeKiller()
    with ray_workers.ray_connection(cluster.address):
        with pytest.raises(InputError, match="has 3 CPUs"):
            ray_workers.count_worker_slots(3, 0.0)
        assert ray_workers.count_worker_slots(1, 0.0) == 2
        pool = ray_workers.RayPool(tmp_path, 2, 1, 0.0, create_fake_runner)
        outcomes, stopped = run.run_batch(
            BatchRun(MANIFEST, tmp_path, items), pool, reporter, prior_hashes=PRIOR_HASHES, limits=LIMITS
        )
    assert not stopped and reporter.done
    assert statuses(outcomes) == {
        "good": "made",
        "a_crash": "made",
        "an_error": "made",
        "poison": "failed",
        "hang": "made",
        "slow_two": "made",
    }, (outcomes, [e for e in reporter.events if e.type in ("started", "retry", "worker_replaced")])
    assert outcomes["hang"].attempts >= 2 and num_attempts(tmp_path, "hang") >= 2
    note = next(e.note for e in reporter.events if e.type == "retry" and e.name == "hang")
    assert "no progress" not in note, "the machine was lost"
    failure = json.loads((tmp_path / "failures.jsonl").read_text())
    assert "RuntimeError" in failure["log"] and not list(tmp_path.rglob(".lock"))


PROGRAM = """
    import sys
    from pathlib import Path
    from tests.support import fakes
    from dreamfusion3d.batch import ray_workers, run
    from dreamfusion3d.batch.state import BatchRun

    if __name__ == "__main__":
        out = Path(sys.argv[1])
        with ray_workers.ray_connection("local"):
            pool = ray_workers.RayPool(out, 1, 1, 0.0, fakes.create_fake_runner)
            batch = BatchRun(fakes.MANIFEST, out, fakes.make_items("good", "hang"))
            options = {"prior_hashes": fakes.PRIOR_HASHES, "limits": fakes.FAST_LIMITS}
            outcomes, _ = run.run_batch(batch, pool, fakes.EventRecorder(), **options)
        print(sorted(o.status for o in outcomes.values()))
"""


def test_run_batch_resumes_after_the_driver_died(tmp_path: Path) -> None:
    out, program = tmp_path / "out", tmp_path / "program.py"
    out.mkdir()
    program.write_text(textwrap.dedent(PROGRAM))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, str(program), str(out)]
    driver = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 90
    while not attempt_pids(out, "hang"):
        assert driver.poll() is None and time.monotonic() < deadline, driver.communicate()
        time.sleep(0.02)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    report = out / "good" / "asset.json"
    before = report.stat().st_mtime_ns
    # as left by an actor on another machine
    known = json.loads((out / ".batch" / "ray.json").read_text())
    (out / ".batch" / "ray.json").write_text(json.dumps([*known, ["elsewhere", 7]]))
    (out / "hang" / ".lock").write_text(json.dumps({"host": "elsewhere", "pid": 7}))
    time.sleep(2)
    second = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert second.stdout == "['made', 'there']\n", second.stderr
    assert report.stat().st_mtime_ns == before and not list(out.rglob(".lock"))


def test_ray_connection_local_does_not_join_a_running_cluster(cluster: Any) -> None:
    with ray_workers.ray_connection("local"):
        assert ray.get_runtime_context().gcs_address != cluster.address
        assert ray_workers.count_worker_slots(1, 0.0) >= 1, "the running cluster has no CPUs"


def test_ray_connection_reports_a_missing_cluster() -> None:
    with pytest.raises(InputError, match="no Ray cluster at '127.0.0.1:1'"), ray_workers.ray_connection("127.0.0.1:1"):
        pass
