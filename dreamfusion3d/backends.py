"""Which implementation of an operation runs where; all give the same numbers."""

from __future__ import annotations

import functools
import importlib.util
from typing import Literal

import torch
from torch import Tensor

Backend = Literal["auto", "torch", "numba", "triton"]


def fastest(tensor: Tensor) -> Backend:
    """numba on the CPU, Triton on a GPU where it is installed (torch's builds for CUDA and ROCm bring
    it), both for float32; torch, the reference, elsewhere."""
    if tensor.dtype != torch.float32:
        return "torch"
    if tensor.device.type == "cpu":
        return "numba"
    return "triton" if tensor.device.type == "cuda" and has_triton() else "torch"


@functools.cache
def has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None
