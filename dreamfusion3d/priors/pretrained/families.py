"""Which families of models there are, and how the parts of each make one prior."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dreamfusion3d.core.config import PriorConfig
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.priors.cuda_graph import Captured
from dreamfusion3d.priors.pretrained import hub, mvdream, text_encoders
from dreamfusion3d.priors.pretrained.diffusers_folder import DAMAGE, Folder, damaged, quiet
from dreamfusion3d.priors.pretrained.diffusion_prior import DiffusionPrior
from dreamfusion3d.priors.pretrained.digests import digests
from dreamfusion3d.priors.pretrained.multiview import CAMERA_NUMBERS, MultiView, join_views
from dreamfusion3d.priors.pretrained.networks import SD3, Flux, Network, UNet
from dreamfusion3d.priors.pretrained.noise_schedule import PREDICTIONS, Discrete, Flow, Levels
from dreamfusion3d.priors.pretrained.offload import Placed, place
from dreamfusion3d.priors.pretrained.render_encoders import Latents, Pixels
from dreamfusion3d.priors.pretrained.text_cache import KeptTexts
from dreamfusion3d.priors.protocol import Text

VAES = ("AutoencoderKL", "AutoencoderTiny")
FLUX_LATENTS = 128  # along a side; its config does not say


@dataclass(frozen=True)
class Family:
    """A kind of pipeline: its network, and how its prompts are read.

    ``longest``: the text encoder that reads most of a prompt, how many tokens, and whether it is a T5.
    """

    network: str  # the folder, unet or transformer
    kind: str  # diffusers' class
    readers: int  # text encoders, at most
    encode: Callable[[text_encoders.Encoders, list[str]], Text]
    longest: Callable[[Folder], tuple[int, int, bool]]
    vae: bool = True

    @property
    def parts(self) -> tuple[str, ...]:
        """The folders that are loaded, where the model has them."""
        own = [text_encoders.part(name, n + 1) for n in range(self.readers) for name in ("tokenizer", "text_encoder")]
        return (self.network, "scheduler", *(["vae"] if self.vae else []), *own)


UNET = "UNet2DConditionModel"
SD = Family("unet", UNET, 1, text_encoders.stable_diffusion, text_encoders.by_clip)
SDXL = Family("unet", UNET, 2, text_encoders.sdxl, text_encoders.by_clip)
IF = Family("unet", UNET, 1, text_encoders.deepfloyd, text_encoders.by_t5, vae=False)
SD3_FAMILY = Family("transformer", "SD3Transformer2DModel", 3, text_encoders.sd3, text_encoders.sd3_tokens)
FLUX = Family("transformer", "FluxTransformer2DModel", 2, text_encoders.flux, text_encoders.flux_tokens)
# by the class that model_index.json names
FAMILIES = {
    "StableDiffusionPipeline": SD, "MVDreamPipeline": SD, "StableDiffusionXLPipeline": SDXL,
    "IFPipeline": IF, "StableDiffusion3Pipeline": SD3_FAMILY, "FluxPipeline": FLUX,
}


def family_of(index: dict[str, Any], where: str) -> Family:
    """Raises InputError for a pipeline of another kind."""
    name = index.get("_class_name")
    if name not in FAMILIES:
        raise InputError(
            f"{where} holds a {name or 'model of no named kind'}, of which no prior can be made; known "
            f"are {', '.join(FAMILIES)}, and what train-prior wrote"
        )
    return FAMILIES[name]


def parts_of(index: dict[str, Any], where: str, settings: PriorConfig) -> list[str]:
    """The parts of a model on the hub that are needed. Raises InputError for one that is no prior."""
    family = family_of(index, where)
    parts = [p for p in family.parts if index.get(p) and index[p][0] is not None]
    if family.network in parts:  # before gigabytes of it are fetched
        _check_class(index[family.network][-1], where, family)
    return [p for p in parts if not (p == "vae" and settings.vae)]


def load(path: Path, name: str, settings: PriorConfig, device: torch.device) -> DiffusionPrior:
    """The prior in the folder ``path``, called ``name``. Raises InputError."""
    folder = Folder(path, settings.variant)
    index = folder.index()
    family = family_of(index, str(path))
    dtype = dtype_of(settings.dtype, device, flow=family.network == "transformer")
    vae, vae_files = _vae(folder, family, settings, device, dtype)
    pixels = Pixels(_size(folder, family, vae, settings.size), settings.background)
    network, placed = _network(folder, family, pixels.size, vae, settings, device, dtype)
    parts = [p for p in family.parts if folder.lists(p) and p != "vae"]
    reading = [p for p in parts if p.startswith(("text", "token"))]
    number, limit, t5 = family.longest(folder)
    words = f"{digests(folder.files(reading))} {dtype} {device.type} {limit}"
    return DiffusionPrior(
        name=name, sha256=digests([*folder.files(parts), *vae_files]),
        space=pixels if vae is None else Latents(vae, pixels), levels=_levels(folder, family),
        network=network,
        reader=text_encoders.Reader(
            text_encoders.Encoders(folder, device, dtype), family.encode, KeptTexts(words), (number, limit), t5
        ),
        device=device, dtype=dtype, batch=settings.batch, camera_conditioned=isinstance(network, MultiView),
        placed=placed,
    )


def dtype_of(name: str, device: torch.device, *, flow: bool) -> torch.dtype:
    """Half precision on a GPU: bfloat16 for rectified flows (their activations leave float16's range)."""
    if name != "auto":
        return {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}[name]
    if device.type == "cpu":
        return torch.float32
    return torch.bfloat16 if flow else torch.float16


def _levels(folder: Folder, family: Family) -> Levels:
    """Of whatever sampler the folder was saved with: they share the names of the noise levels."""
    from diffusers import DDPMScheduler

    config = folder.config("scheduler")
    if "FlowMatch" in str(config.get("_class_name")):
        return Flow(1.0 if family is FLUX else float(config.get("num_train_timesteps", 1000)))
    where, prediction = folder.path / "scheduler", config.get("prediction_type", "epsilon")
    if prediction not in PREDICTIONS:
        raise InputError(f"{where} predicts {prediction!r}; known are {', '.join(PREDICTIONS)}")
    with quiet():
        try:
            scheduler = DDPMScheduler.from_config({**config, "variance_type": "fixed_small"})
        except (*DAMAGE, NotImplementedError) as error:
            raise damaged(where, error) from None
    return Discrete(scheduler.alphas_cumprod.float(), prediction)


def _network(
    folder: Folder, family: Family, size: int, vae: Any, settings: PriorConfig, device: torch.device,
    dtype: torch.dtype,
) -> tuple[Network, Placed | None]:
    import diffusers

    config, where = folder.config(family.network), folder.path / family.network
    _check_class(config.get("_class_name"), str(where), family)
    if config.get("_class_name") == mvdream.NAME:
        module = folder.foreign(family.network, mvdream.build, dtype)
        config = dict(module.config)
    else:
        module = folder.module(family.network, getattr(diffusers, family.kind), dtype)
    # Flux folds 2x2 latents into one token
    latents = module.config.in_channels // (4 if family is FLUX else 1)
    given = 3 if vae is None else vae.config.latent_channels
    if latents != given:
        raise InputError(
            f"{where} takes pictures of {latents} channels, the prior's pictures have {given}: models for "
            "inpainting, editing or depth are no priors; give the plain text-to-image model"
        )
    if family.network == "unet":
        module.to(memory_format=torch.channels_last)
    views = told_cameras(config)
    attention = join_views(module) if views else None
    placed = place(module, device, settings, str(where))
    if settings.compile:
        module = torch.compile(module)
    if settings.graph:
        module = Captured(module, lambda: None if attention is None else attention.views)
    if attention is not None:
        return MultiView(module, attention), placed
    if family is SD3_FAMILY:
        return SD3(module), placed
    if family is FLUX:
        return Flux(module, settings.distilled_scale), placed
    return UNet(module, size if family is SDXL else None), placed


def _check_class(name: Any, where: str, family: Family) -> None:
    """Raises InputError where a network is of a class that cannot be loaded."""
    if name != family.kind and not (family is SD and name == mvdream.NAME):
        raise InputError(
            f"{where} holds a {name}; this prior needs a {family.kind}. A class of the model's own needs its "
            "program, and what comes with weights is never run: give a copy in diffusers' classes"
        )


def told_cameras(config: dict[str, Any]) -> bool:
    """Whether a U-Net's config is of MVDream's form: a camera's matrix as class embedding."""
    kind = config.get("class_embed_type")
    numbers = config.get("projection_class_embeddings_input_dim")
    return kind in ("projection", "simple_projection") and numbers == CAMERA_NUMBERS


def _vae(
    folder: Folder, family: Family, settings: PriorConfig, device: torch.device, dtype: torch.dtype
) -> tuple[Any, list[Path]]:
    """The encoder into latents, and its files; the folder's own or the one that the user names."""
    import diffusers

    if not family.vae:
        if settings.vae:
            raise InputError(f"prior.vae has no use: {folder.path} is a prior of pixels; leave it out")
        return None, []
    part = "vae"
    if settings.vae:
        where = Path(settings.vae).expanduser()
        if not where.is_dir():
            if not hub.is_hub_id(settings.vae):
                raise InputError(f"there is no folder {where} for prior.vae; give a folder or a hub id")
            where = hub.fetch(settings.vae, None, settings.variant, None)
        folder, part = Folder(where.parent, settings.variant), where.name
    kind = folder.config(part).get("_class_name")
    if kind not in VAES:
        raise InputError(f"{folder.path / part} holds a {kind}; a prior needs one of {', '.join(VAES)}")
    # gradients of pictures pass through it, and would fall below float16's range
    precise = torch.float32 if dtype == torch.float16 else dtype
    vae = folder.module(part, getattr(diffusers, kind), precise)
    vae.decoder = None  # nothing is ever decoded
    return vae.to(device), folder.files([part])


def _size(folder: Folder, family: Family, vae: Any, wanted: int) -> int:
    """Pixels along a side: ``wanted``, or what the network was trained on."""
    factor = 1
    if vae is not None:
        blocks = getattr(vae.config, "encoder_block_out_channels", None) or vae.config.block_out_channels
        factor = 2 ** (len(blocks) - 1)
    config = folder.config(family.network)
    # MVDream's own class calls it image_size
    native = config.get("sample_size") or config.get("image_size") or FLUX_LATENTS
    native = native if isinstance(native, int) else native[0]
    size = wanted or native * factor
    if size % (2 * factor):
        near = max(round(size / (2 * factor)), 1) * 2 * factor
        raise InputError(f"prior.size = {size} is not a multiple of {2 * factor}; for example {near}")
    return size
