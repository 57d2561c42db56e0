"""Compilation options and thread count shared by all numba kernels.

A kernel is written

    @kernel
    @no_type_check
    def _forward(...): ...

``no_type_check`` keeps the tests' runtime shape checker from wrapping the Python function before numba compiles it.
"""

from __future__ import annotations

from typing import Any

import numba
import torch

from dreamfusion3d.core.numba_cache import njit

_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
# Only fused multiply-adds are allowed, so infinities and NaNs keep their meaning.
kernel = njit(parallel=True, fastmath={"contract"}, **_OPTIONS)
# No fast math: bit for bit the result of the same expression in torch.
exact_kernel = njit(parallel=True, **_OPTIONS)
serial_kernel = njit(fastmath={"contract"}, **_OPTIONS)
inline = njit(inline="always", **_OPTIONS)


def follow_torch_threads() -> None:
    """Let the calling thread's next kernels use as many threads as torch does."""
    num_threads = torch.get_num_threads()
    numba.set_num_threads(max(1, min(num_threads, numba.config.NUMBA_NUM_THREADS)))
    # The first call starts numba's threads, one per core. If they are OpenMP's, torch shares them and would from then
    # on use as many, whatever OMP_NUM_THREADS says.
    if torch.get_num_threads() != num_threads:
        torch.set_num_threads(num_threads)
