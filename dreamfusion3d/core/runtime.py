"""The running process: settings that the command line makes for it, its memory, and whether others are alive.

Importing the package or calling into it changes no process-wide setting. Programs that use it as a library may call
`configure_process` to run as the command line does.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import sys

import psutil

# torch's threads are OpenMP's. By default numba prefers TBB where it is installed (Blender's package brings it along);
# two thread pools compete for the cores, which costs a third of a step on two of them.
NUMBA_THREADING_LAYERS = ("omp", "tbb", "workqueue")
_MALLOPT_TRIM_THRESHOLD, _MALLOPT_TOP_PAD, _MALLOPT_MMAP_THRESHOLD = -1, -2, -3  # malloc.h

_may_limit_cuda_memory = False


def configure_process(*, retain_freed_memory: bool = False) -> None:
    """Make the process-wide settings of the command line. Call it before the first kernel runs.

    numba shares torch's OpenMP threads, and a memory budget becomes a limit of torch's CUDA allocator. Both affect
    speed and memory only, never results. Settings made by environment variables are kept.

    Args:
        retain_freed_memory: Let glibc keep up to 1 GB of freed memory. A step on the CPU allocates and frees the same
            hundreds of megabytes each time; returning them to the system costs a fifth of its time.
    """
    global _may_limit_cuda_memory
    _may_limit_cuda_memory = True
    if not any(name.startswith("NUMBA_THREADING_LAYER") for name in os.environ):
        if numba := sys.modules.get("numba"):
            numba.config.THREADING_LAYER_PRIORITY = list(NUMBA_THREADING_LAYERS)
        else:
            os.environ["NUMBA_THREADING_LAYER_PRIORITY"] = " ".join(NUMBA_THREADING_LAYERS)
    if retain_freed_memory:
        _retain_freed_memory()


def may_limit_cuda_memory() -> bool:
    """Return whether `configure_process` allowed a memory budget to limit torch's CUDA allocator."""
    return _may_limit_cuda_memory


def _retain_freed_memory() -> None:
    configured_by_user = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    if configured_by_user or platform.libc_ver()[0] != "glibc":
        return
    with contextlib.suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        if mallopt(_MALLOPT_TRIM_THRESHOLD, 1 << 30) and mallopt(_MALLOPT_TOP_PAD, 1 << 26):
            # glibc up to 2.34 accepts at most 32 MB here
            _ = mallopt(_MALLOPT_MMAP_THRESHOLD, 1 << 30) or mallopt(_MALLOPT_MMAP_THRESHOLD, 1 << 25)


def resident_bytes() -> int:
    """Return the bytes of physical memory that this process holds."""
    return int(psutil.Process().memory_info().rss)


def is_process_alive(pid: int) -> bool:
    """Return whether a process of this machine runs under ``pid``; a zombie does not."""
    try:
        return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
