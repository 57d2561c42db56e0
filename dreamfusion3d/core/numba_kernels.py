"""What every numba kernel of this project shares: how it is compiled and on how many threads.

A kernel is written

    @kernel
    @no_type_check
    def _forward(...): ...

where ``no_type_check`` keeps the runtime shape checker of the tests from wrapping the Python
function before numba sees it.
"""

from __future__ import annotations

from typing import Any

import numba
import torch

from dreamfusion3d.core.numba_cache import njit

_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
# Multiplications and additions may be fused, nothing else: infinities and NaNs keep their meaning.
kernel = njit(parallel=True, fastmath={"contract"}, **_OPTIONS)
# Without any of that: bit for bit what the same expression gives in torch.
exact_kernel = njit(parallel=True, **_OPTIONS)
serial_kernel = njit(fastmath={"contract"}, **_OPTIONS)
inline = njit(inline="always", **_OPTIONS)


def follow_torch_threads() -> None:
    """Make the calling thread's next kernels use as many threads as torch may use."""
    num_threads = torch.get_num_threads()
    numba.set_num_threads(max(1, min(num_threads, numba.config.NUMBA_NUM_THREADS)))
    # The first time this starts numba's threads, for all cores; where they are OpenMP's, torch, whose
    # threads these are too, would from then on take as many, whatever OMP_NUM_THREADS says.
    if torch.get_num_threads() != num_threads:
        torch.set_num_threads(num_threads)
