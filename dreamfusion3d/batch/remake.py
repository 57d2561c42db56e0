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
from dreamfusion3d.batch.contact_sheet import main_sha256
from dreamfusion3d.batch.manifest import LAST_SEED
from dreamfusion3d.batch.plan import Item, groups
from dreamfusion3d.batch.reviews import Review
from dreamfusion3d.batch.state import INNER
from dreamfusion3d.pipelines.workspace import Workspace, record_of


def staging(out: Path) -> Path:
    """Where new assets are made while the rejected ones are still in their places."""
    return out / INNER / "again"


def present(items: Sequence[Item], review: Review) -> list[Item]:
    """The items with the seeds that took the place of rejected ones."""
    seeds = {entry["name"]: entry["by"]["seed"] for entry in review.replaced}  # the last counts
    return [dataclasses.replace(item, seed=seeds.get(item.name, item.seed)) for item in items]


def rejected(out: Path, items: Sequence[Item], review: Review) -> list[Item]:
    """The items whose asset was rejected as it lies there, each with a seed that was never tried.

    ``items`` are `present`'s, of the whole manifest: shards must agree on the seeds. The new seed is the
    lowest above the item's own that no item of the same prompt and settings has or had.
    """
    used: dict[str, set[int]] = {}
    for item in items:
        mine = used.setdefault(_work(item), set())
        mine.add(item.seed)
        mine |= {s for e in review.replaced if e["name"] == item.name for s in (e["seed"], e["by"]["seed"])}
    found = []
    for item in items:
        sha256 = sha256_of(out / item.name)
        if sha256 is None or review.of(item.name, sha256).get("verdict") != "reject":
            continue
        taken, seed = used[_work(item)], item.seed
        while seed in taken:
            seed = seed + 1 if seed < LAST_SEED else 0
        taken.add(seed)
        found.append(dataclasses.replace(item, seed=seed))
    return found


def settle(out: Path, item: Item, row: Sequence[Item]) -> bool:
    """Puts the finished new asset of ``item`` in the rejected one's place; False when it is not finished.

    ``row`` are the items of its manifest row as they will be: the choice of `--keep best` goes on with it.
    """
    new, old = record_of(Workspace(staging(out) / item.name)), record_of(Workspace(out / item.name))
    if new is None or old is None:
        return False
    with reviews.changing(out) as review:
        verdict = review.verdicts.pop(item.name, {})
        review.replaced.append({
            "name": item.name, "seed": int(old["seed"]), "sha256": main_sha256(old),
            "verdict": verdict.get("verdict"), "note": verdict.get("note", ""),
            "by": {"seed": item.seed, "sha256": main_sha256(new)},
        })
    _swap(out, item, row)
    return True


def adopt(out: Path, items: Sequence[Item], review: Review) -> None:
    """Completes the exchanges that a kill interrupted. ``items`` are `present`'s."""
    last = {entry["name"]: entry["by"]["sha256"] for entry in review.replaced}
    for item in items:
        staged = sha256_of(staging(out) / item.name)
        if staged is not None and staged == last.get(item.name):
            _swap(out, item, [other for other in items if other.row == item.row])


def sha256_of(folder: Path) -> str | None:
    """Of the asset in ``folder``; None while there is none."""
    with contextlib.suppress(KeyError, TypeError, AttributeError):
        record = record_of(Workspace(folder))
        return None if record is None else main_sha256(record)
    return None


def _swap(out: Path, item: Item, row: Sequence[Item]) -> None:
    state.hand_on(out, item, row, staging(out) / item.name)
    state.drop(out, [item])
    os.replace(staging(out) / item.name, out / item.name)
    with contextlib.suppress(OSError):
        staging(out).rmdir()


def rows_with(new: Sequence[Item], items: Sequence[Item]) -> dict[int, list[Item]]:
    """The manifest's rows, with ``new`` items in the places of those of the same name."""
    fresh = {item.name: item for item in new}
    return groups(fresh.get(item.name, item) for item in items)


def _work(item: Item) -> str:
    return dataclasses.replace(item, seed=0).digest

