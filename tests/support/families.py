"""Tiny random models of every family, saved in diffusers' format within seconds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from safetensors.torch import save_file

from dreamfusion3d.core.files import write_json
from dreamfusion3d.priors.pretrained import mvdream

WORDS = "a red blue mug chair vase front side back overhead view ugly , broken .".split()
SHA = "0123456789abcdef0123456789abcdef01234567"  # the only commit in the fake hub cache
WIDTH, POOLED = 16, 8
FAMILIES = ("sd", "sd_v", "sdxl", "if", "sd3", "sd3_no_t5", "flux", "flux_schnell", "mvdream")


def clip_tokenizer() -> Any:
    """Tokenize into letters: enough to tell prompts apart."""
    letters = [*"abcdefghijklmnopqrstuvwxyz,."]
    vocab = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return transformers.CLIPTokenizer(vocab={token: i for i, token in enumerate(vocab)}, merges=[], model_max_length=77)


def t5_tokenizer() -> Any:
    """Tokenize into whole words, as Unigram pieces."""
    pieces = [*WORDS, *(f"\u2581{word}" for word in WORDS), "\u2581"]
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0)]
    return transformers.T5TokenizerFast(vocab=[*special, *((piece, -3.0) for piece in pieces)], extra_ids=0)


def clip_text_encoder(*, projected: bool = False) -> Any:
    config = transformers.CLIPTextConfig(
        vocab_size=60,
        hidden_size=WIDTH,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=77,
        projection_dim=POOLED,
        bos_token_id=58,
        eos_token_id=59,
        pad_token_id=59,
    )
    return (transformers.CLIPTextModelWithProjection if projected else transformers.CLIPTextModel)(config)


def t5_encoder() -> Any:
    return transformers.T5EncoderModel(
        transformers.T5Config(
            vocab_size=4 + 2 * len(WORDS), d_model=2 * WIDTH, d_kv=8, d_ff=16, num_layers=1, num_heads=2
        )
    )


def vae(latents: int = 4, **options: Any) -> Any:
    return diffusers.AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=latents,
        norm_num_groups=4,
        sample_size=16,
        scaling_factor=0.5,
        **options,
    )


def tiny_vae() -> Any:
    return diffusers.AutoencoderTiny(
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
        latent_channels=4,
    )


def unet(**options: Any) -> Any:
    settings: dict[str, Any] = {
        "sample_size": 8,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "attention_head_dim": 2,
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "cross_attention_dim": WIDTH,
    }
    return diffusers.UNet2DConditionModel(**{**settings, **options})


def sd3_transformer() -> Any:
    return diffusers.SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=2 * WIDTH,
        caption_projection_dim=16,
        pooled_projection_dim=2 * POOLED,
        out_channels=4,
        pos_embed_max_size=8,
    )


def flux_transformer(guidance: bool) -> Any:
    return diffusers.FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=2 * WIDTH,
        pooled_projection_dim=WIDTH,
        guidance_embeds=guidance,
        axes_dims_rope=(4, 4, 8),
    )


def make_parts(family: str) -> tuple[str, dict[str, Any]]:
    """Return the pipeline class and its parts; None is a part that the model omits."""
    ddpm = diffusers.DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    flow = diffusers.FlowMatchEulerDiscreteScheduler()
    words = {"tokenizer": clip_tokenizer(), "text_encoder": clip_text_encoder()}
    if family in ("sd", "sd_v", "mvdream"):
        pipeline_class = "MVDreamPipeline" if family == "mvdream" else "StableDiffusionPipeline"
        scheduler: Any = ddpm
        if family == "sd_v":  # like SD 2: another sampler, velocity prediction
            scheduler = diffusers.DDIMScheduler.from_config(ddpm.config, prediction_type="v_prediction")
        camera_options = {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 16}
        network = unet(**(camera_options if family == "mvdream" else {}))
        return pipeline_class, {"unet": network, "scheduler": scheduler, "vae": vae(), **words}
    if family == "sdxl":
        network = unet(
            cross_attention_dim=2 * WIDTH,
            addition_embed_type="text_time",
            addition_time_embed_dim=4,
            projection_class_embeddings_input_dim=6 * 4 + POOLED,
            transformer_layers_per_block=(1, 1),
        )
        scheduler = diffusers.EulerDiscreteScheduler.from_config(ddpm.config)
        second = {"tokenizer_2": clip_tokenizer(), "text_encoder_2": clip_text_encoder(projected=True)}
        parts = {"unet": network, "scheduler": scheduler, "vae": vae(force_upcast=True)}
        return "StableDiffusionXLPipeline", {**parts, **words, **second}
    if family == "if":
        network = unet(in_channels=3, out_channels=6, sample_size=16, cross_attention_dim=2 * WIDTH)
        scheduler = diffusers.DDPMScheduler(
            beta_schedule="squaredcos_cap_v2", variance_type="learned_range", thresholding=True
        )
        return "IFPipeline", {
            "unet": network,
            "scheduler": scheduler,
            "tokenizer": t5_tokenizer(),
            "text_encoder": t5_encoder(),
        }
    if family.startswith("sd3"):
        third = {"tokenizer_3": t5_tokenizer(), "text_encoder_3": t5_encoder()}
        if family == "sd3_no_t5":
            third = dict.fromkeys(third)
        return "StableDiffusion3Pipeline", {
            "transformer": sd3_transformer(),
            "scheduler": flow,
            "vae": vae(shift_factor=0.1),
            "tokenizer": clip_tokenizer(),
            "text_encoder": clip_text_encoder(projected=True),
            "tokenizer_2": clip_tokenizer(),
            "text_encoder_2": clip_text_encoder(projected=True),
            **third,
        }
    return "FluxPipeline", {
        "transformer": flux_transformer(family == "flux"),
        "scheduler": flow,
        "vae": vae(shift_factor=0.1),
        **words,
        "tokenizer_2": t5_tokenizer(),
        "text_encoder_2": t5_encoder(),
    }


def build(family: str, folder: Path, *, variant: str | None = None) -> Path:
    """Save a complete model with random weights from a fixed seed; returns its folder."""
    with torch.random.fork_rng():
        torch.manual_seed(FAMILIES.index(family))
        pipeline_class, parts = make_parts(family)
    index: dict[str, Any] = {"_class_name": pipeline_class}
    for name, part in parts.items():
        library = type(part).__module__.split(".")[0]
        index[name] = [None, None] if part is None else [library, type(part).__name__]
        if part is None:
            continue
        if isinstance(part, torch.nn.Module):
            (part.half() if variant == "fp16" else part).save_pretrained(folder / name, variant=variant)
        else:
            part.save_pretrained(folder / name)
    write_json(folder / "model_index.json", index)
    return folder


MVDREAM_CONFIG = {  # of MVDream's own class, whose norms have 32 groups
    "image_size": 8,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 32,
    "num_res_blocks": 1,
    "attention_resolutions": [1],
    "channel_mult": [1, 2],
    "num_head_channels": 16,
    "transformer_depth": 1,
    "context_dim": WIDTH,
    "camera_dim": 16,
    "use_checkpoint": True,
}


def build_mvdream_variants(folder: Path, other: Path) -> None:
    """Save MVDream in diffusers' classes at ``folder``, and the same network in its own class at ``other``."""
    build("mvdream", folder)
    shutil.rmtree(folder / "unet")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = diffusers.UNet2DConditionModel(**mvdream.convert_mvdream_config(MVDREAM_CONFIG))
    network.save_pretrained(folder / "unet")
    shutil.copytree(folder, other)
    names = ldm_names(network)
    tensors = {}
    for name, tensor in network.state_dict().items():
        whole = max((n for n in names if name.startswith(n + ".")), key=len)
        tensors[names[whole] + name[len(whole) :]] = tensor
    save_file(tensors, other / "unet" / "diffusion_pytorch_model.safetensors")
    write_json(other / "unet" / "config.json", {"_class_name": mvdream.MVDREAM_CLASS, **MVDREAM_CONFIG})
    index = json.loads((other / "model_index.json").read_text())
    write_json(other / "model_index.json", {**index, "unet": ["mv_unet", mvdream.MVDREAM_CLASS]})


