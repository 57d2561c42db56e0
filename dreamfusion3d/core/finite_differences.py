"""Gradients of black-box functions by finite differences."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor


def unit_gradient(
    function: Callable[[Float[Tensor, "n 3"]], Float[Tensor, " n"]], points: Float[Tensor, "n 3"], epsilon: float
) -> Float[Tensor, "n 3"]:
    """Return unit gradients from four samples, at the corners of a tetrahedron about each point.

    Half as many as central differences (Quilez, iquilezles.org/articles/normalsSDF). Where the gradient vanishes, so
    does the result.

    Args:
        epsilon: offset of the corners along each axis, in the units of ``points``.
    """
    gradient = torch.zeros_like(points)
    for corner in points.new_tensor([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]]):
        gradient += corner * function(points + epsilon * corner)[:, None]
    return gradient / gradient.norm(dim=-1, keepdim=True).clamp(min=1e-9)
