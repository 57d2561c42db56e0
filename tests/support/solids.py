"""Solids whose distance is exact."""

from __future__ import annotations

import torch


class Box:
    """A box with sharp edges, as an exact distance."""

    half = torch.tensor([0.5, 0.3, 0.4])
    instance = {}
    height = None

    def density(self, x):
        return (-self.distance(x)).clamp(min=0)

    def albedo(self, x):
        return torch.full_like(x, 0.5)

    def appearance(self, x):
        return torch.full((len(x), 5), 0.5)

    def distance(self, x):
        q = x.abs() - self.half
        return q.clamp(min=0).norm(dim=1) + q.amax(1).clamp(max=0)


class TurnedBox(Box):
    """The same box, about no axis of the grid."""

    axes = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0)))[0]

    def distance(self, x):
        return super().distance(x @ self.axes)


class TwoBoxes(Box):
    """A box and, apart from it, a smaller one of a sixth of its size."""

    def distance(self, x):
        small = super().distance(6 * (x - x.new_tensor([0.8, 0.0, 0.0]))) / 6
        return torch.minimum(super().distance(x), small)


class NearBoxes(TwoBoxes):
    """A box, and above it at a hundredth of a scene unit one of a sixth of its size."""

    def distance(self, x):
        small = Box.distance(self, 6 * (x - x.new_tensor([0.0, self.half[1] * (7 / 6) + 0.01, 0.0]))) / 6
        return torch.minimum(Box.distance(self, x), small)