def ldm_names(network: Any) -> dict[str, str]:
    """Map module names of a diffusers U-Net to those of latent diffusion, walking it block by block."""
    names = {
        "conv_in": "input_blocks.0.0",
        "conv_norm_out": "out.0",
        "conv_out": "out.2",
        "time_embedding.linear_1": "time_embed.0",
        "time_embedding.linear_2": "time_embed.2",
        "class_embedding.linear_1": "camera_embed.0",
        "class_embedding.linear_2": "camera_embed.2",
        "mid_block.resnets.0": "middle_block.0",
        "mid_block.attentions.0": "middle_block.1",
        "mid_block.resnets.1": "middle_block.2",
    }
    count = 1
    for i, block in enumerate(network.down_blocks):
        for j in range(len(block.resnets)):
            names[f"down_blocks.{i}.resnets.{j}"] = f"input_blocks.{count}.0"
            names[f"down_blocks.{i}.attentions.{j}"] = f"input_blocks.{count}.1"
            count += 1
        if block.downsamplers:
            names[f"down_blocks.{i}.downsamplers.0.conv"] = f"input_blocks.{count}.0.op"
            count += 1
    count = 0
    for i, block in enumerate(network.up_blocks):
        for j in range(len(block.resnets)):
            names[f"up_blocks.{i}.resnets.{j}"] = f"output_blocks.{count}.0"
            names[f"up_blocks.{i}.attentions.{j}"] = f"output_blocks.{count}.1"
            count += 1
        index = 2 if hasattr(block, "attentions") else 1
        names[f"up_blocks.{i}.upsamplers.0.conv"] = f"output_blocks.{count - 1}.{index}.conv"
    inner = {
        "norm1": "in_layers.0",
        "conv1": "in_layers.2",
        "time_emb_proj": "emb_layers.1",
        "norm2": "out_layers.0",
        "conv2": "out_layers.3",
        "conv_shortcut": "skip_connection",
    }
    resnets = [name for name in names if ".resnets." in name]
    return names | {f"{n}.{new}": f"{names[n]}.{old}" for n in resnets for new, old in inner.items()}


def cache(folder: Path, hub: Path, name: str = "acme/tiny") -> str:
    """Copy ``folder`` into a hub cache at ``hub``; returns the model id."""
    root = hub / f"models--{name.replace('/', '--')}"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text(SHA)
    shutil.copytree(folder, root / "snapshots" / SHA)
    return name
