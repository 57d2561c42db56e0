"""Conversion of MVDream's U-Net to diffusers' UNet2DConditionModel: the same network, renamed tensors.

Published MVDream folders name a custom class, ``MultiViewUNetModel``, whose code would have to be downloaded
and run. The network is Stable Diffusion's U-Net under the names of the latent diffusion code (Rombach et al.,
arXiv 2112.10752), with an MLP for the camera beside the one for the time (Shi et al., arXiv 2308.16512,
section 3.1): a ``UNet2DConditionModel`` with a projection as class embedding.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dreamfusion3d.core.errors import InputError

MVDREAM_CLASS = "MultiViewUNetModel"
# inside a residual block; transformer tensors have the same names in both libraries
RESNET_KEYS = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
TOP_LEVEL_KEYS = {
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "camera_embed.0": "class_embedding.linear_1",
    "camera_embed.2": "class_embedding.linear_2",
}
# settings without a counterpart in Stable Diffusion's network
UNSUPPORTED_SETTINGS = (
    "ip_dim",
    "num_classes",
    "adm_in_channels",
    "n_embed",
    "resblock_updown",
    "use_scale_shift_norm",
)
MID_BLOCK_PARTS = ("resnets.0", "attentions.0", "resnets.1")
BLOCK_PATTERN = re.compile(r"(input|output)_blocks\.(\d+)\.(\d+)\.(.+)")


def convert_mvdream_config(mvdream_config: Mapping[str, Any]) -> dict[str, Any]:
    """Translate MVDream's config into the arguments of UNet2DConditionModel.

    Raises InputError if the network has no counterpart in diffusers, KeyError if the config is incomplete.
    """
    unsupported = [key for key in UNSUPPORTED_SETTINGS if mvdream_config.get(key)]
    if unsupported:
        raise InputError(
            f"this {MVDREAM_CLASS} is not MVDream's ({', '.join(unsupported)} in its config), e.g. ImageDream's, which "
            "also takes an image: use MVDream, e.g. --prior ashawkey/mvdream-sd2.1-diffusers"
        )
    widths = [mvdream_config["model_channels"] * factor for factor in mvdream_config["channel_mult"]]
    has_attention = [2**level in mvdream_config["attention_resolutions"] for level in range(len(widths))]
    return {
        "sample_size": mvdream_config["image_size"],
        "in_channels": mvdream_config["in_channels"],
        "out_channels": mvdream_config["out_channels"],
        "block_out_channels": tuple(widths),
        "layers_per_block": mvdream_config["num_res_blocks"],
        "down_block_types": tuple("CrossAttnDownBlock2D" if s else "DownBlock2D" for s in has_attention),
        "up_block_types": tuple("CrossAttnUpBlock2D" if s else "UpBlock2D" for s in reversed(has_attention)),
        "transformer_layers_per_block": mvdream_config.get("transformer_depth", 1),
        "cross_attention_dim": mvdream_config["context_dim"],
        "use_linear_projection": True,
        # the number of heads, despite its name in diffusers
        "attention_head_dim": tuple(width // mvdream_config["num_head_channels"] for width in widths),
        "class_embed_type": "projection",
        "projection_class_embeddings_input_dim": mvdream_config["camera_dim"],
    }


def convert_mvdream_state_dict(tensors: Mapping[str, Tensor], num_layers: int) -> dict[str, Tensor]:
    """Rename ``tensors`` to diffusers' keys; ``num_layers`` is the number of residual blocks per level."""
    return {_convert_key(key, num_layers): tensor for key, tensor in tensors.items()}


def _convert_key(key: str, num_layers: int) -> str:
    path, _, suffix = key.rpartition(".")
    if path in TOP_LEVEL_KEYS:
        return f"{TOP_LEVEL_KEYS[path]}.{suffix}"
    if key.startswith("middle_block."):
        _, index, rest = key.split(".", 2)
        return f"mid_block.{MID_BLOCK_PARTS[int(index)]}.{_convert_resnet_key(rest)}"
    match = BLOCK_PATTERN.fullmatch(key)
    if match is None:
        return key
    side, block_index, position, rest = match[1], int(match[2]), int(match[3]), match[4]
    if side == "input":
        level, layer = divmod(block_index - 1, num_layers + 1)
        block = f"down_blocks.{level}"
        if rest.startswith("op."):
            return f"{block}.downsamplers.0.conv.{suffix}"
    else:
        level, layer = divmod(block_index, num_layers + 1)
        block = f"up_blocks.{level}"
        if rest.startswith("conv."):
            return f"{block}.upsamplers.0.conv.{suffix}"
    return f"{block}.{'attentions' if position else 'resnets'}.{layer}.{_convert_resnet_key(rest)}"


def _convert_resnet_key(key: str) -> str:
    path, _, suffix = key.rpartition(".")
    return f"{RESNET_KEYS.get(path, path)}.{suffix}"


def build_mvdream_unet(mvdream_config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Any:
    """Build a UNet2DConditionModel with these weights, on the CPU and in their precision.

    Raises InputError if the network is not MVDream's, KeyError or RuntimeError if it is damaged.
    """
    from diffusers import UNet2DConditionModel

    unet_config = convert_mvdream_config(mvdream_config)
    with torch.device("meta"):
        unet = UNet2DConditionModel(**unet_config)
    unet.load_state_dict(convert_mvdream_state_dict(tensors, unet_config["layers_per_block"]), assign=True)
    return unet
