"""Functions that numba compiles, once for an installation."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numba

from dreamfusion3d.core.files import cache_folder

# Beside the package and not in it, where numba would put them: what an uninstallation leaves in a folder of
# the package's name is to Python a package of that name, and hides one installed with `pip install -e`.
KERNEL_CACHE_DIR = Path(__file__).resolve().parents[2] / "__pycache__" / "dreamfusion3d"
_config_lock = threading.Lock()


def njit(function: Any = None, **options: Any) -> Any:
    """``numba.njit``, with what it compiles kept in KERNELS; in the user's cache folder where that cannot be
    written, and where NUMBA_CACHE_DIR says if it does."""
    if function is None:
        return lambda function: njit(function, **options)
    with _numba_cache_dir(KERNEL_CACHE_DIR):
        return numba.njit(cache=True, **options)(function)


@contextlib.contextmanager
def _numba_cache_dir(folder: Path) -> Iterator[None]:
    """For this function alone: other packages' stay where they are."""
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
