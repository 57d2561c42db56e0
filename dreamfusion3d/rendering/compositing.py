"""Volume rendering of packed samples (NeRF, arXiv 2003.08934, equation 3).

    alpha_i = 1 - exp(-sigma_i delta_i),   T_i = prod_{j < i} (1 - alpha_j),   w_i = T_i alpha_i

so that the weights of a ray sum to 1 - T_end.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from dreamfusion3d.core.backends import Backend, fastest_backend
from dreamfusion3d.rendering.ray_march import Samples


def compositing_weights(
    density: Float[Tensor, " n"], samples: Samples, backend: Backend = "auto"
) -> Float[Tensor, " n"]:
    """Return each sample's weight in its ray's color, differentiable in the density (per scene unit)."""
    backend = fastest_backend(density) if backend == "auto" else backend
    lengths = samples.t_ends - samples.t_starts
    if backend == "numba":
        from dreamfusion3d.rendering.compositing_numba import compositing_weights_numba

        return compositing_weights_numba(density, lengths, samples.packed_info)
    if backend == "triton":
        from dreamfusion3d.rendering.compositing_triton import compositing_weights_triton

        return compositing_weights_triton(density, lengths, samples.packed_info)
    return _compositing_weights_torch(density, samples)


def accumulate(
    weights: Float[Tensor, " n"],
    values: Float[Tensor, "n c"],
    ray_indices: Int64[Tensor, " n"],
    num_rays: int,
    backend: Backend = "auto",
) -> Float[Tensor, "{num_rays} c"]:
    """Sum the samples' weighted values along each ray; 0 for a ray without samples.

    On a GPU torch's ``index_add``, which is one kernel, is used.
    """
    backend = fastest_backend(weights) if backend == "auto" else backend
    if backend == "numba":
        from dreamfusion3d.rendering.compositing_numba import accumulate_numba

        return accumulate_numba(weights, values, ray_indices, num_rays)
    out = torch.zeros(num_rays, values.shape[1], dtype=values.dtype, device=values.device)
    return out.index_add(0, ray_indices, weights[:, None] * values)


def _compositing_weights_torch(density: Float[Tensor, " n"], samples: Samples) -> Float[Tensor, " n"]:
    """Take one running sum over all samples, minus its value where each ray begins."""
    # float64: the sum runs over every ray, the differences that matter are those within one
    optical_depth = (density * (samples.t_ends - samples.t_starts)).double()
    depth_before = optical_depth.cumsum(0) - optical_depth
    first = samples.packed_info[samples.ray_indices, 0]
    transmittance = torch.exp(depth_before[first] - depth_before)
    return (transmittance * -torch.expm1(-optical_depth)).to(density.dtype)
