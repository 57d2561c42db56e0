"""Amounts of memory as people write them, as this process uses them, and as it runs out of them."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import torch

from dreamfusion3d.core.errors import InputError

UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4,
         "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30, "ti": 1 << 40}
LEAST = 1 << 20  # a smaller budget is a slip of the pen
CONTEXT = 500 << 20  # bytes of a CUDA context, which the allocator does not count
ROUNDED = 1.05  # of a prediction on CUDA, whose allocator rounds up; on a CPU every byte is counted
_SAID = ("not enough memory", "can't allocate memory", "out of memory")


def parse(text: str) -> int:
    """Bytes of "8GB", "1.5 GiB", "900MB" or a plain number of bytes. Raises InputError."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([kmgt]i?)?b?\s*", text.lower())
    if not found:
        raise InputError(f"--memory-budget {text!r} is not an amount of memory; for example 8GB or 900MB")
    amount = int(float(found[1]) * UNITS[found[2] or ""])
    if amount < LEAST:
        mend = "give more" if text.strip()[-1].isalpha() else "write the unit"
        raise InputError(f"--memory-budget {text!r} is less than 1 MiB; {mend}, for example 8GB")
    return amount


def shown(count: int | float) -> str:
    """Rounded up, so that what is shown is enough: '1.25 GB', '340 MB'."""
    if count >= 1e9:
        return f"{-(-count // 1e7) / 100:.2f} GB"
    return f"{max(1, -(-count // 1e6)):.0f} MB"


def held(device: torch.device) -> int:
    """Bytes that are taken already: this process's on a CPU; on CUDA the tensors and the context."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device) + CONTEXT
    with contextlib.suppress(OSError, ValueError, IndexError):
        import os

        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    with contextlib.suppress(ImportError):
        import resource
        import sys

        # the largest it ever was: kilobytes, on a Mac bytes
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
    return 0


def rounded(peak: int | float, device: torch.device) -> int | float:
    """Bytes to plan for where tensors take ``peak``."""
    return ROUNDED * peak if device.type == "cuda" else peak


def enforce(budget: int, device: torch.device) -> None:
    """On CUDA torch refuses whatever would pass the budget; a CPU's is only planned for."""
    if device.type != "cuda":
        return
    _, total = torch.cuda.mem_get_info(device)
    torch.cuda.set_per_process_memory_fraction(min(1.0, max(budget - CONTEXT, LEAST) / total), device)


def ran_out(error: BaseException) -> bool:
    """Whether ``error`` says that there was no memory left."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _SAID)


def give_back(device: torch.device) -> None:
    """What a failed attempt left: cycles of its traceback, blocks that the allocator keeps."""
    import gc

    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
