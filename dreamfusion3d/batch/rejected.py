"""Rejected assets made once more, with new seeds; each stays until the new one is there.

The new asset is made in OUT/.batch/again/NAME. When it is finished, review.json is told first that NAME has
another seed now; then the folders change places. A kill between the two leaves what `adopt` completes, at the
start of the next batch on the folder. From then on the row's seed is the one that review.json names, so that
the plain command finds the row done.
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
    """Where new assets are made while the rejected ones are still in their places."""
    return out / STATE_FOLDER / "again"


def apply_replacement_seeds(items: Sequence[Item], review: ReviewLog) -> list[Item]:
    """The items with the seeds that took the place of rejected ones."""
    seeds = {entry["name"]: entry["by"]["seed"] for entry in review.replaced}  # the last counts
    return [dataclasses.replace(item, seed=seeds.get(item.name, item.seed)) for item in items]


def reseed_rejected(out: Path, items: Sequence[Item], review: ReviewLog) -> list[Item]:
    """The items whose asset was rejected as it lies there, each with a seed that was never tried.

    ``items`` are `present`'s, of the whole manifest: shards must agree on the seeds. The new seed is the
    lowest above the item's own that no item of the same prompt and settings has or had.
    """
    used_seeds: dict[str, set[int]] = {}
    for item in items:
        item_seeds = used_seeds.setdefault(_digest_without_seed(item), set())
        item_seeds.add(item.seed)
        item_seeds |= {s for e in review.replaced if e["name"] == item.name for s in (e["seed"], e["by"]["seed"])}
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
    """Puts the finished new asset of ``item`` in the rejected one's place; False when it is not finished.

    ``row`` are the items of its manifest row as they will be: the choice of `--keep best` goes on with it.
    """
    new, old = (
        read_asset_record(Workspace(staging_folder(out) / item.name)),
        read_asset_record(Workspace(out / item.name)),
    )
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
    """Completes the exchanges that a kill interrupted. ``items`` are `present`'s."""
    new_sha256 = {entry["name"]: entry["by"]["sha256"] for entry in review.replaced}
    for item in items:
        staged_sha256 = asset_sha256(staging_folder(out) / item.name)
        if staged_sha256 is not None and staged_sha256 == new_sha256.get(item.name):
            _swap_folders(out, item, [other for other in items if other.row == item.row])


def asset_sha256(folder: Path) -> str | None:
    """Of the asset in ``folder``; None while there is none."""
    with contextlib.suppress(KeyError, TypeError, AttributeError):
        record = read_asset_record(Workspace(folder))
        return None if record is None else main_file_sha256(record)
    return None


def _swap_folders(out: Path, item: Item, row: Sequence[Item]) -> None:
    state.transfer_choice(out, item, row, staging_folder(out) / item.name)
    state.remove_asset_folders(out, [item])
    os.replace(staging_folder(out) / item.name, out / item.name)
    with contextlib.suppress(OSError):
        staging_folder(out).rmdir()


def rows_with_replacements(replacements: Sequence[Item], items: Sequence[Item]) -> dict[int, list[Item]]:
    """The manifest's rows, with ``new`` items in the places of those of the same name."""
    by_name = {item.name: item for item in replacements}
    return group_by_row(by_name.get(item.name, item) for item in items)


def _digest_without_seed(item: Item) -> str:
    return dataclasses.replace(item, seed=0).digest
