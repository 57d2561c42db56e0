"""What supervision costs: a batch against plain loops side by side, and Ray against the supervisor.

    python -m benchmarks.reliability.throughput --out out/throughput [--assets 100] [--full] [--ray]

``--full`` makes draft assets; without it they are the small ones of the other parts. ``--ray`` adds a batch
on as many slots of a local Ray. Run it on idle cores. Prints JSON; a part that is done is not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.reliability.common import (
    ROOT,
    SMALL,
    children,
    command,
    files_of,
    finish,
    start,
    write_manifest,
)

# A loop that a person would write: one prior, asset after asset.
LOOP = """
import json, sys
from pathlib import Path
from dreamfusion3d.batch import manifest, plan
from dreamfusion3d.pipeline import text_to_mesh
from dreamfusion3d.prior import load_prior
path, out, number, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
prior = load_prior("embedded")
for item in plan.items_of(path, manifest.read(path))[number::count]:
    text_to_mesh(item.prompt, out=out, seed=item.seed, config=item.config, prior=prior, folder=item.name)
"""


def loops(manifest: Path, out: Path, count: int) -> dict[str, Any]:
    cores = os.cpu_count() or 1
    environment = {**os.environ, "OMP_NUM_THREADS": str(max(1, cores // count))}
    begun = time.perf_counter()
    running = [
        subprocess.Popen(
            [sys.executable, "-c", LOOP, str(manifest), str(out), str(number), str(count)],
            cwd=ROOT, env=environment, stderr=subprocess.DEVNULL,
        )
        for number in range(count)
    ]
    codes = [process.wait() for process in running]
    assert not any(codes), codes
    return {"seconds": time.perf_counter() - begun}


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def supervised(manifest: Path, out: Path, count: int) -> dict[str, Any]:
    """Also the resident memory of every worker whenever an asset is done."""
    begun = time.perf_counter()
    process = start([*command(manifest, out, "--workers", str(count)), "--json"])
    memory: list[tuple[int, float]] = []  # assets done by all, mean MB of a worker
    done = 0
    for line in process.stdout or ():
        if json.loads(line).get("event") == "made":
            done += 1
            team = [resident(pid) for pid in children(process.pid)]
            if team:
                memory.append((done, statistics.mean(team) / 2**20))
    assert process.wait() == 0
    seconds = time.perf_counter() - begun
    of: dict[int, list[float]] = {5: [], 50: []}
    for total, megabytes in memory:
        for each, found in of.items():
            if abs(total - each * count) <= count:
                found.append(megabytes)
    figures = {f"mb_after_{k}_each": round(statistics.mean(v), 1) for k, v in of.items() if v}
    return {"seconds": seconds, **figures}


def on_ray(manifest: Path, out: Path, count: int) -> dict[str, Any]:
    begun = time.perf_counter()
    found = finish(command(manifest, out, "--workers", str(count), "--ray", "local", "--quiet"))
    assert found["exit"] == 0, found
    return {"seconds": time.perf_counter() - begun}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--assets", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--ray", action="store_true")
    given = parser.parse_args()
    settings = {"quality": "draft"} if given.full else SMALL
    manifest = write_manifest(given.out / "manifest.jsonl", given.assets, settings)
    parts = {"loops": loops, "supervised": supervised, **({"ray": on_ray} if given.ray else {})}
    found: dict[str, Any] = {}
    for name, part in parts.items():
        kept = given.out / f"{name}.json"
        if not kept.exists():
            kept.write_text(json.dumps(part(manifest, (given.out / name).resolve(), given.workers)))
        found[name] = json.loads(kept.read_text())
    cost = found["supervised"]["seconds"] / found["loops"]["seconds"] - 1
    bytes_of = [files_of(given.out / name) for name in parts]
    print(json.dumps({
        "assets": given.assets, "workers": given.workers, **found,
        "same_bytes": all(one == bytes_of[0] for one in bytes_of),
        "supervision_percent": round(100 * cost, 2),
    }, indent=2))


if __name__ == "__main__":
    main()
