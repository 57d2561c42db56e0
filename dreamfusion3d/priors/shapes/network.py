"""A network from a point and the code of an instance to the signed distance of each part.

As DeepSDF (Park et al., arXiv 1901.05103), but one small network per category, whose code is not learned: the numbers
that a procedural object is drawn from. Besides its coordinates, a point is given by their absolute values and by its
distances to the three axes, in which mirrored and turned shapes are simple; ReLU layers are linear in pieces, so that
flat faces are flat and edges sharp.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dreamfusion3d.procedural.objects import ObjectBatch

DEFAULT_FREQUENCIES = 2
QUERY_CHUNK = 1 << 13  # points whose activations stay in a processor's cache


class ShapeNetwork(nn.Module):
    """Map points in the frame of the shape functions and codes to signed distances (n, p), in scene units.

    Example:
        >>> network = ShapeNetwork(code_size=8, num_parts=2)
        >>> network(torch.zeros(5, 3), torch.zeros(5, 8)).shape
        torch.Size([5, 2])
    """

    def __init__(
        self, code_size: int, num_parts: int, width: int = 96, layers: int = 5, frequencies: int = DEFAULT_FREQUENCIES
    ) -> None:
        super().__init__()
        self.config = {"code_size": code_size, "num_parts": num_parts, "width": width, "layers": layers}
        if frequencies != DEFAULT_FREQUENCIES:
            self.config["frequencies"] = frequencies
        self.frequencies, self._features = frequencies, 9 + 6 * frequencies
        self.first = nn.Linear(self._features + code_size, width)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(layers - 1))
        num_codes = layers - 1 if code_size else 0
        self.code = nn.ModuleList(nn.Linear(code_size, width, bias=False) for _ in range(num_codes))
        self.last = nn.Linear(width, num_parts)

    def forward(self, points: Float[Tensor, "n 3"], code: Float[Tensor, "#n k"]) -> Float[Tensor, "n p"]:
        features = point_features(points, self.frequencies)
        first, rest = self.first.weight.split([self._features, code.shape[1]], 1)
        # a code that all points share is multiplied once
        x = F.relu(F.linear(features, first, self.first.bias) + F.linear(code, rest))
        for hidden, shift in zip(self.hidden, self._shifts(code), strict=True):
            x = x + F.relu(hidden(x) + shift)
        return self.last(x)

    def query(self, points: Float[Tensor, "n 3"], code: Float[Tensor, "1 k"]) -> Float[Tensor, "n p"]:
        """Return ``self(points, code)`` without gradients: twice as fast, with the code folded into the biases."""
        first, rest = self.first.weight.split([self._features, code.shape[1]], 1)
        biases = [F.linear(code, rest, self.first.bias)[0]]
        for layer, shift in zip(self.hidden, self._shifts(code), strict=True):
            biases.append(layer.bias + shift[0])  # type: ignore[operator]
        chunks = []
        for chunk in points.split(QUERY_CHUNK):
            x = F.linear(point_features(chunk, self.frequencies), first, biases[0]).relu_()
            for layer, bias in zip(self.hidden, biases[1:], strict=True):
                x += F.linear(x, layer.weight, bias).relu_()  # type: ignore[arg-type]
            chunks.append(self.last(x))
        return torch.cat(chunks)

    def _shifts(self, code: Float[Tensor, "#n k"]) -> list[Tensor]:
        """What the code adds to each hidden layer."""
        return [shift(code) for shift in self.code] or [code.new_zeros(1, 1)] * len(self.hidden)


def point_features(points: Float[Tensor, "n 3"], frequencies: int = DEFAULT_FREQUENCIES) -> Float[Tensor, "n f"]:
    """Return coordinates, their absolute values, distances to the axes, and sines of some frequencies."""
    squares = points * points + 1e-8  # differentiable on the axes
    to_axes = torch.stack([squares[:, i] + squares[:, j] for i, j in ((0, 2), (0, 1), (1, 2))], 1).sqrt()
    waves = [
        wave(points * (math.pi * 2**k)) * 0.5 / 2**k for k in range(frequencies) for wave in (torch.sin, torch.cos)
    ]
    return torch.cat([points, points.abs(), to_axes, *waves], 1)


def object_code(objects: ObjectBatch) -> Float[Tensor, "n k"]:
    """Return the code of each object: its variation, and its count, option and style as indicators."""
    category = objects.category
    count = [(objects.count == c).float() for c in category.counts]
    style = [(objects.style == s).float() for s in range(category.num_styles)]
    return torch.cat([objects.variation, torch.stack([*count, *style, objects.option], 1)], 1)
