"""SIGKILLs at random moments over a batch: everything finished, the same bytes, nothing made twice.

    python -m benchmarks.reliability.kills --out out/kills [--rows 40] [--kills 60] [--workers 2] [--seed 0]

Rows are as small as they get (common.SMALL): what is asked is what a kill leaves, not the picture.
An undisturbed batch first, then the same rows with kills of workers and of the supervisor; a batch that is
done before all kills have happened is followed by another from the start. Prints JSON. The same command
goes on: a round that was finished is not made again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import time
from pathlib import Path
from typing import Any

from benchmarks.reliability.common import children, command, files_of, finish, start, strays, watched, write_manifest


def undisturbed(manifest: Path, out: Path, workers: int) -> float:
    """Seconds an asset, by their own account: the batch may have been made by an earlier call."""
    found = finish(command(manifest, out, "--workers", str(workers), "--quiet"))
    assert found["exit"] == 0, found
    reports = [json.loads(path.read_text()) for path in out.glob("*/asset.json")]
    return statistics.mean(sum(report["seconds"].values()) for report in reports)


def disturbed(
    manifest: Path, out: Path, workers: int, rows: int, kills: int, pace: float, rng: random.Random
) -> dict[str, Any]:
    """A batch under ``kills``, started again when it was killed.

    They are spread over the whole batch: each waits until its share of the rows is finished, and then for
    some moment of the next 2 ``pace`` seconds. Faster ones would all fall before the first asset.
    """
    counts = {"worker": 0, "supervisor": 0}
    finished: list[int] = []  # assets, at each kill: where in the batch it fell
    starts, code = 0, -1
    words = command(manifest, out, "--workers", str(workers), "--max-attempts", "100", "--quiet")
    with watched(out) as watcher:
        while code != 0:
            process = start(words)
            starts += 1
            while process.poll() is None:
                if sum(counts.values()) >= kills:
                    process.wait(3600)
                    break
                share = rows * sum(counts.values()) // kills
                while process.poll() is None and done(out) < share:
                    time.sleep(0.05)
                deadline = time.monotonic() + rng.uniform(0.0, 2 * pace)
                while process.poll() is None and time.monotonic() < deadline:
                    time.sleep(0.01)
                team = children(process.pid)
                victim = rng.choice(["worker", "worker", "supervisor"])
                if process.poll() is not None or (victim == "worker" and not team):
                    continue
                pid = process.pid if victim == "supervisor" else rng.choice(team)
                os.kill(pid, signal.SIGKILL)
                finished.append(done(out))
                counts[victim] += 1
                if victim == "supervisor":
                    process.wait(60)
                    survivors = wait_for_end(team)
                    assert not survivors, f"workers outlived their supervisor: {survivors}"
            code = process.wait()
            assert code in (0, -signal.SIGKILL), process.communicate()
    return {"kills": counts, "finished_at_each_kill": finished, "starts": starts, "made_twice": watcher.twice}


def done(out: Path) -> int:
    return sum(1 for _ in out.glob("*/asset.json"))


def wait_for_end(pids: list[int], seconds: float = 20.0) -> list[int]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(Path(f"/proc/{pid}").exists() for pid in pids):
        time.sleep(0.02)
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=40)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    manifest = write_manifest(given.out / "manifest.jsonl", given.rows)
    seconds = undisturbed(manifest, given.out / "undisturbed", given.workers)
    wanted = files_of(given.out / "undisturbed")
    assert len(wanted) == given.rows
    rounds: list[dict[str, Any]] = []
    while (left := given.kills - sum(sum(r["kills"].values()) for r in rounds)) > 0:
        folder = given.out / f"disturbed_{len(rounds) + 1}"
        kept = given.out / f"{folder.name}.json"
        if not kept.exists():
            rng = random.Random(given.seed + len(rounds))
            found = disturbed(manifest, folder, given.workers, given.rows, left, seconds, rng)
            have = files_of(folder)
            found |= {
                "finished": len(have),
                "same_bytes": sum(have.get(n) == wanted[n] for n in wanted),
                "strays": strays(folder),
            }
            kept.write_text(json.dumps(found))
        rounds.append(json.loads(kept.read_text()))
    print(
        json.dumps(
            {
                "rows": given.rows,
                "kills": sum(sum(r["kills"].values()) for r in rounds),
                "rounds": rounds,
                "all_well": all(r["finished"] == r["same_bytes"] == given.rows and not r["made_twice"] for r in rounds),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
