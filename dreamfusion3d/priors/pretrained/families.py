"""Supported model families, and assembly of a model's parts into one prior."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dreamfusion3d.core.config import PriorConfig
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.priors.cuda_graph import CudaGraphModule
from dreamfusion3d.priors.pretrained import diffusers_folder as folders, hub, mvdream, text_encoders
from dreamfusion3d.priors.pretrained.diffusers_folder import DiffusersFolder
from dreamfusion3d.priors.pretrained.diffusion_prior import DiffusionPrior
from dreamfusion3d.priors.pretrained.digests import combined_sha256
from dreamfusion3d.priors.pretrained.multiview import CAMERA_DIM, MultiViewUNet, enable_multiview_attention
from dreamfusion3d.priors.pretrained.networks import SD3, Flux, Network, UNet
from dreamfusion3d.priors.pretrained.noise_schedule import (
    PREDICTION_TYPES,
    DiscreteNoiseSchedule,
    NoiseSchedule,
    RectifiedFlowSchedule,
)
from dreamfusion3d.priors.pretrained.offload import OffloadableNetwork, place_network
from dreamfusion3d.priors.pretrained.render_encoders import LatentEncoder, PixelEncoder
from dreamfusion3d.priors.pretrained.text_cache import TextEmbeddingCache
from dreamfusion3d.priors.protocol import TextEmbedding

VAE_CLASSES = ("AutoencoderKL", "AutoencoderTiny")
FLUX_LATENT_SIZE = 128  # side of the native latents, missing from Flux's config


@dataclass(frozen=True)
class Family:
    """A family of diffusers pipelines: its network class and its text encoding."""

    network_part: str  # folder: unet or transformer
    network_class: str  # in diffusers
    num_text_encoders: int  # at most
    encode_prompts: Callable[[text_encoders.TextEncoders, list[str]], TextEmbedding]
    prompt_limit: Callable[[DiffusersFolder], text_encoders.PromptLimit]
    has_vae: bool = True

    @property
    def parts(self) -> tuple[str, ...]:
        """The folders to load, if the model has them."""
        numbers, names = range(1, self.num_text_encoders + 1), ("tokenizer", "text_encoder")
        text_parts = [text_encoders.numbered_part(name, n) for n in numbers for name in names]
        return (self.network_part, "scheduler", *(["vae"] if self.has_vae else []), *text_parts)


UNET_CLASS = "UNet2DConditionModel"
SD = Family("unet", UNET_CLASS, 1, text_encoders.encode_stable_diffusion, text_encoders.clip_prompt_limit)
SDXL = Family("unet", UNET_CLASS, 2, text_encoders.encode_sdxl, text_encoders.clip_prompt_limit)
IF = Family("unet", UNET_CLASS, 1, text_encoders.encode_deepfloyd, text_encoders.t5_prompt_limit, has_vae=False)
SD3_FAMILY = Family("transformer", "SD3Transformer2DModel", 3, text_encoders.encode_sd3, text_encoders.sd3_prompt_limit)
FLUX = Family("transformer", "FluxTransformer2DModel", 2, text_encoders.encode_flux, text_encoders.flux_prompt_limit)
# by the pipeline class in model_index.json
FAMILIES = {
    "StableDiffusionPipeline": SD,
    "MVDreamPipeline": SD,
    "StableDiffusionXLPipeline": SDXL,
    "IFPipeline": IF,
    "StableDiffusion3Pipeline": SD3_FAMILY,
    "FluxPipeline": FLUX,
}


def find_family(index: dict[str, Any], source: str) -> Family:
    """Look up a model's family by its index. Raises InputError for an unsupported pipeline."""
    name = index.get("_class_name")
    if name not in FAMILIES:
        raise InputError(
            f"{source} holds {f'a {name}' if name else 'a model of unknown type'}, which cannot be used as a prior; "
            f"supported are {', '.join(FAMILIES)}, and priors written by train-prior"
        )
    return FAMILIES[name]


