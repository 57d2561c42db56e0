"""Output of ``dreamfusion3d batch``: the plan, the rejected assets, the result."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from .report import format_bytes, format_duration

if TYPE_CHECKING:
    from pathlib import Path

    from dreamfusion3d.batch.plan import Item
    from dreamfusion3d.batch.run import PriorHashes
    from dreamfusion3d.batch.state import BatchRun, Outcome


def print_plan(batch_run: BatchRun, prior_hashes: PriorHashes, devices: int, as_json: bool, overwrite: bool) -> None:
    """Print every asset with its status and settings, and the estimated cost of the batch."""
    from dreamfusion3d.batch import plan, state

    status_by_name = {
        i.name: state.folder_status(batch_run.out, i, prior_hashes.get(i.config.prior)) for i in batch_run.items
    }
    todo = [
        i
        for i in batch_run.items
        if status_by_name[i.name] == "open" or (overwrite and status_by_name[i.name] == "other")
    ]
    cost = plan.estimate_cost(todo, batch_run.out)
    if as_json:
        for item in batch_run.items:
            print(json.dumps(_plan_event(item, status_by_name[item.name])))
        print(json.dumps({"event": "estimate", "assets": len(todo), "devices": devices, **vars(cost)}))
        return
    width = max(len(item.name) for item in batch_run.items)
    labels = {"open": "to do", "there": "finished", "other": "other settings"}
    for item in batch_run.items:
        mesh, steps = item.config.mesh, item.config.optim.steps
        print(
            f"{item.name:<{width}}  {labels[status_by_name[item.name]]:<14}  seed {item.seed}, {item.quality}, "
            f"{steps} steps, {mesh.max_faces} faces, {','.join(mesh.formats)}: {item.prompt}"
        )
    time = "unknown" if cost.seconds is None else format_duration(cost.seconds / devices)
    print(
        f"{len(batch_run.items)} assets, {len(todo)} to do; about {time} on {devices} "
        f"device{'s' if devices > 1 else ''} ({cost.source}), {format_bytes(cost.bytes)} of disk space"
    )


def print_rejected(replacements: list[Item], out: Path, devices: int, as_json: bool, quiet: bool) -> None:
    """Print the rejected assets with their new seeds, and the estimated cost of generating them."""
    from dreamfusion3d.batch import plan

    for item in replacements:
        if as_json:
            print(json.dumps(_plan_event(item, "rejected")))
        else:
            print(f"{item.name}: rejected, next seed {item.seed}: {item.prompt}")
    if as_json:
        cost = plan.estimate_cost(replacements, out)
        print(json.dumps({"event": "estimate", "assets": len(replacements), "devices": devices, **vars(cost)}))
    elif not quiet:
        print(f"{len(replacements)} rejected", file=sys.stderr)


def print_result(batch_run: BatchRun, as_json: bool, quiet: bool, outcomes: dict[str, Outcome], stopped: bool) -> int:
    """Print the summary of a batch and return its exit code."""
    from dreamfusion3d.batch import state

    counts = state.count_by_status(outcomes)
    summary = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in counts.items() if n)
    if not quiet or counts["failed"] or counts["other"]:
        print(summary or "nothing to do", file=sys.stderr)
    if counts["failed"]:
        print(f"errors: {batch_run.out / f'failures{batch_run.file_suffix}.jsonl'}", file=sys.stderr)
    if counts["other"]:
        print("--overwrite replaces assets made with other settings or weights", file=sys.stderr)
    if as_json:
        print_end_event(batch_run, outcomes, stopped)
    else:
        print(batch_run.out / "contact_sheet.html")
    if stopped:
        raise KeyboardInterrupt
    return 1 if counts["failed"] or counts["other"] else 0


def print_end_event(batch_run: BatchRun, outcomes: dict[str, Outcome], stopped: bool) -> None:
    """Print the final event of --json."""
    from dreamfusion3d.batch import state

    print(
        json.dumps({"event": "end", **state.count_by_status(outcomes), "stopped": stopped, "out": str(batch_run.out)})
    )


def _plan_event(item: Item, status: str) -> dict[str, Any]:
    return {
        "event": "plan",
        "name": item.name,
        "line": item.line,
        "prompt": item.prompt,
        "seed": item.seed,
        "quality": item.quality,
        "steps": item.config.optim.steps,
        "faces": item.config.mesh.max_faces,
        "formats": list(item.config.mesh.formats),
        "standing": status,
    }
