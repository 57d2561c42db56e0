"""A VAE encoder as a chain of blocks, from images ``h`` to the latents (or their moments) ``h``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from torch import Tensor

from dreamfusion3d.memory.checkpointed import Activations, Block

Layer = Callable[[Tensor], Tensor]


def is_tiny_autoencoder(vae: Any) -> bool:
    """Return True for an AutoencoderTiny."""
    return hasattr(vae.config, "encoder_block_out_channels")


def vae_encoder_blocks(vae: Any) -> list[Block]:
    """Split ``encode`` of an AutoencoderKL or AutoencoderTiny into blocks, in order."""

    def apply(layer: Layer, state: Activations) -> Activations:
        return {"h": layer(state["h"])}

    return [Block(name, functools.partial(apply, layer)) for name, layer in _encoder_layers(vae)]


def _encoder_layers(vae: Any) -> list[tuple[str, Layer]]:
    encoder = vae.encoder
    if is_tiny_autoencoder(vae):
        first, *others = encoder.layers
        return [("in", lambda h: first(h.add(1).div(2))), *(("layer", layer) for layer in others)]
    layers: list[tuple[str, Layer]] = [("in", encoder.conv_in)]
    for depth, down in enumerate(encoder.down_blocks):
        if getattr(down, "attentions", None):  # a different layer order: kept as one block
            layers.append((f"down{depth}", down))
            continue
        *firsts, last = down.resnets
        layers += [(f"down{depth}", functools.partial(_apply_resnet, resnet)) for resnet in firsts]
        # merged with the downsampler, which frees its input once padded: a separate block would count the
        # input as kept
        downsamplers = list(down.downsamplers or [])
        layers.append((f"down{depth}", functools.partial(_resnet_and_downsample, last, downsamplers)))
    first, *others = encoder.mid_block.resnets
    layers.append(("middle", functools.partial(_apply_resnet, first)))
    for attention, resnet in zip(encoder.mid_block.attentions, others, strict=True):
        if attention is not None:
            layers.append(("middle", attention))
        layers.append(("middle", functools.partial(_apply_resnet, resnet)))

    def out(h: Tensor) -> Tensor:
        h = encoder.conv_out(encoder.conv_act(encoder.conv_norm_out(h)))
        return h if vae.quant_conv is None else vae.quant_conv(h)

    return [*layers, ("out", out)]


def _resnet_and_downsample(resnet: Any, downsamplers: list[Layer], h: Tensor) -> Tensor:
    h = _apply_resnet(resnet, h)
    for downsampler in downsamplers:
        h = downsampler(h)
    return h


def _apply_resnet(resnet: Any, h: Tensor) -> Tensor:
    return resnet(h, temb=None)
