"""review.json: verdicts and notes on a folder's assets, and the replacements of rejected ones.

    {"verdicts": {NAME: {"verdict": "approve" | "reject" | null, "note", "prompt", "seed", "sha256"}},
     "replaced": [{"name", "seed", "sha256", "verdict", "note", "by": {"seed", "sha256"}}]}

A verdict applies to the file with that sha256: an asset that has been remade since has none.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dreamfusion3d.core import files
from dreamfusion3d.core.errors import InputError, LockedError
from dreamfusion3d.core.folders import folder_lock

REVIEW_FILE = "review.json"
MAX_NOTE_CHARS = 10_000
DECISIONS = ("approve", "reject")
MAX_REVIEW_BYTES = 64 << 20  # notes on some ten thousand assets
LOCK_TIMEOUT_SECONDS = 10.0  # to wait while another process writes

ReviewEntry = dict[str, Any]
_thread_lock = threading.RLock()  # the lock file only excludes other processes


@dataclass
class ReviewLog:
    """The content of review.json. ``damage`` describes what could not be read."""

    decisions: dict[str, ReviewEntry] = field(default_factory=dict)
    replaced: list[ReviewEntry] = field(default_factory=list)
    damage: str | None = None

    def decision_for(self, name: str, sha256: str) -> ReviewEntry:
        """Return the entry on exactly this file; empty if there is none."""
        found = self.decisions.get(name, {})
        return found if found.get("sha256") in (None, "", sha256) else {}


def read_reviews(out: Path) -> ReviewLog:
    """Read OUT/review.json; unreadable entries are skipped and reported in ``damage``."""
    path = out / REVIEW_FILE
    try:
        if path.stat().st_size > MAX_REVIEW_BYTES:
            return ReviewLog(damage=f"larger than {MAX_REVIEW_BYTES >> 20} MB")
        content = json.loads(path.read_text(encoding="utf-8"))
        decisions, replaced = dict(content["verdicts"]), list(content.get("replaced", []))
    except FileNotFoundError:
        return ReviewLog()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return ReviewLog(damage=f"it has no verdicts ({type(error).__name__})")
    review = ReviewLog(
        {k: v for k, v in decisions.items() if _is_valid_decision(v)}, [r for r in replaced if _is_valid_replacement(r)]
    )
    num_unreadable = len(decisions) - len(review.decisions) + len(replaced) - len(review.replaced)
    review.damage = f"{num_unreadable} of its entries cannot be read" if num_unreadable else None
    return review


@contextlib.contextmanager
def edit_reviews(out: Path, say: Callable[[str], None] = lambda line: None) -> Iterator[ReviewLog]:
    """Open the review for editing; it is written on exit if it has changed and no error was raised.

    Threads and processes take turns; raises InputError after LOCK_TIMEOUT_SECONDS. A damaged file is backed
    up as review.damaged.json, review.damaged_2.json, ..., which ``say`` reports.
    """
    with _thread_lock, _wait_for_lock(out):
        review = read_reviews(out)
        before = _to_json(review)
        yield review
        if _to_json(review) == before:
            return
        if review.damage is not None:
            backup = _back_up_damaged_file(out)
            say(f"{out / REVIEW_FILE} was damaged ({review.damage}); it was backed up as {backup.name}")
        files.write_json(out / REVIEW_FILE, _to_json(review))


def apply_decision(review: ReviewLog, name: str, sha256: str, change: ReviewEntry, facts: ReviewEntry) -> None:
    """Apply the verdict or note in ``change`` to an asset's entry.

    Keys missing from ``change`` keep their values, so that a note and a verdict from two windows both survive.

    ``facts`` (prompt, seed) only make the file readable. Raises InputError if verdict or note is invalid.
    """
    entry = dict(review.decision_for(name, sha256))
    if "verdict" in change:
        if change["verdict"] not in (*DECISIONS, None):
            raise InputError("a verdict must be approve, reject or null")
        entry["verdict"] = change["verdict"]
    if "note" in change:
        if not isinstance(change["note"], str) or len(change["note"]) > MAX_NOTE_CHARS:
            raise InputError(f"a note must be text of at most {MAX_NOTE_CHARS:,} characters")
        entry["note"] = change["note"]
    if entry.get("verdict") or entry.get("note"):
        review.decisions[name] = {**entry, **facts, "sha256": sha256}
    else:
        review.decisions.pop(name, None)


def _to_json(review: ReviewLog) -> dict[str, Any]:
    return {"verdicts": dict(review.decisions), "replaced": list(review.replaced)}


def _is_valid_decision(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and entry.get("verdict") in (*DECISIONS, None)
        and isinstance(entry.get("note") or "", str)
        and isinstance(entry.get("sha256") or "", str)
    )


def _is_valid_replacement(entry: Any) -> bool:
    by = entry.get("by") if isinstance(entry, dict) else None
    return (
        isinstance(by, dict)
        and isinstance(entry.get("name"), str)
        and all(isinstance(e.get("seed"), int) and isinstance(e.get("sha256"), str) for e in (entry, by))
    )


def _back_up_damaged_file(out: Path) -> Path:
    for number in itertools.count(1):
        path = out / (f"review.damaged_{number}.json" if number > 1 else "review.damaged.json")
        if not path.exists():
            os.replace(out / REVIEW_FILE, path)
            return path
    raise AssertionError


@contextlib.contextmanager
def _wait_for_lock(out: Path) -> Iterator[None]:
    """Wait for the lock: a verdict is written within milliseconds."""
    lock, start_time = out / ".batch" / "review", time.monotonic()
    while True:
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(folder_lock(lock))
            except LockedError:
                if time.monotonic() - start_time > LOCK_TIMEOUT_SECONDS:
                    raise
            else:
                yield
                return
        time.sleep(0.02)
