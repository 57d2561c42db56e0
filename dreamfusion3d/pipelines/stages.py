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


class StageTracker:
    """Names the stage that runs, and adds up how long each took, over interruptions too."""

    def __init__(self, names: Sequence[str], progress: Progress) -> None:
        self.names, self.progress = list(names), progress
        self.seconds: dict[str, float] = {}
        self.timings_path: Path | None = None

    def persist_to(self, path: Path) -> None:
        """Seconds of earlier processes are read from ``path``, and all are kept there."""
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
    """A dataclass of arrays from ``path`` (npz), made and written first when it is not there.

    What has just been made is read back as well, so that a resumed run computes with exactly
    the same arrays (the order of their memory included) as an undisturbed one.
    """
    if path.exists():
        cached = load_arrays(path, result_type)
        if cached is not None and not _find_nan_array(cached):
            return cached
        progress.warn(f"{path.name} is damaged; making it again")
    value = compute()
    if nan_name := _find_nan_array(value):  # kept, it would spoil every later try
        raise FloatingPointError(f"{nan_name} of {path.stem} holds numbers that are not finite; try again")
    present = {name: a for name, a in vars(value).items() if a is not None}  # the rest has defaults
    arrays: dict[str, Any] = {name: np.asarray(a, order="C") for name, a in present.items()}
    with files.atomic_write(path) as temporary:
        np.savez(temporary, **arrays)
    return _read_npz(path, result_type)


def _find_nan_array(value: object) -> str:
    """The name of an array with a NaN in it; empty when there is none."""
    for name, item in vars(value).items():
        array = np.asarray(0 if item is None else item)
        if array.dtype.kind == "f" and np.isnan(array).any():
            return name
    return ""


def load_arrays(path: Path, result_type: type[T]) -> T | None:
    """What `kept` wrote; None when it cannot be read."""
    try:
        return _read_npz(path, result_type)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None


def _read_npz(path: Path, result_type: type[T]) -> T:
    with np.load(path, allow_pickle=False) as archive:
        return result_type(**{name: archive[name] for name in archive.files})
