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
UNSUPPORTED_SETTINGS = "ip_dim num_classes adm_in_channels n_embed resblock_updown use_scale_shift_norm".split()
MID_BLOCK_PARTS = ("resnets.0", "attentions.0", "resnets.1")
BLOCK_PATTERN = re.compile(r"(input|output)_blocks\.(\d+)\.(\d+)\.(.+)")


def convert_mvdream_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Translate MVDream's config into the arguments of UNet2DConditionModel.

    Raises InputError if the network has no counterpart in diffusers, KeyError if the config is incomplete.
    """
    if unsupported := [key for key in UNSUPPORTED_SETTINGS if config.get(key)]:
        raise InputError(
            f"this {MVDREAM_CLASS} is not MVDream's ({', '.join(unsupported)} in its config), e.g. ImageDream's, which "
            "also takes an image: use MVDream, e.g. --prior ashawkey/mvdream-sd2.1-diffusers"
        )
    widths = [config["model_channels"] * factor for factor in config["channel_mult"]]
    has_attention = [2**level in config["attention_resolutions"] for level in range(len(widths))]
    return {
        "sample_size": config["image_size"],
        "in_channels": config["in_channels"],
        "out_channels": config["out_channels"],
        "block_out_channels": tuple(widths),
        "layers_per_block": config["num_res_blocks"],
        "down_block_types": tuple("CrossAttnDownBlock2D" if s else "DownBlock2D" for s in has_attention),
        "up_block_types": tuple("CrossAttnUpBlock2D" if s else "UpBlock2D" for s in reversed(has_attention)),
        "transformer_layers_per_block": config.get("transformer_depth", 1),
        "cross_attention_dim": config["context_dim"],
        "use_linear_projection": True,
        # the number of heads, despite its name in diffusers
        "attention_head_dim": tuple(width // config["num_head_channels"] for width in widths),
        "class_embed_type": "projection",
        "projection_class_embeddings_input_dim": config["camera_dim"],
    }


def _convert_key(key: str, num_layers: int) -> str:
    """Rename a tensor to diffusers' key; ``num_layers`` is the number of residual blocks per level."""
    path, _, suffix = key.rpartition(".")
    if path in TOP_LEVEL_KEYS:
        return f"{TOP_LEVEL_KEYS[path]}.{suffix}"
    if key.startswith("middle_block."):
        _, index, rest = key.split(".", 2)
        return f"mid_block.{MID_BLOCK_PARTS[int(index)]}.{_convert_resnet_key(rest)}"
    if (match := BLOCK_PATTERN.fullmatch(key)) is None:
        return key
    side, block_index, position, rest = match[1], int(match[2]), int(match[3]), match[4]
    down = side == "input"
    level, layer = divmod(block_index - down, num_layers + 1)  # the first input block is conv_in
    block = f"{'down' if down else 'up'}_blocks.{level}"
    if rest.startswith("op." if down else "conv."):
        return f"{block}.{'down' if down else 'up'}samplers.0.conv.{suffix}"
    return f"{block}.{'attentions' if position else 'resnets'}.{layer}.{_convert_resnet_key(rest)}"


def _convert_resnet_key(key: str) -> str:
    path, _, suffix = key.rpartition(".")
    return f"{RESNET_KEYS.get(path, path)}.{suffix}"


def build_mvdream_unet(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Any:
    """Build a UNet2DConditionModel with these weights, on the CPU and in their precision.

    Raises InputError if the network is not MVDream's, KeyError or RuntimeError if it is damaged.
    """
    from diffusers import UNet2DConditionModel

    arguments = convert_mvdream_config(config)
    with torch.device("meta"):
        unet = UNet2DConditionModel(**arguments)
    num_layers = arguments["layers_per_block"]
    unet.load_state_dict({_convert_key(key, num_layers): t for key, t in tensors.items()}, assign=True)
    return unet
