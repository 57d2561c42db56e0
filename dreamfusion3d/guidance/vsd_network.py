"""Score network of VSD: learns how the prediction for given images differs from a frozen prior's.

A two-level U-Net at half the image's resolution. Its inputs are x_t, the prior's prediction of x_0, the time and the
images' condition. Its last layer is initialized to zero, so it begins as the prior itself. It works at any size; on a
single pixel it is a perceptron.
"""

from __future__ import annotations

import math
from typing import TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

LayerT = TypeVar("LayerT", nn.Conv2d, nn.Linear)

NUM_LEVELS = 2
NUM_FREQUENCIES = 6  # of the time embedding: sines and cosines of pi t, 2 pi t, 4 pi t, ...
TIME_FEATURES = 1 + 2 * NUM_FREQUENCIES
MIN_DOWNSAMPLED_SIZE = 8  # images with shorter sides are not downsampled


class VsdNetwork(nn.Module):
    """Predict a correction with ``channels`` in and out, given ``condition`` numbers per image.

    Weights are drawn from ``generator``.
    """

    def __init__(self, channels: int, condition: int, width: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.embed = _make_linear(TIME_FEATURES + condition, width, generator)
        self.into = _make_conv(2 * channels, width, generator)
        self.down = nn.ModuleList(_Block(width, generator) for _ in range(NUM_LEVELS))
        self.middle = _Block(width, generator)
        self.up = nn.ModuleList(_Block(width, generator) for _ in range(NUM_LEVELS))
        self.out = _make_conv(width + 2 * channels, channels, generator, gain=0.0)

    @staticmethod
    def infer_shape(weights: dict[str, Tensor]) -> tuple[int, int]:
        """Infer ``channels`` and ``condition`` from a state dict."""
        return weights["out.weight"].shape[0], weights["embed.weight"].shape[1] - TIME_FEATURES

    def forward(
        self,
        x_t: Float[Tensor, "b c u v"],
        x0: Float[Tensor, "b c u v"],
        t: Float[Tensor, " b"],
        condition: Float[Tensor, "b d"],
    ) -> Float[Tensor, "b c u v"]:
        angles = t[:, None] * (math.pi * 2.0 ** torch.arange(NUM_FREQUENCIES, device=t.device))
        embedding = F.silu(self.embed(torch.cat([t[:, None], angles.sin(), angles.cos(), condition], 1)))
        inputs = torch.cat([x_t, x0], 1)
        h = _downsample(self.into(inputs))
        skips = []
        for block in self.down:
            h = block(h, embedding)
            skips.append(h)
            h = _downsample(h)
        h = self.middle(h, embedding)
        for block, skip in zip(self.up, reversed(skips), strict=True):
            h = block(F.interpolate(h, size=skip.shape[-2:]) + skip, embedding)
        h = F.interpolate(h, size=inputs.shape[-2:])
        return self.out(torch.cat([F.silu(h), inputs], 1))


class _Block(nn.Module):
    """Residual block with features scaled and shifted by the embedding (FiLM, arXiv 1709.07871)."""

    def __init__(self, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.film = _make_linear(width, 2 * width, generator)
        self.first = _make_conv(width, width, generator)
        self.second = _make_conv(width, width, generator, gain=0.5)  # keeps the variance of a sum of blocks

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.film(embedding)[:, :, None, None].chunk(2, 1)
        hidden = self.first(F.silu(h)) * (1 + scale) + shift
        return h + self.second(F.silu(hidden))


def _downsample(h: Tensor) -> Tensor:
    return F.avg_pool2d(h, 2) if min(h.shape[-2:]) >= MIN_DOWNSAMPLED_SIZE else h


def _make_conv(in_channels: int, out_channels: int, generator: torch.Generator, *, gain: float = 1.0) -> nn.Conv2d:
    layer = nn.utils.skip_init(nn.Conv2d, in_channels, out_channels, 3, padding=1, device=generator.device)
    return _init_weights(layer, 9 * in_channels, gain, generator)


def _make_linear(in_features: int, out_features: int, generator: torch.Generator) -> nn.Linear:
    layer = nn.utils.skip_init(nn.Linear, in_features, out_features, device=generator.device)
    return _init_weights(layer, in_features, 1.0, generator)


def _init_weights(layer: LayerT, fan_in: int, gain: float, generator: torch.Generator) -> LayerT:
    """Draw weights of variance gain^2 / fan_in from ``generator``; torch's initialization uses the global one."""
    bound = gain * math.sqrt(3 / fan_in)
    uniform = torch.rand(layer.weight.shape, generator=generator, device=generator.device)
    with torch.no_grad():
        layer.weight.copy_((uniform * 2 - 1) * bound)
        assert layer.bias is not None
        layer.bias.zero_()
    return layer
