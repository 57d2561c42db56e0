"""Stages of a run and their cached results: a killed run resumes at the stage that it was in."""

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


class StageTracker:
    """Reports the current stage and adds up the seconds of each, also across processes."""

    def __init__(self, names: Sequence[str], progress: Progress) -> None:
        self.names, self.progress = list(names), progress
        self.seconds: dict[str, float] = {}
        self.timings_path: Path | None = None

    def persist_to(self, path: Path) -> None:
        """Add the seconds of earlier processes from ``path``, and save all of them there."""
        self.timings_path = path
        with contextlib.suppress(OSError, ValueError, TypeError):
            previous = json.loads(path.read_text())
            for name in self.names:
                self.seconds[name] = self.seconds.get(name, 0.0) + float(previous.get(name, 0.0))

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self.progress.stage(name, self.names.index(name) + 1, len(self.names))
        start_time = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start_time
            if self.timings_path is not None:
                # a full disk is reported by the stage itself
                with contextlib.suppress(OSError):
                    files.write_json(self.timings_path, self.seconds)


def load_or_compute(path: Path, result_type: type[T], compute: Callable[[], T], progress: Progress) -> T:
    """Load a dataclass of arrays from ``path`` (npz), computing and saving it first if needed.

    A computed result is read back, so that a resumed run continues with the same arrays, including their memory order.

    Raises:
        FloatingPointError: the computed result contains NaN.
    """
    if path.exists():
        cached = load_arrays(path, result_type)
        if cached is not None and not _find_nan_array(cached):
            return cached
        progress.warn(f"{path.name} is damaged; computing it again")
    value = compute()
    if nan_name := _find_nan_array(value):  # saved, it would spoil every later attempt
        raise FloatingPointError(f"{nan_name} of {path.stem} contains NaN; try again")
    present = {name: a for name, a in vars(value).items() if a is not None}  # fields that are None have defaults
    arrays: dict[str, Any] = {name: np.asarray(a, order="C") for name, a in present.items()}
    with files.atomic_write(path) as temporary:
        np.savez(temporary, **arrays)
    return _read_npz(path, result_type)


def _find_nan_array(value: object) -> str:
    """Return the name of an array that contains NaN; empty if there is none."""
    for name, item in vars(value).items():
        array = np.asarray(0 if item is None else item)
        if array.dtype.kind == "f" and np.isnan(array).any():
            return name
    return ""


def load_arrays(path: Path, result_type: type[T]) -> T | None:
    """Load what `load_or_compute` saved; None if it cannot be read."""
    try:
        return _read_npz(path, result_type)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None


def _read_npz(path: Path, result_type: type[T]) -> T:
    # opened here: np.load leaves a damaged file open
    with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as archive:
        return result_type(**{name: archive[name] for name in archive.files})
