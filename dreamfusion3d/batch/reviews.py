"""review.json: what people said of a folder's assets, and what took the place of those they rejected.

    {"verdicts": {NAME: {"verdict": "approve" | "reject" | null, "note", "prompt", "seed", "sha256"}},
     "replaced": [{"name", "seed", "sha256", "verdict", "note", "by": {"seed", "sha256"}}]}

A verdict is of the file with that sha256: an asset that was made anew since has none.
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
from dreamfusion3d.pipelines.workspace import folder_lock

REVIEW_FILE = "review.json"
MAX_NOTE_CHARS = 10_000  # characters
DECISIONS = ("approve", "reject")
MAX_REVIEW_BYTES = 64 << 20  # bytes: a note for each of some ten thousand assets
LOCK_TIMEOUT_SECONDS = 10.0  # for another process that writes

ReviewEntry = dict[str, Any]
_thread_lock = threading.RLock()  # a lock file keeps processes apart, not threads of one


@dataclass
class ReviewLog:
    """The content of review.json. ``damage`` says what of the file could not be read."""

    decisions: dict[str, ReviewEntry] = field(default_factory=dict)
    replaced: list[ReviewEntry] = field(default_factory=list)
    damage: str | None = None

    def decision_for(self, name: str, sha256: str) -> ReviewEntry:
        """The verdict on this very file; empty when there is none."""
        found = self.decisions.get(name, {})
        return found if found.get("sha256") in (None, "", sha256) else {}


def read_reviews(out: Path) -> ReviewLog:
    """What OUT/review.json holds; what cannot be read of it is left out and named in ``damage``."""
    path = out / REVIEW_FILE
    try:
        if path.stat().st_size > MAX_REVIEW_BYTES:
            return ReviewLog(damage=f"larger than {MAX_REVIEW_BYTES >> 20} MB")
        content = json.loads(path.read_text(encoding="utf-8"))
        decisions, replaced = dict(content["verdicts"]), list(content.get("replaced", []))
    except FileNotFoundError:
        return ReviewLog()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return ReviewLog(damage=f"not a list of verdicts ({type(error).__name__})")
    review = ReviewLog(
        {k: v for k, v in decisions.items() if _is_valid_decision(v)}, [r for r in replaced if _is_valid_replacement(r)]
    )
    num_unreadable = len(decisions) - len(review.decisions) + len(replaced) - len(review.replaced)
    review.damage = f"{num_unreadable} of its entries cannot be read" if num_unreadable else None
    return review


@contextlib.contextmanager
def edit_reviews(out: Path, say: Callable[[str], None] = lambda line: None) -> Iterator[ReviewLog]:
    """The review, to be changed; written when the block succeeds and something did change.

    Threads and processes take turns. A damaged file is kept beside the new one as
    review.damaged.json, review.damaged_2.json, ...: ``say`` is told. Raises InputError when
    another process holds the file for SECONDS_TO_WAIT.
    """
    with _thread_lock, _wait_for_lock(out):
        review = read_reviews(out)
        before = _to_json(review)
        yield review
        if _to_json(review) == before:
            return
        if review.damage is not None:
            backup = _back_up_damaged_file(out)
            say(f"{out / REVIEW_FILE} was damaged ({review.damage}); it is kept as {backup.name}")
        files.write_json(out / REVIEW_FILE, _to_json(review))


def apply_decision(review: ReviewLog, name: str, sha256: str, change: ReviewEntry, facts: ReviewEntry) -> ReviewEntry:
    """Takes the verdict or the note of ``change`` over; ``facts`` (prompt, seed) make the file readable.

    What ``change`` does not name stays, so that a note and a verdict from two windows both live.
    Raises InputError for what is no verdict.
    """
    entry = dict(review.decision_for(name, sha256))
    if "verdict" in change:
        if change["verdict"] not in (*DECISIONS, None):
            raise InputError("a verdict is approve, reject or null")
        entry["verdict"] = change["verdict"]
    if "note" in change:
        if not isinstance(change["note"], str) or len(change["note"]) > MAX_NOTE_CHARS:
            raise InputError(f"a note is a text of at most {MAX_NOTE_CHARS:,} characters")
        entry["note"] = change["note"]
    if entry.get("verdict") or entry.get("note"):
        review.decisions[name] = entry = {**entry, **facts, "sha256": sha256}
    else:
        review.decisions.pop(name, None)
        entry = {}
    return entry


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
    """Waits for its turn: a verdict is written in milliseconds."""
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
