"""Volume rendering of packed samples (NeRF, arXiv 2003.08934, equation 3).

    alpha_i = 1 - exp(-sigma_i delta_i),   T_i = prod_{j < i} (1 - alpha_j),   w_i = T_i alpha_i

so that the weights of a ray sum to 1 - T_end.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from dreamfusion3d.render.march import Samples

Backend = Literal["auto", "torch", "numba"]


def weights(
    density: Float[Tensor, " n"], samples: Samples, backend: Backend = "auto"
) -> Float[Tensor, " n"]:
    """Share of each sample in its ray's colour, differentiable in the density (per unit length)."""
    if _numba(density, backend):
        from dreamfusion3d.render.composite_numba import weights_numba

        return weights_numba(density, samples.t_ends - samples.t_starts, samples.packed_info)
    return _weights_torch(density, samples)


def accumulate(
    weights: Float[Tensor, " n"],
    values: Float[Tensor, "n c"],
    ray_indices: Int64[Tensor, " n"],
    rays: int,
    backend: Backend = "auto",
) -> Float[Tensor, "{rays} c"]:
    """Weighted sums of the samples' values along each ray; 0 for a ray without samples."""
    if _numba(weights, backend):
        from dreamfusion3d.render.composite_numba import accumulate_numba

        return accumulate_numba(weights, values, ray_indices, rays)
    out = torch.zeros(rays, values.shape[1], dtype=values.dtype, device=values.device)
    return out.index_add(0, ray_indices, weights[:, None] * values)


def _numba(tensor: Tensor, backend: Backend) -> bool:
    if backend == "auto":
        return tensor.device.type == "cpu" and tensor.dtype == torch.float32
    return backend == "numba"


def _weights_torch(density: Float[Tensor, " n"], samples: Samples) -> Float[Tensor, " n"]:
    """One running sum over all samples, less its value where each ray begins."""
    # float64: the sum runs over every ray, the differences that matter are those within one
    optical = (density * (samples.t_ends - samples.t_starts)).double()
    before = optical.cumsum(0) - optical
    first = samples.packed_info[samples.ray_indices, 0]
    transmittance = torch.exp(before[first] - before)
    return (transmittance * -torch.expm1(-optical)).to(density.dtype)
