"""Memory amounts: parsing, formatting, current use, limits, and out-of-memory errors."""

from __future__ import annotations

import gc
import re

import torch

from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.runtime import may_limit_cuda_memory, resident_bytes

_PREFIXES = dict(enumerate("kmgt", 1))
BYTE_UNITS = {"": 1} | {p: 1000**n for n, p in _PREFIXES.items()} | {f"{p}i": 1024**n for n, p in _PREFIXES.items()}
MIN_BUDGET = 1 << 20  # a smaller budget is a typing error
CUDA_CONTEXT_BYTES = 500 << 20  # a CUDA context, which the allocator does not count
CUDA_OVERHEAD = 1.05  # CUDA's allocator rounds up; on a CPU predictions count every byte
_OUT_OF_MEMORY_MESSAGES = ("not enough memory", "can't allocate memory", "out of memory")


def parse_bytes(text: str) -> int:
    """Parse "8GB", "1.5 GiB", "900MB" or a plain number of bytes. Raises InputError."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([kmgt]i?)?b?\s*", text.lower())
    if not match:
        raise InputError(f"--max-memory {text!r} is not an amount of memory. Give e.g. 8GB or 900MB")
    amount = int(float(match[1]) * BYTE_UNITS[match[2] or ""])
    if amount < MIN_BUDGET:
        hint = "Give more" if text.strip()[-1].isalpha() else "Add the unit"
        raise InputError(f"--max-memory {text!r} is less than 1 MiB. {hint}, e.g. 8GB")
    return amount


def format_bytes(count: int | float) -> str:
    """Format bytes rounded up, so that the printed amount suffices: '1.25 GB', '340 MB'."""
    if count >= 1e9:
        return f"{-(-count // 1e7) / 100:.2f} GB"
    return f"{max(1, -(-count // 1e6)):.0f} MB"


def used_bytes(device: torch.device) -> int:
    """Return the bytes in use: this process's resident memory on a CPU, tensors and context on CUDA."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device) + CUDA_CONTEXT_BYTES
    return resident_bytes()


def with_allocator_overhead(peak: int | float, device: torch.device) -> int | float:
    """Return the bytes to plan for if tensors take ``peak``."""
    return CUDA_OVERHEAD * peak if device.type == "cuda" else peak


def enforce_budget(budget: int, device: torch.device) -> None:
    """Limit torch's CUDA allocator to ``budget`` bytes, where `configure_process` allowed it.

    Otherwise, and on a CPU, a budget is only planned for.
    """
    if device.type != "cuda" or not may_limit_cuda_memory():
        return
    _, total = torch.cuda.mem_get_info(device)
    torch.cuda.set_per_process_memory_fraction(min(1.0, max(budget - CUDA_CONTEXT_BYTES, MIN_BUDGET) / total), device)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether ``error`` reports that memory ran out."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(message in str(error).lower() for message in _OUT_OF_MEMORY_MESSAGES)


def release_memory(device: torch.device) -> None:
    """Free what a failed attempt left: cycles of its traceback, and cached blocks of the CUDA allocator."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
