"""The small network beside a frozen prior that learns how given pictures differ from its own.

A U-Net of two levels at half the picture's resolution. It sees x_t, the prior's prediction of
x_0, the time and the pictures' condition; its last layer begins at zero, so that it begins as
the prior itself. It works at any size, down to a single pixel, where it is a perceptron.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

LEVELS = 2
WAVES = 6  # of the time: sines and cosines at 1, 2, 4, ... half turns
TIMES = 1 + 2 * WAVES
SMALLEST = 8  # pixels along a side below which pictures are not halved


class ScoreNetwork(nn.Module):
    """``channels`` in and out, ``condition`` numbers a picture; the same generator, the same weights."""

    def __init__(self, channels: int, condition: int, width: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.embed = _linear(TIMES + condition, width, generator)
        self.into = _convolution(2 * channels, width, generator)
        self.down = nn.ModuleList(_Block(width, generator) for _ in range(LEVELS))
        self.middle = _Block(width, generator)
        self.up = nn.ModuleList(_Block(width, generator) for _ in range(LEVELS))
        self.out = _convolution(width + 2 * channels, channels, generator, gain=0.0)

    @staticmethod
    def shape_of(weights: dict[str, Tensor]) -> tuple[int, int]:
        """``channels`` and ``condition`` of the network that these weights are of."""
        return weights["out.weight"].shape[0], weights["embed.weight"].shape[1] - TIMES

    def forward(
        self, x_t: Float[Tensor, "b c u v"], x0: Float[Tensor, "b c u v"], t: Float[Tensor, " b"],
        condition: Float[Tensor, "b d"],
    ) -> Float[Tensor, "b c u v"]:
        waves = t[:, None] * (math.pi * 2.0 ** torch.arange(WAVES, device=t.device))
        told = F.silu(self.embed(torch.cat([t[:, None], waves.sin(), waves.cos(), condition], 1)))
        seen = torch.cat([x_t, x0], 1)
        h = _halved(self.into(seen))
        skips = []
        for block in self.down:
            h = block(h, told)
            skips.append(h)
            h = _halved(h)
        h = self.middle(h, told)
        for block, skip in zip(self.up, reversed(skips), strict=True):
            h = block(F.interpolate(h, size=skip.shape[-2:]) + skip, told)
        h = F.interpolate(h, size=seen.shape[-2:])
        return self.out(torch.cat([F.silu(h), seen], 1))


class _Block(nn.Module):
    """A residual block whose features are scaled and shifted by what it is told (FiLM, arXiv 1709.07871)."""

    def __init__(self, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.told = _linear(width, 2 * width, generator)
        self.first = _convolution(width, width, generator)
        self.second = _convolution(width, width, generator, gain=0.5)  # sums of blocks keep their size

    def forward(self, h: Tensor, told: Tensor) -> Tensor:
        scale, shift = self.told(told)[:, :, None, None].chunk(2, 1)
        inner = self.first(F.silu(h)) * (1 + scale) + shift
        return h + self.second(F.silu(inner))


def _halved(h: Tensor) -> Tensor:
    return F.avg_pool2d(h, 2) if min(h.shape[-2:]) >= SMALLEST else h


def _convolution(into: int, out: int, generator: torch.Generator, *, gain: float = 1.0) -> nn.Conv2d:
    layer = nn.utils.skip_init(nn.Conv2d, into, out, 3, padding=1, device=generator.device)
    return _filled(layer, 9 * into, gain, generator)


def _linear(into: int, out: int, generator: torch.Generator) -> nn.Linear:
    layer = nn.utils.skip_init(nn.Linear, into, out, device=generator.device)
    return _filled(layer, into, 1.0, generator)


def _filled(layer, fan_in: int, gain: float, generator: torch.Generator):  # type: ignore[no-untyped-def]
    """Weights of variance gain^2 / fan_in from ``generator`` (torch's own would draw from the global one)."""
    bound = gain * math.sqrt(3 / fan_in)
    with torch.no_grad():
        layer.weight.copy_((torch.rand(layer.weight.shape, generator=generator,
                                       device=generator.device) * 2 - 1) * bound)
        layer.bias.zero_()
    return layer
