"""Backends of an operation (torch, numba, Triton) and the device they run on; all give the same numbers."""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
from typing import Literal

import torch
from torch import Tensor

from dreamfusion3d.core.errors import InputError

Backend = Literal["auto", "torch", "numba", "triton"]


def fastest_backend(tensor: Tensor) -> Backend:
    """Return numba for float32 on the CPU, Triton for float32 on a GPU if it works there, else torch, the reference.

    torch's builds for CUDA and ROCm install Triton.
    """
    if tensor.dtype != torch.float32:
        return "torch"
    if tensor.device.type == "cpu":
        return "numba"
    return "triton" if tensor.device.type == "cuda" and has_triton() else "torch"


def constant_like(values: tuple[float, ...] | tuple[tuple[float, ...], ...], like: Tensor) -> Tensor:
    """Return ``values`` with the dtype and device of ``like``; do not modify it in place.

    Constants are cached, because a host-to-device copy waits for the GPU.
    """
    return _cached_constant(values, like.dtype, like.device)


@functools.lru_cache(maxsize=64)
def _cached_constant(values: tuple[object, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=dtype, device=device)


def available_cores() -> int:
    """Return the number of cores that this process may use: a container may have fewer than the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def has_triton() -> bool:
    """Return whether Triton is installed and finds the C compiler that builds its launchers."""
    compiler = os.environ.get("CC") or next(filter(None, map(shutil.which, ("clang", "gcc", "cc"))), None)
    return compiler is not None and importlib.util.find_spec("triton") is not None


def choose_device(name: str) -> torch.device:
    """Return the device called ``name``; "auto" is the GPU if there is one. Raises InputError for any other name."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    unknown = InputError(f"device {name!r} is not one of auto, cpu, cuda")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise unknown from None
    if device.type not in ("cpu", "cuda"):
        raise unknown
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"device {name!r}: torch finds no such CUDA device. Use --device cpu")
    return device
