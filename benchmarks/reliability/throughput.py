"""What supervision costs: a batch against plain loops side by side, and Ray against the supervisor.

    python -m benchmarks.reliability.throughput --out out/throughput [--assets 100] [--ray-assets 20]
        [--steps 20] [--workers 2]

Draft assets with few steps (``--steps``): a core makes one in some 11 seconds, and every second that a batch
costs weighs more than against a whole draft. Parts, each made once and then kept in OUT:

    loops         as many plain loops as there are workers, each with one prior, side by side
    supervised    the same rows by `dreamfusion3d batch`; also the memory of its workers
    few, ray      the first rows by the supervisor and on a local Ray with as many slots (0: neither)

Run it on idle cores. Prints JSON. Times are of the commands, from their start to their end.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.reliability.common import ROOT, children, command, files_of, finish, start, write_manifest

# A loop that a person would write: one prior, asset after asset.
LOOP = """
import json, sys
from pathlib import Path
from dreamfusion3d.batch import manifest, plan
from dreamfusion3d.pipelines.text_to_mesh import text_to_mesh
from dreamfusion3d.priors.loading import load_prior
path, out, number, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
prior = load_prior("embedded")
for item in plan.items_of(path, manifest.read(path))[number::count]:
    text_to_mesh(
        item.prompt, out=out, seed=item.seed, config=item.config, prior=prior, folder=item.name,
        called=item.called,
    )
"""


def loops(manifest: Path, out: Path, count: int) -> dict[str, Any]:
    cores = os.cpu_count() or 1
    environment = {**os.environ, "OMP_NUM_THREADS": str(max(1, cores // count))}
    begun = time.perf_counter()
    running = [
        subprocess.Popen(
            [sys.executable, "-c", LOOP, str(manifest), str(out), str(number), str(count)],
            cwd=ROOT,
            env=environment,
            stderr=subprocess.DEVNULL,
        )
        for number in range(count)
    ]
    codes = [process.wait() for process in running]
    assert not any(codes), codes
    return {"seconds": time.perf_counter() - begun}


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def supervised(manifest: Path, out: Path, count: int) -> dict[str, Any]:
    """Also the resident memory of the workers once each has made 5 assets, and 50 (or all)."""
    begun = time.perf_counter()
    process = start([*command(manifest, out, "--workers", str(count), faults=()), "--json"])
    memory: list[float] = []  # mean MB of a worker, by assets made
    for line in process.stdout or ():
        if json.loads(line).get("event") == "made":
            team = [resident(pid) for pid in children(process.pid)]
            memory.append(statistics.mean(team) / 2**20 if team else 0.0)
    code = process.wait()
    assert code == 0, process.stderr and process.stderr.read()
    seconds = time.perf_counter() - begun
    early, late = 5 * count, min(50 * count, len(memory) - count)  # at the end some are gone already
    if late <= early:
        return {"seconds": seconds}
    found = {each: statistics.mean(memory[each - count : each]) for each in (early, late)}
    return {
        "seconds": seconds,
        "mb_after_5_each": round(found[early], 1),
        f"mb_after_{late / count:g}_each": round(found[late], 1),
        "memory_growth_percent": round(100 * (found[late] / found[early] - 1), 2),
    }


def timed(manifest: Path, out: Path, count: int, *more: str) -> dict[str, Any]:
    """A batch with ``more`` words, as a user starts it."""
    begun = time.perf_counter()
    found = finish(command(manifest, out, "--workers", str(count), "--quiet", *more, faults=()))
    assert found["exit"] == 0, found
    return {"seconds": time.perf_counter() - begun}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--assets", type=int, default=100)
    parser.add_argument("--ray-assets", type=int, default=20)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    settings = {"quality": "draft", "optim.steps": given.steps}
    all_rows = write_manifest(given.out / "manifest.jsonl", given.assets, settings)
    few_rows = write_manifest(given.out / "few.jsonl", given.ray_assets, settings)
    parts: dict[str, Callable[[Path], dict[str, Any]]] = {
        "loops": lambda out: loops(all_rows, out, given.workers),
        "supervised": lambda out: supervised(all_rows, out, given.workers),
    }
    if given.ray_assets:
        parts["few"] = lambda out: timed(few_rows, out, given.workers)
        parts["ray"] = lambda out: timed(few_rows, out, given.workers, "--ray", "local")
    found: dict[str, Any] = {}
    for name, part in parts.items():
        kept = given.out / f"{name}.json"
        if not kept.exists():
            kept.write_text(json.dumps(part((given.out / name).resolve())))
        found[name] = json.loads(kept.read_text())
    bytes_of = {name: files_of(given.out / name) for name in parts}
    same = all(one == {k: bytes_of["loops"][k] for k in one} for one in bytes_of.values())
    print(
        json.dumps(
            {
                "assets": given.assets,
                "ray_assets": given.ray_assets,
                "workers": given.workers,
                **found,
                "made": {name: len(one) for name, one in bytes_of.items()},
                "same_bytes": same,
                "supervision_percent": more_percent(found, "supervised", "loops"),
                **({"ray_percent": more_percent(found, "ray", "few")} if given.ray_assets else {}),
            },
            indent=2,
        )
    )


def more_percent(found: dict[str, Any], one: str, other: str) -> float:
    return round(100 * (found[one]["seconds"] / found[other]["seconds"] - 1), 2)


if __name__ == "__main__":
    main()
