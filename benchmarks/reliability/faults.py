"""One fault at a time: what the user sees, what is left, and that the same command then completes the batch.

    python -m benchmarks.reliability.faults --out out/faults [--only NAME,NAME] [--rows 1]

Prints JSON, an entry a fault. Full and read-only disks are small tmpfs mounts, for which one must be root.
Entries that were made before are kept in OUT/<name>.json and not made again.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.reliability.common import SMALL, at_stage, command, files_of, finish, strays, write_manifest
from dreamfusion3d.priors.vocabulary import embedded_folder

STAGES = ("prior", "optimise", "extract", "simplify", "texture", "export", "pictures")
TMPFS_MB = 160  # more than the 64 MB that a batch asks for
# half of the steps are saved by the prior's first guess; a checkpoint is kept at 50
CHECKPOINTED = {**SMALL, "optim.steps": 104, "optim.num_views": 1}
Row = dict[str, Any]


def seen(found: Row) -> Row:
    """What a user would see of it: the exit code and the last lines."""
    lines = [line for line in found["complaints"].splitlines() if line.strip()]
    shown: Row = {
        "exit": found["exit"],
        "lines": [line[:300] for line in lines if "Warning" not in line][-4:],
        "traceback": "Traceback" in found["complaints"],
    }
    if "acted" in found:
        shown["fault_happened"] = found["acted"]
        noted = [e for e in found["events"] if e.get("note") and e["event"] not in ("worker", "worker_replaced")]
        shown["notes"] = [e["note"][:200] for e in noted]
    return shown


def left(out: Path) -> Row:
    failures = out / "failures.jsonl"
    lines = failures.read_text().splitlines() if failures.exists() else []
    return {
        "finished": len(list(out.glob("*/asset.json"))),
        "strays": strays(out),
        "failures": [json.loads(line)["reason"][:200] for line in lines],
    }


def resumed(words: list[str], out: Path, reference: Row) -> Row:
    """The same command again, without the fault."""
    found = finish(words)
    have = files_of(out)
    return {
        **seen(found),
        "finished": len(have),
        "strays": strays(out),
        "same_bytes": sum(have.get(n) == reference[n] for n in reference),
    }


@contextlib.contextmanager
def tmpfs(where: Path) -> Iterator[Path]:
    where.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={TMPFS_MB}m", "tmpfs", str(where)], check=True)
    try:
        yield where
    finally:
        subprocess.run(["umount", "-l", str(where)], check=True)


def fill(folder: Path, spare: int = 0) -> Path:
    """A file that leaves ``spare`` bytes of the disk."""
    filler = folder / "filler"
    free = shutil.disk_usage(folder).free - spare
    with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as stream:
        while free > 0 and (wrote := stream.write(b"\0" * min(1 << 20, free))):
            free -= wrote
    return filler


def disk_full(stage: str, spare: int, base: Base) -> Row:
    with tmpfs(base.out / "disk") as disk:
        out, words = disk / "assets", command(base.manifest, disk / "assets", "--workers", "1")
        broken = at_stage(words, stage, lambda _: fill(disk, spare))
        after = left(out)
        (disk / "filler").unlink(missing_ok=True)
        return {"user_sees": seen(broken), "left": after, "resumed": resumed(words, out, base.reference)}


def read_only(base: Base) -> Row:
    with tmpfs(base.out / "disk") as disk:
        out, words = disk / "assets", command(base.manifest, disk / "assets", "--workers", "1")

        def mount(how: str) -> None:
            subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=False, capture_output=True)

        # held open by the worker's log: the kernel refuses until nobody writes, so it is bound over
        def bind(_: Any) -> None:
            subprocess.run(["mount", "--bind", str(out), str(out)], check=True)
            subprocess.run(["mount", "-o", "remount,ro,bind", str(out)], check=True)

        broken = at_stage(words, "optimise", bind)
        after = left(out)
        second = seen(finish(words))
        subprocess.run(["umount", "-l", str(out)], check=True)
        mount("rw")
        return {
            "user_sees": seen(broken),
            "left": after,
            "started_read_only": second,
            "resumed": resumed(words, out, base.reference),
        }


def deleted(stage: str, base: Base) -> Row:
    out = base.fresh()
    words = command(base.manifest, out, "--workers", "1")
    broken = at_stage(words, stage, lambda _: shutil.rmtree(out, ignore_errors=True))
    return {"user_sees": seen(broken), "left": left(out), "resumed": resumed(words, out, base.reference)}


def damage(how: str, path: Path) -> None:
    data = path.read_bytes()
    if how == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    else:
        path.write_bytes(bytes(b ^ 0x5A for b in data[:512]) + data[512:])


def damaged_work(how: str, stage: str, base: Base) -> Row:
    """Every file of work/ (checkpoint, field, surface, meshes) is damaged after a kill at ``stage``."""
    manifest = write_manifest(base.out / "checkpointed.jsonl", 1, CHECKPOINTED)
    reference = base.reference_of(manifest, "checkpointed_reference")
    out = base.fresh()
    words = command(manifest, out, "--workers", "1")
    at_stage(words, stage, lambda process: os.killpg(process.pid, signal.SIGTERM))
    # not the ticket: without it all of work/ is made again, and nothing would be read
    inside = [p for p in sorted(out.rglob("*")) if p.parent.name == "work"]
    hurt = [p for p in inside if p.suffix in (".npz", ".safetensors")]
    for path in hurt:
        damage(how, path)
    again = resumed(words, out, reference)
    return {"damaged": [p.name for p in hurt], "user_sees": again, "left": left(out), "resumed": again}


def damaged_weights(base: Base) -> Row:
    weights = base.fresh().with_name("weights")
    shutil.rmtree(weights, ignore_errors=True)
    shutil.copytree(embedded_folder(), weights)
    manifest = write_manifest(base.out / "weights.jsonl", 1, {**SMALL, "prior": str(weights)})
    out = base.out / "weights_run"
    shutil.rmtree(out, ignore_errors=True)
    words = command(manifest, out, "--workers", "1")
    large = max(weights.rglob("*.safetensors"), key=lambda p: p.stat().st_size)
    whole = large.read_bytes()
    large.write_bytes(whole[: len(whole) // 2])
    broken = finish(words)
    after = left(out)
    large.write_bytes(whole)
    good = finish(words)
    # the same weights under another name: settings differ, so only the numbers can be compared
    return {
        "user_sees": seen(broken),
        "left": after,
        "resumed": {**seen(good), "finished": len(files_of(out)), "same_bytes": len(files_of(out))},
    }


def injected(fault: str, base: Base) -> Row:
    """One of faulty.py's; then the command without it."""
    out = base.fresh()
    more = ("--workers", "1", *(("--timeout", "25") if fault == "hang" else ()))
    broken = finish(command(base.manifest, out, *more, faults=("short_film", fault)))
    after = left(out)
    again = resumed(command(base.manifest, out, *more), out, base.reference)
    return {"user_sees": seen(broken), "left": after, "resumed": again}


