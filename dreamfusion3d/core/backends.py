"""Which implementation of an operation runs where; all give the same numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dreamfusion3d.core.errors import InputError

if TYPE_CHECKING:
    import torch


from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


import functools
import importlib.util
import os
import shutil
from typing import Literal

import torch
from torch import Tensor

Backend = Literal["auto", "torch", "numba", "triton"]


def fastest_backend(tensor: Tensor) -> Backend:
    """numba on the CPU, Triton on a GPU where it is installed (torch's builds for CUDA and ROCm bring
    it), both for float32; torch, the reference, elsewhere."""
    if tensor.dtype != torch.float32:
        return "torch"
    if tensor.device.type == "cpu":
        return "numba"
    return "triton" if tensor.device.type == "cuda" and has_triton() else "torch"


def constant_like(values: tuple[float, ...] | tuple[tuple[float, ...], ...], like: Tensor) -> Tensor:
    """``values`` in the type and on the device of ``like``, not to be changed in place. Made once: the
    host waits for a GPU's work before it hands over numbers."""
    return _cached_constant(values, like.dtype, like.device)


@functools.lru_cache(maxsize=64)
def _cached_constant(values: tuple[object, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=dtype, device=device)


@functools.cache
def has_triton() -> bool:
    """Whether it is there and can build what starts its kernels, for which it needs any C compiler."""
    compiler = os.environ.get("CC") or next(filter(None, map(shutil.which, ("clang", "gcc", "cc"))), None)
    return compiler is not None and importlib.util.find_spec("triton") is not None


def choose_device(name: str) -> torch.device:
    """The device called ``name``; "auto" is the GPU where there is one."""
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"device {name!r} is not one of auto, cpu, cuda") from None
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"device {name!r} is not one of auto, cpu, cuda")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"device {name!r}: torch finds no such CUDA device; use --device cpu")
    return device