def required_parts(index: dict[str, Any], source: str, settings: PriorConfig) -> list[str]:
    """List the parts to download of a hub model. Raises InputError if it cannot be used as a prior."""
    family = find_family(index, source)
    parts = [p for p in family.parts if index.get(p) and index[p][0] is not None]
    if family.network_part in parts:  # checked before gigabytes are downloaded
        _check_class(index[family.network_part][-1], source, family)
    return [p for p in parts if not (p == "vae" and settings.vae)]


def load_diffusion_prior(path: Path, name: str, settings: PriorConfig, device: torch.device) -> DiffusionPrior:
    """Load the prior in the folder ``path`` under the name ``name``. Raises InputError if it cannot be used."""
    folder = DiffusersFolder(path, settings.variant)
    index = folder.index()
    family = find_family(index, str(path))
    dtype = resolve_dtype(settings.dtype, device, flow=family.network_part == "transformer")
    vae, vae_files = _load_vae(folder, family, settings, device, dtype)
    pixel_encoder = PixelEncoder(_image_size(folder, family, vae, settings.resolution), settings.background)
    network, offloadable = _load_network(folder, family, pixel_encoder.size, vae, settings, device, dtype)
    parts = [p for p in family.parts if folder.has_part(p) and p != "vae"]
    text_parts = [p for p in parts if p.startswith(("text", "token"))]
    limit = family.prompt_limit(folder)
    text_sha256 = combined_sha256(folder.part_files(text_parts))
    encoders = text_encoders.TextEncoders(folder, device, dtype)
    cache = TextEmbeddingCache(f"{text_sha256} {dtype} {device.type} {limit.num_tokens}")
    return DiffusionPrior(
        name=name,
        sha256=combined_sha256([*folder.part_files(parts), *vae_files]),
        render_encoder=pixel_encoder if vae is None else LatentEncoder(vae, pixel_encoder),
        noise_schedule=_load_noise_schedule(folder, family),
        network=network,
        prompt_encoder=text_encoders.PromptEncoder(encoders, family.encode_prompts, cache, limit),
        device=device,
        dtype=dtype,
        batch_size=settings.batch_size,
        camera_conditioned=isinstance(network, MultiViewUNet),
        offloadable_weights=offloadable,
    )


def resolve_dtype(name: str, device: torch.device, *, flow: bool) -> torch.dtype:
    """Resolve "auto" to half precision on a GPU: bfloat16 for rectified flows, which overflow float16."""
    if name != "auto":
        return {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}[name]
    if device.type == "cpu":
        return torch.float32
    return torch.bfloat16 if flow else torch.float16


def _load_noise_schedule(folder: DiffusersFolder, family: Family) -> NoiseSchedule:
    """Read the noise schedule from any scheduler config: samplers share the keys that define it."""
    from diffusers import DDPMScheduler

    config = folder.config("scheduler")
    if "FlowMatch" in str(config.get("_class_name")):
        return RectifiedFlowSchedule(1.0 if family is FLUX else float(config.get("num_train_timesteps", 1000)))
    path, prediction_type = folder.path / "scheduler", config.get("prediction_type", "epsilon")
    if prediction_type not in PREDICTION_TYPES:
        raise InputError(
            f"{path} has the unknown prediction type {prediction_type!r}; supported are {', '.join(PREDICTION_TYPES)}"
        )
    with folders.silence_libraries():
        try:
            scheduler = DDPMScheduler.from_config({**config, "variance_type": "fixed_small"})
        except (*folders.LOAD_ERRORS, NotImplementedError) as error:
            raise folders.damaged_file_error(path, error) from None
    return DiscreteNoiseSchedule(scheduler.alphas_cumprod.float(), prediction_type)


