"""State of a batch, which is its folder: what is done, which seeds were chosen, and the reports."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shlex
import shutil
import time
import typing
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from dreamfusion3d.batch.plan import Item, changed_settings, group_by_row
from dreamfusion3d.core import files
from dreamfusion3d.core.slug import hash_text
from dreamfusion3d.pipelines.workspace import Workspace, read_asset_record

STATE_FOLDER = ".batch"  # a slug has no dot: no asset can have this name
# made: by this batch; there: done before; other: kept, although made with other settings or weights;
# passed_over: another seed of its row was kept; left: the batch was stopped first
ItemStatus = Literal["made", "there", "other", "failed", "passed_over", "left"]


@dataclass
class Outcome:
    """Result of an item."""

    status: ItemStatus
    failure_type: str = ""  # input, locked, error, crash or hang
    reason: str = ""
    attempts: int = 0
    seconds: float = 0.0
    log: str = ""


@dataclass(frozen=True)
class BatchRun:
    """A batch: its manifest, output folder and items."""

    manifest: Path
    out: Path
    items: Sequence[Item]
    shard: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    all_items: Sequence[Item] = ()  # of the whole manifest, including other shards

    @property
    def state_folder(self) -> Path:
        return self.out / STATE_FOLDER

    @property
    def file_suffix(self) -> str:
        """Suffix of the batch's own files, different for each shard of a folder."""
        return "" if self.shard is None else f"_{self.shard.replace('/', '_of_')}"

    @property
    def lock_folder(self) -> Path:
        """Folder that is locked while this batch runs."""
        return self.state_folder / f"lock{self.file_suffix}"


def folder_status(out: Path, item: Item, prior_sha256: str | None = None) -> Literal["there", "other", "open"]:
    """Return "there" if the item is done, "other" if done with other settings or weights, else "open".

    Without ``prior_sha256`` the weights named in the record are assumed to be the current ones.
    """
    workspace = Workspace(out / item.name)
    record = read_asset_record(workspace)
    if record is None:
        return "open"
    with contextlib.suppress(KeyError, TypeError, AttributeError):
        identity = item.identity(prior_sha256 or str(record["prior"]["sha256"]))
        if workspace.finished_record(identity) is not None:
            return "there"
        # the same run with a changed or missing file is remade, as by `generate`
        return "open" if workspace.owner_digest() == identity.digest else "other"
    return "open"


# --- --keep best ---------------------------------------------------------------------------------


def score_asset(record: Mapping[str, Any]) -> tuple[int, float]:
    """Return the score for ``--keep best`` (higher is better): failed checks, then silhouette agreement."""
    checks = record["checks"]
    failed = sum(not check["passed"] for check in checks.values())
    match = checks.get("mesh_silhouettes_match") or checks.get("silhouettes_match") or {}
    return -failed, float(match.get("figure") or 0.0)


def keep_best_seed(out: Path, row: Sequence[Item]) -> Item | None:
    """Keep the best seed of a row and remove the others; returns None while a seed is not done.

    The choice is written to the winner's folder before the others are removed.
    """
    records = {item.name: read_asset_record(Workspace(out / item.name)) for item in row}
    if any(record is None for record in records.values()):
        return None
    best = max(row, key=lambda item: (*score_asset(records[item.name] or {}), -item.seed))
    scores = {str(item.seed): score_asset(records[item.name] or {}) for item in row}
    seeds = {seed: {"failed_checks": -checks, "silhouettes_match": match} for seed, (checks, match) in scores.items()}
    choice = {"row": _row_digest(row), "kept": best.seed, "seeds": seeds}
    files.write_json(out / best.name / "choice.json", choice)
    remove_asset_folders(out, [item for item in row if item is not best])
    return best


def load_chosen_item(out: Path, row: Sequence[Item]) -> Item | None:
    """Return the item of this row that an earlier batch chose, or None."""
    for item in row:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            choice = json.loads((out / item.name / "choice.json").read_text(encoding="utf-8"))
            if choice["row"] == _row_digest(row) and choice["kept"] == item.seed:
                return item
    return None


def transfer_choice(out: Path, item: Item, row: Sequence[Item], folder: Path) -> None:
    """Copy the choice of ``item``'s folder to ``folder``, with its new seed."""
    choice = out / item.name / "choice.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        previous = json.loads(choice.read_text(encoding="utf-8"))
        files.write_json(folder / choice.name, {**previous, "row": _row_digest(row), "kept": item.seed})


