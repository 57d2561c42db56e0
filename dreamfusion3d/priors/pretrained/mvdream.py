"""MVDream's own U-Net read as diffusers' one: the same network, whose tensors have other names.

Published folders of MVDream name a class of their own, ``MultiViewUNetModel``, whose program would have to be
fetched and run. Nothing of it is needed. It is Stable Diffusion's U-Net as latent diffusion names its parts
(Rombach et al., arXiv 2112.10752), with a perceptron for the camera beside the one for the time
(Shi et al., arXiv 2308.16512, section 3.1): ``UNet2DConditionModel`` with a projection as class embedding.

Letters: n residual blocks of a level, l a level from the finest, k a block in latent diffusion's count.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dreamfusion3d.core.errors import InputError

NAME = "MultiViewUNetModel"
# of a residual block; a transformer's tensors have the same names in both
RESNET = {
    "in_layers.0": "norm1", "in_layers.2": "conv1", "emb_layers.1": "time_emb_proj", "out_layers.0": "norm2",
    "out_layers.3": "conv2", "skip_connection": "conv_shortcut",
}
WHOLE = {
    "input_blocks.0.0": "conv_in", "out.0": "conv_norm_out", "out.2": "conv_out",
    "time_embed.0": "time_embedding.linear_1", "time_embed.2": "time_embedding.linear_2",
    "camera_embed.0": "class_embedding.linear_1", "camera_embed.2": "class_embedding.linear_2",
}
# settings of the class that Stable Diffusion's network has no counterpart of
UNLIKE = ("ip_dim", "num_classes", "adm_in_channels", "n_embed", "resblock_updown", "use_scale_shift_norm")
MIDDLE = ("resnets.0", "attentions.0", "resnets.1")
BLOCK = re.compile(r"(input|output)_blocks\.(\d+)\.(\d+)\.(.+)")


def config_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a UNet2DConditionModel for MVDream's config. Raises InputError for a network that has
    no counterpart, KeyError for a config with gaps."""
    unlike = [key for key in UNLIKE if given.get(key)]
    if unlike:
        raise InputError(
            f"this {NAME} is another than MVDream's ({', '.join(unlike)} in its config), as ImageDream's, "
            "which is told a picture too: give MVDream's, as --prior ashawkey/mvdream-sd2.1-diffusers"
        )
    widths = [given["model_channels"] * factor for factor in given["channel_mult"]]
    seeing = [2**level in given["attention_resolutions"] for level in range(len(widths))]
    return {
        "sample_size": given["image_size"], "in_channels": given["in_channels"],
        "out_channels": given["out_channels"], "block_out_channels": tuple(widths),
        "layers_per_block": given["num_res_blocks"],
        "down_block_types": tuple("CrossAttnDownBlock2D" if s else "DownBlock2D" for s in seeing),
        "up_block_types": tuple("CrossAttnUpBlock2D" if s else "UpBlock2D" for s in reversed(seeing)),
        "transformer_layers_per_block": given.get("transformer_depth", 1),
        "cross_attention_dim": given["context_dim"], "use_linear_projection": True,
        # diffusers calls the number of heads their dimension
        "attention_head_dim": tuple(width // given["num_head_channels"] for width in widths),
        "class_embed_type": "projection", "projection_class_embeddings_input_dim": given["camera_dim"],
    }


def renamed(tensors: Mapping[str, Tensor], layers: int) -> dict[str, Tensor]:
    """``tensors`` under diffusers' names; ``layers`` is n."""
    return {_name(old, layers): tensor for old, tensor in tensors.items()}


def _name(old: str, n: int) -> str:
    path, _, kind = old.rpartition(".")
    if path in WHOLE:
        return f"{WHOLE[path]}.{kind}"
    if old.startswith("middle_block."):
        _, which, rest = old.split(".", 2)
        return f"mid_block.{MIDDLE[int(which)]}.{_inner(rest)}"
    match = BLOCK.fullmatch(old)
    if match is None:
        return old
    side, k, place, rest = match[1], int(match[2]), int(match[3]), match[4]
    if side == "input":
        level, layer = divmod(k - 1, n + 1)
        block = f"down_blocks.{level}"
        if rest.startswith("op."):
            return f"{block}.downsamplers.0.conv.{kind}"
    else:
        level, layer = divmod(k, n + 1)
        block = f"up_blocks.{level}"
        if rest.startswith("conv."):
            return f"{block}.upsamplers.0.conv.{kind}"
    return f"{block}.{'attentions' if place else 'resnets'}.{layer}.{_inner(rest)}"


def _inner(rest: str) -> str:
    path, _, kind = rest.rpartition(".")
    return f"{RESNET.get(path, path)}.{kind}"


def build(given: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Any:
    """A UNet2DConditionModel with these weights, on the CPU, in their precision.

    Raises InputError for another network than MVDream's; KeyError, RuntimeError or others for damage."""
    from diffusers import UNet2DConditionModel

    config = config_of(given)
    with torch.device("meta"):
        unet = UNet2DConditionModel(**config)
    unet.load_state_dict(renamed(tensors, config["layers_per_block"]), assign=True)
    return unet
