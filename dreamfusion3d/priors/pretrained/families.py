"""Which families of models there are, and how the parts of each make one prior."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dreamfusion3d.core.config import PriorConfig
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.priors.cuda_graph import CudaGraphModule
from dreamfusion3d.priors.pretrained import hub, mvdream, text_encoders
from dreamfusion3d.priors.pretrained.diffusers_folder import (
    LOAD_ERRORS,
    DiffusersFolder,
    damaged_file_error,
    silence_libraries,
)
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
FLUX_LATENT_SIZE = 128  # along a side; its config does not say


@dataclass(frozen=True)
class Family:
    """A kind of pipeline: its network, and how its prompts are read.

    ``longest``: the text encoder that reads most of a prompt, how many tokens, and whether it is a T5.
    """

    network_part: str  # the folder, unet or transformer
    network_class: str  # diffusers' class
    num_text_encoders: int  # text encoders, at most
    encode_prompts: Callable[[text_encoders.TextEncoders, list[str]], TextEmbedding]
    prompt_limit: Callable[[DiffusersFolder], tuple[int, int, bool]]
    has_vae: bool = True

    @property
    def parts(self) -> tuple[str, ...]:
        """The folders that are loaded, where the model has them."""
        own = [
            text_encoders.numbered_part(name, n + 1)
            for n in range(self.num_text_encoders)
            for name in ("tokenizer", "text_encoder")
        ]
        return (self.network_part, "scheduler", *(["vae"] if self.has_vae else []), *own)


UNET_CLASS = "UNet2DConditionModel"
SD = Family("unet", UNET_CLASS, 1, text_encoders.encode_stable_diffusion, text_encoders.clip_prompt_limit)
SDXL = Family("unet", UNET_CLASS, 2, text_encoders.encode_sdxl, text_encoders.clip_prompt_limit)
IF = Family("unet", UNET_CLASS, 1, text_encoders.encode_deepfloyd, text_encoders.t5_prompt_limit, has_vae=False)
SD3_FAMILY = Family("transformer", "SD3Transformer2DModel", 3, text_encoders.encode_sd3, text_encoders.sd3_prompt_limit)
FLUX = Family("transformer", "FluxTransformer2DModel", 2, text_encoders.encode_flux, text_encoders.flux_prompt_limit)
# by the class that model_index.json names
FAMILIES = {
    "StableDiffusionPipeline": SD,
    "MVDreamPipeline": SD,
    "StableDiffusionXLPipeline": SDXL,
    "IFPipeline": IF,
    "StableDiffusion3Pipeline": SD3_FAMILY,
    "FluxPipeline": FLUX,
}


def find_family(index: dict[str, Any], source: str) -> Family:
    """Raises InputError for a pipeline of another kind."""
    name = index.get("_class_name")
    if name not in FAMILIES:
        raise InputError(
            f"{source} holds a {name or 'model of no named kind'}, of which no prior can be made; known "
            f"are {', '.join(FAMILIES)}, and what train-prior wrote"
        )
    return FAMILIES[name]


def required_parts(index: dict[str, Any], source: str, settings: PriorConfig) -> list[str]:
    """The parts of a model on the hub that are needed. Raises InputError for one that is no prior."""
    family = find_family(index, source)
    parts = [p for p in family.parts if index.get(p) and index[p][0] is not None]
    if family.network_part in parts:  # before gigabytes of it are fetched
        _check_class(index[family.network_part][-1], source, family)
    return [p for p in parts if not (p == "vae" and settings.vae)]


def load_diffusion_prior(path: Path, name: str, settings: PriorConfig, device: torch.device) -> DiffusionPrior:
    """The prior in the folder ``path``, called ``name``. Raises InputError."""
    folder = DiffusersFolder(path, settings.variant)
    index = folder.index()
    family = find_family(index, str(path))
    dtype = resolve_dtype(settings.dtype, device, flow=family.network_part == "transformer")
    vae, vae_files = _load_vae(folder, family, settings, device, dtype)
    pixel_encoder = PixelEncoder(_image_size(folder, family, vae, settings.resolution), settings.background)
    network, offloadable = _load_network(folder, family, pixel_encoder.size, vae, settings, device, dtype)
    parts = [p for p in family.parts if folder.has_part(p) and p != "vae"]
    text_parts = [p for p in parts if p.startswith(("text", "token"))]
    number, limit, is_t5 = family.prompt_limit(folder)
    text_encoder_id = f"{combined_sha256(folder.part_files(text_parts))} {dtype} {device.type} {limit}"
    return DiffusionPrior(
        name=name,
        sha256=combined_sha256([*folder.part_files(parts), *vae_files]),
        render_encoder=pixel_encoder if vae is None else LatentEncoder(vae, pixel_encoder),
        noise_schedule=_load_noise_schedule(folder, family),
        network=network,
        prompt_encoder=text_encoders.PromptEncoder(
            text_encoders.TextEncoders(folder, device, dtype),
            family.encode_prompts,
            TextEmbeddingCache(text_encoder_id),
            (number, limit),
            is_t5,
        ),
        device=device,
        dtype=dtype,
        batch_size=settings.batch_size,
        camera_conditioned=isinstance(network, MultiViewUNet),
        offloadable_weights=offloadable,
    )


def resolve_dtype(name: str, device: torch.device, *, flow: bool) -> torch.dtype:
    """Half precision on a GPU: bfloat16 for rectified flows (their activations leave float16's range)."""
    if name != "auto":
        return {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}[name]
    if device.type == "cpu":
        return torch.float32
    return torch.bfloat16 if flow else torch.float16


def _load_noise_schedule(folder: DiffusersFolder, family: Family) -> NoiseSchedule:
    """Of whatever sampler the folder was saved with: they share the names of the noise levels."""
    from diffusers import DDPMScheduler

    config = folder.config("scheduler")
    if "FlowMatch" in str(config.get("_class_name")):
        return RectifiedFlowSchedule(1.0 if family is FLUX else float(config.get("num_train_timesteps", 1000)))
    where, prediction = folder.path / "scheduler", config.get("prediction_type", "epsilon")
    if prediction not in PREDICTION_TYPES:
        raise InputError(f"{where} predicts {prediction!r}; known are {', '.join(PREDICTION_TYPES)}")
    with silence_libraries():
        try:
            scheduler = DDPMScheduler.from_config({**config, "variance_type": "fixed_small"})
        except (*LOAD_ERRORS, NotImplementedError) as error:
            raise damaged_file_error(where, error) from None
    return DiscreteNoiseSchedule(scheduler.alphas_cumprod.float(), prediction)


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

    config, where = folder.config(family.network_part), folder.path / family.network_part
    _check_class(config.get("_class_name"), str(where), family)
    if config.get("_class_name") == mvdream.MVDREAM_CLASS:
        module = folder.build_module(family.network_part, mvdream.build_mvdream_unet, dtype)
        config = dict(module.config)
    else:
        module = folder.load_module(family.network_part, getattr(diffusers, family.network_class), dtype)
    # Flux folds 2x2 latents into one token
    channels = module.config.in_channels // (4 if family is FLUX else 1)
    expected_channels = 3 if vae is None else vae.config.latent_channels
    if channels != expected_channels:
        raise InputError(
            f"{where} takes pictures of {channels} channels, the prior's pictures have {expected_channels}: models for "
            "inpainting, editing or depth are no priors; give the plain text-to-image model"
        )
    if family.network_part == "unet":
        module.to(memory_format=torch.channels_last)
    camera_conditioned = is_camera_conditioned(config)
    attention = enable_multiview_attention(module) if camera_conditioned else None
    offloadable = place_network(module, device, settings, str(where))
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
    """Raises InputError where a network is of a class that cannot be loaded."""
    if name != family.network_class and not (family is SD and name == mvdream.MVDREAM_CLASS):
        raise InputError(
            f"{source} holds a {name}; this prior needs a {family.network_class}. A class of the model's own needs its "
            "program, and what comes with weights is never run: give a copy in diffusers' classes"
        )


def is_camera_conditioned(config: dict[str, Any]) -> bool:
    """Whether a U-Net's config is of MVDream's form: a camera's matrix as class embedding."""
    embedding_type = config.get("class_embed_type")
    embedding_dim = config.get("projection_class_embeddings_input_dim")
    return embedding_type in ("projection", "simple_projection") and embedding_dim == CAMERA_DIM


def _load_vae(
    folder: DiffusersFolder, family: Family, settings: PriorConfig, device: torch.device, dtype: torch.dtype
) -> tuple[Any, list[Path]]:
    """The encoder into latents, and its files; the folder's own or the one that the user names."""
    import diffusers

    if not family.has_vae:
        if settings.vae:
            raise InputError(f"prior.vae has no use: {folder.path} is a prior of pixels; leave it out")
        return None, []
    part = "vae"
    if settings.vae:
        where = Path(settings.vae).expanduser()
        if not where.is_dir():
            if not hub.is_hub_id(settings.vae):
                raise InputError(f"there is no folder {where} for prior.vae; give a folder or a hub id")
            where = hub.fetch_snapshot(settings.vae, None, settings.variant, None)
        folder, part = DiffusersFolder(where.parent, settings.variant), where.name
    vae_class = folder.config(part).get("_class_name")
    if vae_class not in VAE_CLASSES:
        raise InputError(f"{folder.path / part} holds a {vae_class}; a prior needs one of {', '.join(VAE_CLASSES)}")
    # gradients of pictures pass through it, and would fall below float16's range
    vae_dtype = torch.float32 if dtype == torch.float16 else dtype
    vae = folder.load_module(part, getattr(diffusers, vae_class), vae_dtype)
    vae.decoder = None  # nothing is ever decoded
    return vae.to(device), folder.part_files([part])


def _image_size(folder: DiffusersFolder, family: Family, vae: Any, requested: int) -> int:
    """Pixels along a side: ``wanted``, or what the network was trained on."""
    factor = 1
    if vae is not None:
        blocks = getattr(vae.config, "encoder_block_out_channels", None) or vae.config.block_out_channels
        factor = 2 ** (len(blocks) - 1)
    config = folder.config(family.network_part)
    # MVDream's own class calls it image_size
    native = config.get("sample_size") or config.get("image_size") or FLUX_LATENT_SIZE
    native = native if isinstance(native, int) else native[0]
    size = requested or native * factor
    if size % (2 * factor):
        nearest_multiple = max(round(size / (2 * factor)), 1) * 2 * factor
        raise InputError(f"prior.resolution = {size} is not a multiple of {2 * factor}; for example {nearest_multiple}")
    return size
