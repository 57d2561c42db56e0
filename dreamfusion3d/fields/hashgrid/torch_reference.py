"""The hash grid in plain torch: the reference for the other back ends, on any device."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dreamfusion3d.fields.hashgrid.layout import PRIME_Y, PRIME_Z, HashGridLayout


def hashgrid_torch(
    x: Float[Tensor, "n 3"], table: Float[Tensor, "rows f"], layout: HashGridLayout
) -> Float[Tensor, "n c"]:
    """Compute `hashgrid` with gradients by autograd."""
    x = torch.nan_to_num(x).clamp(0, 1)  # a NaN has no cell
    columns = []
    for level, resolution in enumerate(layout.resolutions):
        position = x * resolution
        # the far face belongs to the last cell, so that every point has eight vertices
        cell = position.detach().floor().clamp(max=resolution - 1)
        fraction = position - cell
        cell = cell.long()
        value = x.new_zeros(x.shape[0], layout.features)
        for corner in range(8):
            bits = torch.tensor([corner & 1, corner >> 1 & 1, corner >> 2 & 1], device=x.device)
            weight = torch.where(bits.bool(), fraction, 1 - fraction).prod(-1)
            row = _vertex_rows(cell + bits, level, layout)
            value = value + weight[:, None] * table[row]
        columns.append(value)
    return torch.cat(columns, -1)


def _vertex_rows(vertex: Int[Tensor, "n 3"], level: int, layout: HashGridLayout) -> Int[Tensor, " n"]:
    """Return the table rows of a level's vertices (equation 4, or the dense index)."""
    i, j, k = vertex.unbind(-1)
    if layout.dense[level]:
        side = layout.resolutions[level] + 1
        row = i + side * (j + side * k)
    else:
        row = (i ^ (j * PRIME_Y) ^ (k * PRIME_Z)) & ((1 << layout.log2_table_size) - 1)
    return row + layout.offsets[level]
