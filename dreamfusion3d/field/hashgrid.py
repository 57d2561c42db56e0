"""Multiresolution hash grid (instant-ngp, arXiv 2201.05989): one op, one table layout.

Letters: n points, L levels, F features a level, N_l cells along an axis of level l,
T = 2^log2_table_size rows at most a level.

The table of all levels is one (rows, F) array; level l owns the rows
``offsets[l]:offsets[l + 1]``. Vertex (i, j, k) of level l, 0 <= i, j, k <= N_l, lies in row

    i + (N_l + 1) (j + (N_l + 1) k)                          if (N_l + 1)^3 <= T   (dense)
    (i XOR 2654435761 j XOR 805459861 k) mod T               otherwise             (eq. 4)

of its level. A point's feature is the trilinear interpolation of its cell's eight vertices,
the levels side by side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.backends import Backend, fastest

PRIME_Y = 2654435761
PRIME_Z = 805459861
# The products above must stay inside an int64 in torch and inside a float32's integers.
MAX_RESOLUTION = 1 << 20


@dataclass(frozen=True)
class HashGridLayout:
    """Where the vertices of every level lie in the table."""

    levels: int = 8
    features: int = 2
    log2_table_size: int = 15
    base_resolution: int = 8
    max_resolution: int = 128

    def __post_init__(self) -> None:
        if self.levels < 1 or self.features < 1:
            raise ValueError(f"levels and features must be >= 1, not {self.levels} and {self.features}")
        if not 1 <= self.base_resolution <= self.max_resolution <= MAX_RESOLUTION:
            raise ValueError(
                f"resolutions must satisfy 1 <= base <= max <= {MAX_RESOLUTION}, "
                f"not {self.base_resolution} and {self.max_resolution}"
            )
        if not 1 <= self.log2_table_size <= 30:
            raise ValueError(f"log2_table_size must lie in 1..30, not {self.log2_table_size}")

    @cached_property
    def resolutions(self) -> tuple[int, ...]:
        """Cells along an axis of each level, a geometric progression (eq. 2 and 3)."""
        if self.levels == 1:
            return (self.base_resolution,)
        growth = math.log(self.max_resolution / self.base_resolution) / (self.levels - 1)
        # the last level is max_resolution itself whatever the rounding of exp and log
        exact = (self.base_resolution * math.exp(growth * i) for i in range(self.levels - 1))
        return (*(math.floor(n + 1e-6) for n in exact), self.max_resolution)

    @cached_property
    def dense(self) -> tuple[bool, ...]:
        """Whether each level has a row for every vertex (no collisions)."""
        return tuple((n + 1) ** 3 <= 1 << self.log2_table_size for n in self.resolutions)

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """First row of each level, and the number of rows of the whole table at the end."""
        offsets = [0]
        for resolution, dense in zip(self.resolutions, self.dense, strict=True):
            offsets.append(offsets[-1] + ((resolution + 1) ** 3 if dense else 1 << self.log2_table_size))
        return tuple(offsets)

    @property
    def rows(self) -> int:
        return self.offsets[-1]

    @property
    def width(self) -> int:
        """Columns of the op's result."""
        return self.levels * self.features


def hashgrid(
    x: Float[Tensor, "n 3"],
    table: Float[Tensor, "rows f"],
    layout: HashGridLayout,
    backend: Backend = "auto",
    *,
    half_sums: bool = False,
) -> Float[Tensor, "n c"]:
    """Features (n, levels * features) of points in [0, 1]^3, differentiable in table and points.

    Points outside the unit cube are clamped onto it (and get no gradient). ``auto`` is
    the fastest back end that takes the numbers as they are (``backends.fastest``). ``half_sums``: the
    table's gradient may add up in float16, where the back end is Triton's; the others have no use for it.
    """
    if tuple(table.shape) != (shape := (layout.rows, layout.features)):
        raise ValueError(f"this layout needs a table of shape {shape}, not {tuple(table.shape)}")
    if backend == "auto":
        backend = _fastest(x, table, layout)
    # imported here: numba takes half a second, which a CUDA or reference run need not pay
    if backend == "numba":
        from dreamfusion3d.field.hashgrid_numba import hashgrid_numba

        return hashgrid_numba(x, table, layout)
    if backend == "triton":
        from dreamfusion3d.field.hashgrid_triton import hashgrid_triton

        return hashgrid_triton(x, table, layout, half_sums)
    from dreamfusion3d.field.hashgrid_torch import hashgrid_torch

    return hashgrid_torch(x, table, layout)


def _fastest(x: Tensor, table: Tensor, layout: HashGridLayout) -> Backend:
    backend = fastest(x)
    power_of_two = layout.features & (layout.features - 1) == 0
    taken = table.dtype == torch.float32 if backend == "numba" else power_of_two
    return backend if taken else "torch"
