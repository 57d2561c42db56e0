"""Multiresolution hash grid (instant-ngp, arXiv 2201.05989): one op, one table layout.

Letters: n points, L levels, F features per level, N_l cells along an axis of level l,
at most T = 2^log2_table_size rows per level.

The table of all levels is one (rows, F) array; level l owns the rows
``offsets[l]:offsets[l + 1]``. Vertex (i, j, k) of level l, 0 <= i, j, k <= N_l, lies in row

    i + (N_l + 1) (j + (N_l + 1) k)                          if (N_l + 1)^3 <= T   (dense)
    (i XOR 2654435761 j XOR 805459861 k) mod T               otherwise             (eq. 4)

of its level. A point's features are interpolated trilinearly between its cell's eight vertices and
concatenated over the levels.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.core.backends import Backend, fastest_backend
from dreamfusion3d.fields.hashgrid.layout import HashGridLayout as HashGridLayout


def hashgrid(
    x: Float[Tensor, "n 3"],
    table: Float[Tensor, "rows f"],
    layout: HashGridLayout,
    backend: Backend = "auto",
    *,
    half_precision_grads: bool = False,
) -> Float[Tensor, "n c"]:
    """Return the features of points in [0, 1]^3, differentiable in table and points.

    Points outside the unit cube are clamped onto it and get no gradient.

    Args:
        table: rows of all levels, see `HashGridLayout`.
        backend: "auto" is the fastest one that supports the tensors' types.
        half_precision_grads: let the Triton back end sum the table's gradient in float16; others ignore it.
    """
    if tuple(table.shape) != (shape := (layout.num_rows, layout.features)):
        raise ValueError(f"the hash grid's layout needs a table of shape {shape}, not {tuple(table.shape)}")
    if backend == "auto":
        backend = _fastest_backend(x, table, layout)
    # imported here: numba takes half a second to import, which CUDA and reference runs save
    if backend == "numba":
        from dreamfusion3d.fields.hashgrid.numba_kernels import hashgrid_numba

        return hashgrid_numba(x, table, layout)
    if backend == "triton":
        from dreamfusion3d.fields.hashgrid.triton_kernels import hashgrid_triton

        return hashgrid_triton(x, table, layout, half_precision_grads)
    from dreamfusion3d.fields.hashgrid.torch_reference import hashgrid_torch

    return hashgrid_torch(x, table, layout)


def _fastest_backend(x: Tensor, table: Tensor, layout: HashGridLayout) -> Backend:
    backend = fastest_backend(x)
    power_of_two = layout.features & (layout.features - 1) == 0
    supported = table.dtype == torch.float32 if backend == "numba" else power_of_two
    return backend if supported else "torch"