def remove_asset_folders(out: Path, items: Sequence[Item]) -> None:
    """Remove folders, renaming them first so that none is ever half removed."""
    trash = out / STATE_FOLDER / "trash"
    for item in items:
        if (out / item.name).exists():
            trash.mkdir(parents=True, exist_ok=True)
            os.replace(out / item.name, trash / f"{item.name}.{os.getpid()}.{time.time_ns()}")
    shutil.rmtree(trash, ignore_errors=True)


def _row_digest(row: Sequence[Item]) -> str:
    return hash_text(json.dumps([i.digest for i in sorted(row, key=lambda item: item.seed)]), length=64)


# --- the reports ---------------------------------------------------------------------------------


def reproduction_command(item: Item) -> str:
    """Return a command line that makes the same asset on its own."""
    arguments = ["text2mesh", item.prompt, "--seed", str(item.seed), "--quality", item.quality]
    return shlex.join([*arguments, *(part for pair in changed_settings(item) for part in ("--set", pair))])


def _item_facts(item: Item) -> dict[str, Any]:
    return {"name": item.name, "line": item.line, "prompt": item.prompt, "seed": item.seed}


def write_failures(batch: BatchRun, outcomes: Mapping[str, Outcome]) -> None:
    """Write failures.jsonl, one line per failed item; remove it if none failed."""
    path = batch.out / f"failures{batch.file_suffix}.jsonl"
    failures = [
        {
            **_item_facts(item),
            "failure_type": outcome.failure_type,
            "reason": outcome.reason,
            "attempts": outcome.attempts,
            "log": outcome.log,
            "command": reproduction_command(item),
        }
        for item in batch.items
        if (outcome := outcomes.get(item.name)) and outcome.status == "failed"
    ]
    if failures:
        files.write_bytes(path, "".join(json.dumps(failure) + "\n" for failure in failures).encode())
    else:
        path.unlink(missing_ok=True)


def mark_missing_as_failed(batch: BatchRun, outcomes: dict[str, Outcome]) -> None:
    """Mark items without an outcome as left, and done items without asset.json as failed."""
    for item in batch.items:
        outcome = outcomes.setdefault(item.name, Outcome("left"))
        if outcome.status in ("made", "there") and read_asset_record(Workspace(batch.out / item.name)) is None:
            reason = "its folder was removed during the batch"
            outcomes[item.name] = Outcome("failed", "error", reason, outcome.attempts, outcome.seconds)


def count_by_status(outcomes: Mapping[str, Outcome]) -> dict[str, int]:
    """Count items by status."""
    counts = Counter(outcome.status for outcome in outcomes.values())
    return {status: counts[status] for status in typing.get_args(ItemStatus)}


def write_batch_summary(batch: BatchRun, outcomes: Mapping[str, Outcome], seconds: float, stopped: bool) -> None:
    """Write batch.json: counts, versions and one entry per item."""
    records = {i.name: read_asset_record(Workspace(batch.out / i.name)) for i in batch.items}
    rows = [_summary_row(item, outcomes[item.name], records[item.name]) for item in batch.items]
    made = [o.seconds for o in outcomes.values() if o.status == "made"]
    files.write_json(
        batch.out / f"batch{batch.file_suffix}.json",
        {
            "manifest": batch.manifest.name,
            "manifest_sha256": files.file_sha256(batch.manifest) if batch.manifest.is_file() else None,
            "shard": batch.shard,
            "stopped": stopped,
            **count_by_status(outcomes),
            "rows": len(group_by_row(batch.items)),
            "assets": len(batch.items),
            "seconds": round(seconds, 3),
            "seconds_per_made_asset": round(sum(made) / len(made), 3) if made else None,
            "bytes": sum(facts["bytes"] for r in records.values() if r for facts in r["files"].values()),
            "checks_failed": sum(row.get("checks_failed", 0) > 0 for row in rows),
            **batch.extra,
            "versions": {"python": platform.python_version(), "dreamfusion3d": version("dreamfusion3d")},
            "items": rows,
        },
    )


def _summary_row(item: Item, outcome: Outcome, record: Mapping[str, Any] | None) -> dict[str, Any]:
    row = {**_item_facts(item), "status": outcome.status, "attempts": outcome.attempts}
    row["seconds"] = round(outcome.seconds, 3)
    if outcome.status in ("made", "there") and record is not None:
        row["checks_failed"] = sum(not check["passed"] for check in record["checks"].values())
        row["files"] = {name: facts["sha256"] for name, facts in record["files"].items()}
    if outcome.reason:
        row["reason"] = outcome.reason
    return row
