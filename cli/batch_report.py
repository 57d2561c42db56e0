"""What ``dreamfusion3d batch`` prints: its plan, what it would make again, how it ended."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from dreamfusion3d.batch.plan import Item
    from dreamfusion3d.batch.run import Weights
    from dreamfusion3d.batch.state import Batch, Outcome


def print_plan(whole: Batch, weights: Weights, devices: int, as_json: bool, remake: bool) -> None:
    from dreamfusion3d.batch import plan, state

    found = {i.name: state.standing(whole.out, i, weights.get(i.config.prior)) for i in whole.items}
    todo = [i for i in whole.items if found[i.name] == "open" or (remake and found[i.name] == "other")]
    cost = plan.estimate(todo, whole.out)
    if as_json:
        for item in whole.items:
            print(json.dumps(_facts(item, found[item.name])))
        print(json.dumps({"event": "estimate", "assets": len(todo), "devices": devices, **vars(cost)}))
        return
    width = max(len(item.name) for item in whole.items)
    words = {"open": "to make", "there": "there", "other": "other settings"}
    for item in whole.items:
        mesh, steps = item.config.mesh, item.config.optim.steps
        print(
            f"{item.name:<{width}}  {words[found[item.name]]:<14}  seed {item.seed}, {item.quality}, "
            f"{steps} steps, {mesh.faces} faces, {','.join(mesh.formats)}: {item.prompt}"
        )
    time = "unknown" if cost.seconds is None else _duration(cost.seconds / devices)
    print(
        f"{len(whole.items)} assets, {len(todo)} to make; about {time} on {devices} "
        f"device{'s' if devices > 1 else ''} ({cost.source}), {_size(cost.bytes)} of disk"
    )


def print_rejected(new: list[Item], out: Path, devices: int, as_json: bool, quiet: bool) -> None:
    from dreamfusion3d.batch import plan

    for item in new:
        if as_json:
            print(json.dumps(_facts(item, "rejected")))
        else:
            print(f"{item.name}: rejected, to be made with seed {item.seed}: {item.prompt}")
    if as_json:
        cost = plan.estimate(new, out)
        print(json.dumps({"event": "estimate", "assets": len(new), "devices": devices, **vars(cost)}))
    elif not quiet:
        print(f"{len(new)} rejected", file=sys.stderr)


def end(whole: Batch, as_json: bool, quiet: bool, outcomes: dict[str, Outcome], stopped: bool) -> int:
    """The last lines of a batch; its exit code."""
    from dreamfusion3d.batch import state

    counts = state.counts(outcomes)
    said = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in counts.items() if n)
    if not quiet or counts["failed"] or counts["other"]:
        print(said or "nothing to do", file=sys.stderr)
    if counts["failed"]:
        print(f"why: {whole.out / f'failures{whole.tail}.jsonl'}", file=sys.stderr)
    if counts["other"]:
        print("--remake makes again what is there with other settings or weights", file=sys.stderr)
    if as_json:
        print_end(whole, outcomes, stopped)
    else:
        print(whole.out / "contact_sheet.html")
    if stopped:
        raise KeyboardInterrupt
    return 1 if counts["failed"] or counts["other"] else 0


def print_end(whole: Batch, outcomes: dict[str, Outcome], stopped: bool) -> None:
    from dreamfusion3d.batch import state

    print(json.dumps({"event": "end", **state.counts(outcomes), "stopped": stopped, "out": str(whole.out)}))


def _facts(item: Item, found: str) -> dict[str, Any]:
    return {
        "event": "plan", "name": item.name, "line": item.line, "prompt": item.prompt, "seed": item.seed,
        "quality": item.quality, "steps": item.config.optim.steps, "faces": item.config.mesh.faces,
        "formats": list(item.config.mesh.formats), "standing": found,
    }


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _size(count: int) -> str:
    return f"{count / 2**20:.0f} MB" if count < 2**30 else f"{count / 2**30:.1f} GB"
