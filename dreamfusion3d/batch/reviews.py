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
from dreamfusion3d.pipelines.workspace import locked

FILE = "review.json"
LONGEST_NOTE = 10_000  # characters
WORDS = ("approve", "reject")
LARGEST = 64 << 20  # bytes: a note for each of some ten thousand assets
SECONDS_TO_WAIT = 10.0  # for another process that writes

Entry = dict[str, Any]
_threads = threading.RLock()  # a lock file keeps processes apart, not threads of one


@dataclass
class Review:
    """The content of review.json. ``damage`` says what of the file could not be read."""

    verdicts: dict[str, Entry] = field(default_factory=dict)
    replaced: list[Entry] = field(default_factory=list)
    damage: str | None = None

    def of(self, name: str, sha256: str) -> Entry:
        """The verdict on this very file; empty when there is none."""
        found = self.verdicts.get(name, {})
        return found if found.get("sha256") in (None, "", sha256) else {}


def read(out: Path) -> Review:
    """What OUT/review.json holds; what cannot be read of it is left out and named in ``damage``."""
    path = out / FILE
    try:
        if path.stat().st_size > LARGEST:
            return Review(damage=f"larger than {LARGEST >> 20} MB")
        found = json.loads(path.read_text(encoding="utf-8"))
        verdicts, replaced = dict(found["verdicts"]), list(found.get("replaced", []))
    except FileNotFoundError:
        return Review()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return Review(damage=f"not a list of verdicts ({type(error).__name__})")
    good = Review(
        {k: v for k, v in verdicts.items() if _is_verdict(v)}, [r for r in replaced if _is_change(r)]
    )
    lost = len(verdicts) - len(good.verdicts) + len(replaced) - len(good.replaced)
    good.damage = f"{lost} of its entries cannot be read" if lost else None
    return good


@contextlib.contextmanager
def changing(out: Path, say: Callable[[str], None] = lambda line: None) -> Iterator[Review]:
    """The review, to be changed; written when the block succeeds and something did change.

    Threads and processes take turns. A damaged file is kept beside the new one as
    review.damaged.json, review.damaged_2.json, ...: ``say`` is told. Raises InputError when
    another process holds the file for SECONDS_TO_WAIT.
    """
    with _threads, _turn(out):
        review = read(out)
        before = _content(review)
        yield review
        if _content(review) == before:
            return
        if review.damage is not None:
            kept = _keep_aside(out)
            say(f"{out / FILE} was damaged ({review.damage}); it is kept as {kept.name}")
        files.write_json(out / FILE, _content(review))


def decide(review: Review, name: str, sha256: str, change: Entry, facts: Entry) -> Entry:
    """Takes the verdict or the note of ``change`` over; ``facts`` (prompt, seed) make the file readable.

    What ``change`` does not name stays, so that a note and a verdict from two windows both live.
    Raises InputError for what is no verdict.
    """
    entry = dict(review.of(name, sha256))
    if "verdict" in change:
        if change["verdict"] not in (*WORDS, None):
            raise InputError("a verdict is approve, reject or null")
        entry["verdict"] = change["verdict"]
    if "note" in change:
        if not isinstance(change["note"], str) or len(change["note"]) > LONGEST_NOTE:
            raise InputError(f"a note is a text of at most {LONGEST_NOTE:,} characters")
        entry["note"] = change["note"]
    if entry.get("verdict") or entry.get("note"):
        review.verdicts[name] = entry = {**entry, **facts, "sha256": sha256}
    else:
        review.verdicts.pop(name, None)
        entry = {}
    return entry


def _content(review: Review) -> dict[str, Any]:
    return {"verdicts": dict(review.verdicts), "replaced": list(review.replaced)}


def _is_verdict(entry: Any) -> bool:
    return (
        isinstance(entry, dict) and entry.get("verdict") in (*WORDS, None)
        and isinstance(entry.get("note") or "", str) and isinstance(entry.get("sha256") or "", str)
    )


def _is_change(entry: Any) -> bool:
    by = entry.get("by") if isinstance(entry, dict) else None
    return (
        isinstance(by, dict) and isinstance(entry.get("name"), str)
        and all(isinstance(e.get("seed"), int) and isinstance(e.get("sha256"), str) for e in (entry, by))
    )


def _keep_aside(out: Path) -> Path:
    for number in itertools.count(1):
        path = out / (f"review.damaged_{number}.json" if number > 1 else "review.damaged.json")
        if not path.exists():
            os.replace(out / FILE, path)
            return path
    raise AssertionError


@contextlib.contextmanager
def _turn(out: Path) -> Iterator[None]:
    """Waits for its turn: a verdict is written in milliseconds."""
    lock, begun = out / ".batch" / "review", time.monotonic()
    while True:
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(locked(lock))
            except LockedError:
                if time.monotonic() - begun > SECONDS_TO_WAIT:
                    raise
            else:
                yield
                return
        time.sleep(0.02)