def _load_network(
    folder: DiffusersFolder,
    family: Family,
    size: int,
    vae: Any,
    settings: PriorConfig,
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[Network, OffloadableNetwork | None]:
    import diffusers

    config, path = folder.config(family.network_part), folder.path / family.network_part
    _check_class(config.get("_class_name"), str(path), family)
    if config.get("_class_name") == mvdream.MVDREAM_CLASS:
        module = folder.build_module(family.network_part, mvdream.build_mvdream_unet, dtype)
        config = dict(module.config)
    else:
        module = folder.load_module(family.network_part, getattr(diffusers, family.network_class), dtype)
    # Flux packs 2x2 latents into one token
    channels = module.config.in_channels // (4 if family is FLUX else 1)
    expected_channels = 3 if vae is None else vae.config.latent_channels
    if channels != expected_channels:
        raise InputError(
            f"{path} takes {channels} channels instead of {expected_channels}: models for inpainting, editing or depth "
            "cannot be used as priors; use the plain text-to-image model"
        )
    if family.network_part == "unet":
        module.to(memory_format=torch.channels_last)
    camera_conditioned = is_camera_conditioned(config)
    attention = enable_multiview_attention(module) if camera_conditioned else None
    offloadable = place_network(module, device, settings, str(path))
    if settings.compile:
        module = torch.compile(module)
    if settings.cuda_graph:
        module = CudaGraphModule(module, lambda: None if attention is None else attention.num_views)
    if attention is not None:
        return MultiViewUNet(module, attention), offloadable
    if family is SD3_FAMILY:
        return SD3(module), offloadable
    if family is FLUX:
        return Flux(module, settings.distilled_scale), offloadable
    return UNet(module, size if family is SDXL else None), offloadable


def _check_class(name: Any, source: str, family: Family) -> None:
    """Raise InputError if the network's class is not the family's."""
    if name != family.network_class and not (family is SD and name == mvdream.MVDREAM_CLASS):
        raise InputError(
            f"{source} holds a {name} instead of a {family.network_class}. A custom class needs code from the model "
            "repository, which is never run: use a copy saved with diffusers' own classes"
        )


def is_camera_conditioned(config: dict[str, Any]) -> bool:
    """Return True if a U-Net takes camera matrices as class embedding, as MVDream's does."""
    has_projection = config.get("class_embed_type") in ("projection", "simple_projection")
    return has_projection and config.get("projection_class_embeddings_input_dim") == CAMERA_DIM


def _load_vae(
    folder: DiffusersFolder, family: Family, settings: PriorConfig, device: torch.device, dtype: torch.dtype
) -> tuple[Any, list[Path]]:
    """Load the VAE of the folder, or the one that ``settings`` name; returns it with its files."""
    import diffusers

    if not family.has_vae:
        if settings.vae:
            raise InputError(f"prior.vae is not applicable: {folder.path} works in pixel space; omit it")
        return None, []
    part = "vae"
    if settings.vae:
        path = Path(settings.vae).expanduser()
        if not path.is_dir():
            if not hub.is_hub_id(settings.vae):
                raise InputError(f"there is no folder {path} for prior.vae; use a folder or a hub id")
            path = hub.fetch_snapshot(settings.vae, None, settings.variant, None)
        folder, part = DiffusersFolder(path.parent, settings.variant), path.name
    vae_class = folder.config(part).get("_class_name")
    if vae_class not in VAE_CLASSES:
        raise InputError(f"{folder.path / part} holds a {vae_class}; supported are {', '.join(VAE_CLASSES)}")
    # image gradients pass through the VAE and would underflow in float16
    vae_dtype = torch.float32 if dtype == torch.float16 else dtype
    vae = folder.load_module(part, getattr(diffusers, vae_class), vae_dtype)
    vae.decoder = None  # nothing is ever decoded
    return vae.to(device), folder.part_files([part])


def _image_size(folder: DiffusersFolder, family: Family, vae: Any, requested: int) -> int:
    """Return ``requested`` or, if that is 0, the side in pixels that the network was trained on."""
    factor = 1
    if vae is not None:
        blocks = getattr(vae.config, "encoder_block_out_channels", None) or vae.config.block_out_channels
        factor = 2 ** (len(blocks) - 1)
    config = folder.config(family.network_part)
    # MVDream's class calls it image_size
    native = config.get("sample_size") or config.get("image_size") or FLUX_LATENT_SIZE
    native = native if isinstance(native, int) else native[0]
    size = requested or native * factor
    if size % (2 * factor):
        nearest_multiple = max(round(size / (2 * factor)), 1) * 2 * factor
        raise InputError(f"prior.resolution = {size} is not a multiple of {2 * factor}; for example {nearest_multiple}")
    return size
