"""Remaking of rejected assets with new seeds; a rejected asset stays until its replacement is finished.

The new asset is made in OUT/.batch/retry/NAME. When it is finished, its seed is first recorded in review.json,
then the folders are swapped. `complete_interrupted_swaps` finishes a swap that was interrupted between the two
steps, at the start of the next batch on the folder. From then on review.json determines the item's seed, so
that the plain command finds the item done.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from dreamfusion3d.batch import reviews, state
from dreamfusion3d.batch.contact_sheet import main_file_sha256
from dreamfusion3d.batch.manifest import MAX_SEED
from dreamfusion3d.batch.plan import Item, group_by_row
from dreamfusion3d.batch.reviews import ReviewLog
from dreamfusion3d.batch.state import STATE_FOLDER
from dreamfusion3d.pipelines.workspace import Workspace, read_asset_record


def staging_folder(out: Path) -> Path:
    """Return the folder in which replacements are made."""
    return out / STATE_FOLDER / "retry"


def apply_replacement_seeds(items: Sequence[Item], review: ReviewLog) -> list[Item]:
    """Return the items with the seeds of assets that replaced rejected ones."""
    seeds = {entry["name"]: entry["by"]["seed"] for entry in review.replaced}  # the last entry wins
    return [dataclasses.replace(item, seed=seeds.get(item.name, item.seed)) for item in items]


def reseed_rejected(out: Path, items: Sequence[Item], review: ReviewLog) -> list[Item]:
    """Return the items whose current asset is rejected, each with a seed that was never used.

    The new seed is the lowest above the item's own that no item of the same prompt and settings has or had.

    Args:
        items: all items of the manifest after `apply_replacement_seeds`, so that shards agree on the seeds.
    """
    used_seeds: dict[str, set[int]] = {}
    for item in items:
        earlier = {s for e in review.replaced if e["name"] == item.name for s in (e["seed"], e["by"]["seed"])}
        used_seeds.setdefault(_digest_without_seed(item), set()).update({item.seed}, earlier)
    reseeded = []
    for item in items:
        sha256 = asset_sha256(out / item.name)
        if sha256 is None or review.decision_for(item.name, sha256).get("verdict") != "reject":
            continue
        taken_seeds, seed = used_seeds[_digest_without_seed(item)], item.seed
        while seed in taken_seeds:
            seed = seed + 1 if seed < MAX_SEED else 0
        taken_seeds.add(seed)
        reseeded.append(dataclasses.replace(item, seed=seed))
    return reseeded


def replace_rejected_asset(out: Path, item: Item, row: Sequence[Item]) -> bool:
    """Replace a rejected asset by the finished new asset of ``item``; returns False if it is not finished.

    ``row`` holds the items of its manifest row after the replacement: a choice of ``--keep best`` is kept.
    """
    new = read_asset_record(Workspace(staging_folder(out) / item.name))
    old = read_asset_record(Workspace(out / item.name))
    if new is None or old is None:
        return False
    with reviews.edit_reviews(out) as review:
        entry = review.decisions.pop(item.name, {})
        review.replaced.append(
            {
                "name": item.name,
                "seed": int(old["seed"]),
                "sha256": main_file_sha256(old),
                "verdict": entry.get("verdict"),
                "note": entry.get("note", ""),
                "by": {"seed": item.seed, "sha256": main_file_sha256(new)},
            }
        )
    _swap_folders(out, item, row)
    return True


def complete_interrupted_swaps(out: Path, items: Sequence[Item], review: ReviewLog) -> None:
    """Complete swaps that were interrupted; ``items`` are as after `apply_replacement_seeds`."""
    new_sha256 = {entry["name"]: entry["by"]["sha256"] for entry in review.replaced}
    for item in items:
        staged_sha256 = asset_sha256(staging_folder(out) / item.name)
        if staged_sha256 is not None and staged_sha256 == new_sha256.get(item.name):
            _swap_folders(out, item, [other for other in items if other.row == item.row])


def asset_sha256(folder: Path) -> str | None:
    """Return the digest of the asset in ``folder``, or None if there is none."""
    with contextlib.suppress(KeyError, TypeError, AttributeError):
        if (record := read_asset_record(Workspace(folder))) is not None:
            return main_file_sha256(record)
    return None


def _swap_folders(out: Path, item: Item, row: Sequence[Item]) -> None:
    state.transfer_choice(out, item, row, staging_folder(out) / item.name)
    state.remove_asset_folders(out, [item])
    os.replace(staging_folder(out) / item.name, out / item.name)
    with contextlib.suppress(OSError):
        staging_folder(out).rmdir()


def rows_with_replacements(replacements: Sequence[Item], items: Sequence[Item]) -> dict[int, list[Item]]:
    """Group ``items`` by row, with ``replacements`` in place of the items of the same name."""
    by_name = {item.name: item for item in replacements}
    return group_by_row(by_name.get(item.name, item) for item in items)


def _digest_without_seed(item: Item) -> str:
    return dataclasses.replace(item, seed=0).digest
