"""Batches of small real assets, run as commands, and what they leave."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
COLOURS = ("red", "blue", "green", "yellow", "pink", "white", "brown", "black")
KINDS = ("mug", "bowl", "donut", "vase", "bottle")
# A few steps and small meshes: the same code and stages as a real asset, in seconds.
SMALL = {"quality": "draft", "optim.steps": 4, "mesh.grid_resolution": 32, "faces": 400, "texture_size": 32}
SECONDS_FOR_A_BATCH = 3600.0


def write_manifest(path: Path, rows: int, settings: dict[str, Any] | None = None) -> Path:
    """``rows`` prompts that differ."""
    wanted = [f"a {colour} {kind}" for colour in COLOURS for kind in KINDS]
    settings = SMALL if settings is None else settings
    lines = [
        {"prompt": wanted[i % len(wanted)], "seed": i // len(wanted), "name": f"row {i}", **settings}
        for i in range(rows)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def command(manifest: Path, out: Path, *more: str, faults: Sequence[str] = ("short_film",)) -> list[str]:
    """A batch as a command; ``faults`` are faulty.py's."""
    words = [sys.executable, "-m", "benchmarks.reliability.faulty", ",".join(faults)]
    return [*words, "batch", str(manifest), "--out", str(out), *more]


def start(words: list[str], **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        words, cwd=ROOT, text=True, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
    )


def finish(words: list[str]) -> dict[str, Any]:
    """Runs to the end: exit code, and what the user sees."""
    process = start(words)
    try:
        said, complaints = process.communicate(timeout=SECONDS_FOR_A_BATCH)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return {"exit": process.returncode, "said": said, "complaints": complaints}


def at_stage(words: list[str], stage: str, act: Any) -> dict[str, Any]:
    """As `finish`, with ``--json``; calls ``act(process)`` once, when ``stage`` begins."""
    process = start([*words, "--json"])
    complaints: list[str] = []
    reader = threading.Thread(target=lambda: complaints.extend(process.stderr or ()), daemon=True)
    reader.start()
    acted, seen = False, []
    for line in process.stdout or ():
        with contextlib.suppress(ValueError):
            event = json.loads(line)
            seen.append(event)
            if not acted and event.get("event") == "stage" and event.get("stage") == stage:
                acted = True
                act(process)
    process.wait(60)
    reader.join(10)
    return {"exit": process.returncode, "acted": acted, "events": seen, "complaints": "".join(complaints)}


def children(pid: int) -> list[int]:
    """Worker processes of a batch, by /proc; multiprocessing's own helper is not one."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid and b"spawn_main" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


def files_of(out: Path) -> dict[str, dict[str, str]]:
    """By asset: the sha256 of each file that its asset.json names, as it is on the disk now."""
    found: dict[str, dict[str, str]] = {}
    for report in sorted(out.glob("*/asset.json")):
        record = json.loads(report.read_text())
        found[report.parent.name] = {
            name: hashlib.sha256((report.parent / name).read_bytes()).hexdigest() for name in record["files"]
        }
        stated = {name: facts["sha256"] for name, facts in record["files"].items()}
        assert stated == found[report.parent.name], f"{report} does not describe its files"
    return found


def strays(out: Path) -> list[str]:
    """Temporary files and locks that are left."""
    return sorted(str(p.relative_to(out)) for p in out.rglob(".*") if ".tmp" in p.name or p.name == ".lock")


class Watcher(threading.Thread):
    """Looks at every asset.json many times a second: one that is replaced was made twice."""

    def __init__(self, out: Path) -> None:
        super().__init__(daemon=True)
        self.out, self.seen, self.twice = out, dict[str, tuple[int, int]](), list[str]()
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.02):
            for report in self.out.glob("*/asset.json"):
                with contextlib.suppress(OSError):
                    facts = report.stat()
                    mark = (facts.st_ino, facts.st_mtime_ns)
                    if self.seen.setdefault(report.parent.name, mark) != mark:
                        self.twice.append(report.parent.name)
                        self.seen[report.parent.name] = mark


@contextlib.contextmanager
def watched(out: Path) -> Iterator[Watcher]:
    watcher = Watcher(out)
    watcher.start()
    try:
        yield watcher
    finally:
        time.sleep(0.1)
        watcher.ended.set()
        watcher.join()