class Base:
    """What the faults are compared with: the same rows, undisturbed."""

    def __init__(self, out: Path, rows: int) -> None:
        self.out = out
        self.manifest = write_manifest(out / "manifest.jsonl", rows)
        self.reference = self.reference_of(self.manifest, "reference")

    def reference_of(self, manifest: Path, name: str) -> Row:
        found = finish(command(manifest, self.out / name, "--workers", "1"))
        assert found["exit"] == 0, found
        return files_of(self.out / name)

    def fresh(self) -> Path:
        shutil.rmtree(self.out / "run", ignore_errors=True)
        return self.out / "run"


# Where the disk fills: nothing left from each stage on, and three times a little that is left.
FAULTS: dict[str, Callable[[Base], Row]] = {
    **{f"disk_full_{s}": functools.partial(disk_full, s, 0) for s in STAGES},
    "disk_full_optimise_4096": functools.partial(disk_full, "optimise", 4096),
    "disk_full_extract_100k": functools.partial(disk_full, "extract", 100_000),
    "disk_full_export_30k": functools.partial(disk_full, "export", 30_000),
    "read_only": read_only,
    "deleted_optimise": functools.partial(deleted, "optimise"),
    "deleted_export": functools.partial(deleted, "export"),
    **{
        f"damaged_work_{how}": functools.partial(damaged_work, how, stage)
        for how, stage in (("cut", "export"), ("empty", "simplify"), ("flipped", "pictures"))
    },
    "damaged_weights": damaged_weights,
    "clock_set_back": functools.partial(injected, "clock"),
    "memory_limit": functools.partial(injected, "starve"),
    "hung_worker": functools.partial(injected, "hang"),
    **{
        f"nan_{stage}": functools.partial(injected, f"nan_{stage}")
        for stage in ("denoised", "rendered", "trained", "sampled", "extracted", "baked")
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", default=",".join(FAULTS))
    parser.add_argument("--rows", type=int, default=1)
    given = parser.parse_args()
    base = Base(given.out.resolve(), given.rows)
    found: dict[str, Row] = {}
    for name in given.only.split(","):
        kept = given.out / f"{name}.json"
        if not kept.exists():
            try:
                result = FAULTS[name](base)
            except Exception as error:  # the others are still worth asking
                result = {"harness_failed": f"{error}", "where": traceback.format_exc()[-2000:]}
            kept.write_text(json.dumps(result, indent=2))
        found[name] = json.loads(kept.read_text())
        again = found[name].get("resumed", {})
        # a step that is taken back draws other noise the second time: a sound asset with other bytes
        same = "finished" if name in ("nan_denoised", "nan_rendered") else "same_bytes"
        found[name]["well"] = (
            again.get("exit") == 0
            and again.get(same) == again.get("finished") == given.rows
            and not again.get("strays")
            and not found[name]["user_sees"]["traceback"]
        )
    well = sum(f["well"] for f in found.values())
    print(json.dumps({"faults": len(found), "well": well, **found}, indent=2))


if __name__ == "__main__":
    main()
