"""The small network behind the hash grid: one hidden layer, as one op.

    y = W2 relu(W1 f + b1) + b2

Letters: n points, k inputs, h hidden units, o outputs. In eager torch this is bound by the
memory of its (n, h) intermediates, which the numba back end never writes.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def mlp(
    features: Float[Tensor, "n k"],
    hidden_weight: Float[Tensor, "h k"],
    hidden_bias: Float[Tensor, " h"],
    out_weight: Float[Tensor, "o h"],
    out_bias: Float[Tensor, " o"],
    backend: Literal["auto", "torch", "numba"] = "auto",
) -> Float[Tensor, "n o"]:
    """The network's outputs, differentiable in everything. ``auto``: numba on the CPU, else torch."""
    if backend == "auto":
        fast = features.device.type == "cpu" and features.dtype == hidden_weight.dtype == torch.float32
        backend = "numba" if fast else "torch"
    if backend == "numba":
        from dreamfusion3d.field.mlp_numba import mlp_numba

        return mlp_numba(features, hidden_weight, hidden_bias, out_weight, out_bias)
    return F.linear(F.relu(F.linear(features, hidden_weight, hidden_bias)), out_weight, out_bias)
