"""Stages of a run whose results outlive it: a killed run starts at the stage it was in."""

from __future__ import annotations

import contextlib
import json
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from dreamfusion3d.core import files
from dreamfusion3d.core.progress import Progress

T = TypeVar("T")


class Stages:
    """Names the stage that runs, and adds up how long each took, over interruptions too."""

    def __init__(self, names: Sequence[str], progress: Progress) -> None:
        self.names, self.progress = list(names), progress
        self.seconds: dict[str, float] = {}
        self.record: Path | None = None

    def keep_in(self, path: Path) -> None:
        """Seconds of earlier processes are read from ``path``, and all are kept there."""
        self.record = path
        with contextlib.suppress(OSError, ValueError, TypeError):
            earlier = json.loads(path.read_text())
            for name in self.names:
                self.seconds[name] = self.seconds.get(name, 0.0) + float(earlier.get(name, 0.0))

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self.progress.stage(name, self.names.index(name) + 1, len(self.names))
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begun
            if self.record is not None:
                # a full disk is reported by the stage itself
                with contextlib.suppress(OSError):
                    files.write_json(self.record, self.seconds)


def kept(path: Path, kind: type[T], make: Callable[[], T], progress: Progress) -> T:
    """A dataclass of arrays from ``path`` (npz), made and written first when it is not there.

    What has just been made is read back as well, so that a resumed run computes with exactly
    the same arrays (the order of their memory included) as an undisturbed one.
    """
    if path.exists():
        earlier = load_arrays(path, kind)
        if earlier is not None and not _not_a_number(earlier):
            return earlier
        progress.say(f"warning: {path.name} is damaged; making it again")
    value = make()
    if found := _not_a_number(value):  # kept, it would spoil every later try
        raise FloatingPointError(f"{found} of {path.stem} holds numbers that are not finite; try again")
    given = {name: a for name, a in vars(value).items() if a is not None}  # the rest has defaults
    arrays: dict[str, Any] = {name: np.asarray(a, order="C") for name, a in given.items()}
    with files.replacing(path) as temporary:
        np.savez(temporary, **arrays)
    return _read(path, kind)


def _not_a_number(value: object) -> str:
    """The name of an array with a NaN in it; empty when there is none."""
    for name, found in vars(value).items():
        array = np.asarray(0 if found is None else found)
        if array.dtype.kind == "f" and np.isnan(array).any():
            return name
    return ""


def load_arrays(path: Path, kind: type[T]) -> T | None:
    """What `kept` wrote; None when it cannot be read."""
    try:
        return _read(path, kind)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None


def _read(path: Path, kind: type[T]) -> T:
    with np.load(path, allow_pickle=False) as archive:
        return kind(**{name: archive[name] for name in archive.files})
