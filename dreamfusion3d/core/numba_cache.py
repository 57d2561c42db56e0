"""numba compilation cached once per installation."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numba

from dreamfusion3d.core.files import cache_folder

# Beside the package rather than inside it, where numba would put them: files that an uninstall leaves in a folder named
# like the package look like that package to Python, and hide one installed with `pip install -e`.
KERNEL_CACHE_DIR = Path(__file__).resolve().parents[2] / "__pycache__" / "dreamfusion3d"
_config_lock = threading.Lock()


def njit(function: Any = None, *, cache_dir: Path = KERNEL_CACHE_DIR, **options: Any) -> Any:
    """Compile like ``numba.njit`` and cache the result on disk.

    If ``cache_dir`` is not writable, the user's cache folder is used; NUMBA_CACHE_DIR overrides both.
    """
    if function is None:
        return lambda function: njit(function, cache_dir=cache_dir, **options)
    with _numba_cache_dir(cache_dir):
        return numba.njit(cache=True, **options)(function)


@contextlib.contextmanager
def _numba_cache_dir(folder: Path) -> Iterator[None]:
    """Set numba's cache folder for one compilation; other packages keep theirs."""
    with _config_lock:
        previous = numba.config.CACHE_DIR
        numba.config.CACHE_DIR = previous or str(folder if _is_writable_dir(folder) else cache_folder() / "kernels")
        try:
            yield
        finally:
            numba.config.CACHE_DIR = previous


def _is_writable_dir(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
