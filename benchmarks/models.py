"""Published diffusion models as sizes alone: their configs, with random weights made where they compute.

Nothing is downloaded and nothing saved. The priors come from the package's own loader
(``families.load``), whose folder is stood in for; a text encoder is never built.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from dreamfusion3d.core.config import PriorConfig
from dreamfusion3d.priors.pretrained import families
from dreamfusion3d.priors.pretrained.diffusion_prior import DiffusionPrior
from dreamfusion3d.priors.pretrained.text_encoders import CLIP_TOKENS
from dreamfusion3d.priors.protocol import TextEmbedding

Options = dict[str, Any]


@dataclass(frozen=True)
class Model:
    """What a folder in diffusers' format would say, and the preset that a user would take with it."""

    pipeline: str
    preset: str
    unet: Options
    scheduler: Options
    width: int  # of an encoded token
    pooled: int | None = None  # of the sentence's vector
    vae: Options | None = None


# stabilityai/stable-diffusion-2-1-base: unet/config.json, 866 M parameters
_SD21: Options = {
    "_class_name": families.UNET_CLASS,
    "sample_size": 64,
    "block_out_channels": (320, 640, 1280, 1280),
    "attention_head_dim": (5, 10, 20, 20),
    "cross_attention_dim": 1024,
    "use_linear_projection": True,
}
# stabilityai/stable-diffusion-xl-base-1.0: unet/config.json, 2567 M parameters
_SDXL: Options = {
    "_class_name": families.UNET_CLASS,
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
# DeepFloyd/IF-I-M-v1.0: unet/config.json by diffusers' convert_if.py, 372 M parameters (the card
# says 400); the width of its cross-attention is 4 x 192, as IF-I-XL's is 4 x 704
_IF_M: Options = {
    "_class_name": families.UNET_CLASS,
    "sample_size": 64,
    "in_channels": 3,
    "out_channels": 6,
    "block_out_channels": (192, 384, 576, 768),
    "layers_per_block": 3,
    "attention_head_dim": 64,
    "down_block_types": ("ResnetDownsampleBlock2D", *("SimpleCrossAttnDownBlock2D",) * 3),
    "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
    "up_block_types": (*("SimpleCrossAttnUpBlock2D",) * 3, "ResnetUpsampleBlock2D"),
    "cross_attention_dim": 768,
    "encoder_hid_dim": 4096,
    "cross_attention_norm": "group_norm",
    "addition_embed_type": "text",
    "act_fn": "gelu",
    "resnet_time_scale_shift": "scale_shift",
}
# the VAE of both Stable Diffusions (84 M parameters), which scale its latents differently
_VAE: Options = {
    "_class_name": "AutoencoderKL",
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "scaling_factor": 0.18215,
}
_TAESD: Options = {"_class_name": "AutoencoderTiny"}  # madebyollin/taesd: the class's own defaults
_DDPM: Options = {
    "_class_name": "DDIMScheduler",
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
}
_COSINE: Options = {"_class_name": "DDPMScheduler", "beta_schedule": "squaredcos_cap_v2"}

_SD21_MODEL = Model("StableDiffusionPipeline", "dreamfusion-sd", _SD21, _DDPM, 1024, vae=_VAE)
MODELS = {
    "sd21": _SD21_MODEL,
    "sd21-tiny-vae": dataclasses.replace(_SD21_MODEL, vae=_TAESD),
    "if-m": Model("IFPipeline", "dreamfusion-if", _IF_M, _COSINE, 4096),
    # no preset is made for SDXL
    "sdxl": Model(
        "StableDiffusionXLPipeline", "dreamfusion-sd", _SDXL, _DDPM, 2048, 1280, {**_VAE, "scaling_factor": 0.13025}
    ),
}
# stabilityai/stable-diffusion-3-medium-diffusers: transformer/config.json, 2028 M parameters. Its sizes alone
# are counted (``benchmarks.cost``); the steps of ``benchmarks.sds`` are not timed with it.
SD3 = Model(
    "StableDiffusion3Pipeline",
    "dreamfusion-sd",
    {
        "_class_name": "SD3Transformer2DModel",
        "sample_size": 128,
        "patch_size": 2,
        "in_channels": 16,
        "out_channels": 16,
        "num_layers": 24,
        "attention_head_dim": 64,
        "num_attention_heads": 24,
        "joint_attention_dim": 4096,
        "caption_projection_dim": 1536,
        "pooled_projection_dim": 2048,
        "pos_embed_max_size": 192,
    },
    {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0},
    4096,
    2048,
    {**_VAE, "latent_channels": 16, "scaling_factor": 1.5305, "shift_factor": 0.0609},
)


def shrunk(model: Model) -> Model:
    """The same blocks with few channels and pictures of 64 pixels at most, for a try on a CPU."""
    unet = {
        **model.unet,
        "sample_size": 8 if model.vae else 16,
        "norm_num_groups": 4,
        "attention_head_dim": 4,
        "block_out_channels": (8,) * (len(model.unet["block_out_channels"]) - 1) + (16,),
        "layers_per_block": 1,
    }
    if "transformer_layers_per_block" in unet:
        unet["transformer_layers_per_block"] = 1
    vae = model.vae and dict(model.vae)
    if vae and "block_out_channels" in vae:
        vae |= {"block_out_channels": (8,) * 4, "layers_per_block": 1, "norm_num_groups": 4}
    return dataclasses.replace(model, unet=unet, vae=vae)


class _UnsavedFolder:
    """A ``DiffusersFolder`` without files: the configs of ``model`` and random weights."""

    path = Path("random")

    def __init__(self, model: Model, device: torch.device) -> None:
        self.parts = {"unet": model.unet, "scheduler": model.scheduler, "vae": model.vae}
        self.pipeline, self.device = model.pipeline, device

    def index(self) -> Options:
        return {"_class_name": self.pipeline}

    def has_part(self, part: str) -> bool:
        return bool(self.parts.get(part))

    def config(self, part: str) -> Options:
        return dict(self.parts[part] or {})

    def part_files(self, parts: Iterable[str]) -> list[Path]:
        return []

    def load_module(self, part: str, model_class: Any, dtype: torch.dtype) -> Any:
        """Create the module on the device in its dtype, without a float32 copy on the CPU."""
        options, default_dtype = self.config(part), torch.get_default_dtype()
        del options["_class_name"]
        torch.set_default_dtype(dtype)
        try:
            with self.device:
                return model_class(**options).eval().requires_grad_(False)
        finally:
            torch.set_default_dtype(default_dtype)


class _RandomTexts:
    """A prompt encoder that returns random numbers in the shape of encoded prompts."""

    def __init__(self, model: Model, device: torch.device) -> None:
        self.model, self.device = model, device

    def check_prompt(self, prompt: str) -> list[str]:
        return []

    def encode(self, prompts: list[str]) -> TextEmbedding:
        n, pooled = len(prompts), self.model.pooled
        return TextEmbedding(
            torch.randn(n, CLIP_TOKENS, self.model.width, device=self.device),
            torch.randn(n, pooled, device=self.device) if pooled else None,
        )


def random_prior(model: Model, settings: PriorConfig, device: torch.device) -> DiffusionPrior:
    """Return the prior that the loader makes of such a folder."""
    folder = _UnsavedFolder(model, device)
    with mock.patch.object(families, "DiffusersFolder", lambda path, variant=None: folder):
        prior = families.load_diffusion_prior(folder.path, "random", settings, device)
    prior.prompt_encoder = _RandomTexts(model, device)
    return prior
