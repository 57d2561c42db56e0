"""Pixel priors: the embedded one and those written by ``train-prior``.

A prior is a diffusers folder (unet/, scheduler/) with a conditioner, a scene network and optionally a text encoder.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor

from dreamfusion3d.cameras.orbit import OrbitCameras, orbit_cameras
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.files import file_sha256
from dreamfusion3d.core.slug import hash_text
from dreamfusion3d.core.types import InitialVolume, Render
from dreamfusion3d.priors.cuda_graph import CudaGraphModule
from dreamfusion3d.priors.images import render_to_rgba
from dreamfusion3d.priors.pixel.conditioner import UNKNOWN_CAMERA_DEG, Conditioner
from dreamfusion3d.priors.pixel.prompt_parser import parse_prompt
from dreamfusion3d.priors.pixel.scene_volume import PALETTE_SIZE, SceneVolume, sample_initial_volume
from dreamfusion3d.priors.pixel.text_encoder import PromptTextEncoder
from dreamfusion3d.priors.pixel.tokens import PromptTokens, tokenize_prompt
from dreamfusion3d.priors.pixel.unet import (
    OUT_CHANNELS,
    UNSHUFFLE_FACTOR,
    bfloat16_autocast,
    cast_weights_to_bfloat16,
    install_view_attention,
    predict_image,
    render_scene_condition,
)
from dreamfusion3d.priors.protocol import STATED_IN_PROMPT, ObjectHeight, TextEmbedding
from dreamfusion3d.priors.shapes.model import ShapeModel
from dreamfusion3d.priors.shapes.solid import ObjectSolid
from dreamfusion3d.priors.vocabulary import (
    embedded_folder,
    read_weak_categories,
    vocabulary_categories,
    vocabulary_words,
)
from dreamfusion3d.procedural.categories import CATEGORIES, format_category_names
from dreamfusion3d.procedural.category import WOOD_COLOR
from dreamfusion3d.procedural.dataset import TRAIN_IMAGE_SIZE
from dreamfusion3d.procedural.heights import describe_usual_height, usual_height
from dreamfusion3d.procedural.measures import check_stated_height
from dreamfusion3d.procedural.objects import ObjectSpec
from dreamfusion3d.procedural.prompt_rules import ParsedPrompt
from dreamfusion3d.procedural.surfaces import DEFAULT_SURFACE, Surface

MAX_LISTED_WORDS = 40  # words outside the grammar that an error message lists
TEXT_ENCODER_FOLDER, SHAPES_FOLDER = "words", "shapes"
WEIGHT_FILES = ("unet/diffusion_pytorch_model.safetensors", "conditioner/model.safetensors", "scene/model.safetensors")


class PixelPrior:
    """Diffusion prior over premultiplied RGBA at 64x64 in [-1, 1], conditioned on prompt tokens and the camera.

    Views of one scene are denoised jointly. A row of its ``TextEmbedding`` holds the prompt vector, the palette and
    volume of its scene, and the roughness and metallic of each palette entry. A prior trained on images without
    cameras is not ``camera_conditioned`` and denoises each image alone.

    ``mixed_precision`` uses bfloat16 where the device supports it; ``cuda_graph`` runs the U-Net as a CUDA graph.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        device: torch.device | str = "cpu",
        mixed_precision: bool = True,
        cuda_graph: bool = False,
    ) -> None:
        self.name, self.device, self.mixed_precision = name, torch.device(device), mixed_precision
        unet, conditioner, scene, alpha_bar = _load_networks(folder)
        # the stubs of Module.to know memory_format only as a keyword of a single tensor
        unet = unet.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.unet = unet.eval().requires_grad_(False)
        if mixed_precision:
            cast_weights_to_bfloat16(self.unet, self.device)
        self.conditioner = conditioner.to(self.device).eval().requires_grad_(False)
        self.camera_conditioned = conditioner.camera_conditioned
        self.scene = scene.to(self.device).eval().requires_grad_(False)
        self._vocabulary = frozenset(conditioner.vocabulary)
        self.attention = install_view_attention(self.unet)
        self.denoiser = CudaGraphModule(self.unet, lambda: self.attention.views) if cuda_graph else self.unet
        self.alpha_bar = alpha_bar.to(self.device)
        self.text_encoder = _load_text_encoder(folder)
        self.shapes = ShapeModel(folder / SHAPES_FOLDER, self.device)
        self.weak_categories = read_weak_categories(folder)
        self.sha256 = pixel_prior_sha256(folder, text_encoder=self.text_encoder is not None)

    def check_prompt(self, prompt: str) -> list[str]:
        prompt_tokens = self._tokenize(prompt)
        parsed = prompt_tokens.parsed
        check_stated_height(parsed.height_m)
        if not prompt_tokens.tokens:
            raise InputError(
                f"the prior '{self.name}' knows no noun in {prompt!r}; it knows: {self._describe_vocabulary()}. "
                "Use one of these, or choose another prior with --prior FOLDER"
            )
        warnings = list(parsed.notes)
        if prompt_tokens.ignored_words:
            words = ", ".join(repr(w) for w in prompt_tokens.ignored_words)
            warnings.append(f"this prior ignores the words {words}")
        if parsed.spec is None or parsed.spec.tokens()[0] not in prompt_tokens.tokens:
            return warnings
        untrained = self.conditioner.missing_tokens(parsed.spec.tokens())
        if CATEGORIES[parsed.spec.category].natural_color == WOOD_COLOR:
            untrained = [token for token in untrained if token != "finish:wooden"]  # the category is wooden anyway
        if untrained:
            # "mug:option" reads "mug option"
            named = ", ".join(token.replace("colour:", "color ").replace(":", " ") for token in untrained)
            warnings.append(f"this prior was never trained on: {named}")
        if parsed.spec.category in self.weak_categories:
            warnings.append(f"this prior is weak at the category '{parsed.spec.category}'")
        return warnings

    def check_solid(self, prompt: str) -> list[str]:
        _, parsed = self._parse_solid(prompt)
        ignored = ", ".join(map(repr, parsed.unknown_words))
        return [*parsed.notes, *([f"this prior ignores the words {ignored}"] if ignored else [])]

    def sample_solid(self, prompt: str, *, generator: torch.Generator) -> ObjectSolid:
        spec, _ = self._parse_solid(prompt)
        return ObjectSolid(self.shapes.sample(spec, generator=generator), spec)

    def _parse_solid(self, prompt: str) -> tuple[ObjectSpec, ParsedPrompt]:
        """Parse a prompt. Raises InputError if there is no shape of its category."""
        parsed = parse_prompt(prompt, self.text_encoder)
        check_stated_height(parsed.height_m)
        if parsed.spec is None or parsed.spec.category not in self.shapes.categories:
            known = format_category_names(sorted(self.shapes.categories)) or "none"
            raise InputError(
                f"the prior '{self.name}' knows no shape for {prompt!r}; it knows: {known}. Use one of these, or "
                "optimize with --quality draft"
            )
        return parsed.spec, parsed

    def object_height(self, prompt: str) -> ObjectHeight | None:
        prompt_tokens = self._tokenize(prompt)
        parsed = prompt_tokens.parsed
        check_stated_height(parsed.height_m)
        if parsed.height_m is not None:
            return ObjectHeight(parsed.height_m, STATED_IN_PROMPT)
        if parsed.spec is None:
            return None
        if parsed.spec.tokens()[0] not in prompt_tokens.tokens and parsed.spec.category not in self.shapes.categories:
            return None
        words = parsed.height_words
        return ObjectHeight(usual_height(parsed.spec, words), describe_usual_height(parsed.spec, words))

    def encode_text(self, prompts: list[str]) -> TextEmbedding:
        read = [self._tokenize(prompt) if prompt else None for prompt in prompts]
        tokens = [prompt_tokens.tokens if prompt_tokens else [] for prompt_tokens in read]
        surfaces = torch.tensor([_palette_surfaces(prompt_tokens) for prompt_tokens in read], device=self.device)
        with torch.no_grad(), self._autocast():
            vector = self.conditioner.embed([self.conditioner.token_ids(t) for t in tokens])
            shape = self.conditioner.embed([self.conditioner.shape_token_ids(t) for t in tokens])
            scene = self.scene.colors(vector).flatten(1), self.scene(shape).flatten(1)
            parts = vector, *scene, surfaces.flatten(1)
            return TextEmbedding(torch.cat([part.float() for part in parts], 1))

    def initial_volume(self, text: TextEmbedding, resolution: int) -> InitialVolume:
        """Return the scene of the first prompt (``sample_initial_volume``)."""
        _, colors, volume, surfaces = self._split_embedding(text)
        return sample_initial_volume(volume[0], colors[0], resolution, surfaces[0])

    def alpha_sigma(self, t: Float[Tensor, " b"]) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        alpha_bar = self.alpha_bar[self._timestep(t)]
        return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()

    def encode(self, render: Render, *, generator: torch.Generator) -> Float[Tensor, "b 4 h w"]:
        return render_to_rgba(render, TRAIN_IMAGE_SIZE)

    @torch.no_grad()
    def denoise(
        self,
        x_t: Float[Tensor, "b 4 h w"],
        t: Float[Tensor, " b"],
        text: TextEmbedding,
        cameras: OrbitCameras,
        *,
        views: int = 1,
    ) -> Float[Tensor, "b 4 h w"]:
        timestep = self._timestep(t)
        if not self.camera_conditioned:
            azimuth, elevation = (torch.full_like(cameras.azimuth_deg, angle) for angle in UNKNOWN_CAMERA_DEG)
            cameras, views = orbit_cameras(azimuth, elevation, height=cameras.height, width=cameras.width), 1
        vector, colors, volume, _ = self._split_embedding(text)
        scene_images = render_scene_condition(volume, cameras, *x_t.shape[-2:])
        with self._autocast():
            condition = self.conditioner(vector, cameras.azimuth_deg, cameras.elevation_deg)
            predicted = predict_image(
                self.denoiser, self.attention, x_t, timestep, scene_images, colors, condition, cameras, views=views
            )
        return predicted.image(colors)

    def _split_embedding(
        self, text: TextEmbedding
    ) -> tuple[Tensor, Float[Tensor, "b p 3"], Float[Tensor, "b v z y x"], Float[Tensor, "b p 2"]]:
        """Split rows into prompt vectors, palettes, volumes and surfaces."""
        width = self.conditioner.width
        ends = [width, width + 3 * PALETTE_SIZE, -2 * PALETTE_SIZE]
        vector, colors, volume, surfaces = text.embedding.tensor_split(ends, 1)
        palette = colors.unflatten(1, (PALETTE_SIZE, 3)), self.scene.unflatten_volumes(volume)
        return vector, *palette, surfaces.unflatten(1, (PALETTE_SIZE, 2))

    def _tokenize(self, prompt: str) -> PromptTokens:
        return tokenize_prompt(prompt, self._vocabulary, self.text_encoder)

    def _describe_vocabulary(self) -> str:
        categories, words = vocabulary_categories(self.conditioner.vocabulary), vocabulary_words(self._vocabulary)
        more = f" and {len(words) - MAX_LISTED_WORDS} more" if len(words) > MAX_LISTED_WORDS else ""
        word_list = f"the words {', '.join(words[:MAX_LISTED_WORDS])}{more}" if words else ""
        return "; ".join(part for part in (format_category_names(categories), word_list) if part)

    def _autocast(self) -> contextlib.AbstractContextManager[object]:
        return bfloat16_autocast(self.device) if self.mixed_precision else contextlib.nullcontext()

    def _timestep(self, t: Tensor) -> Tensor:
        return (t * (len(self.alpha_bar) - 1)).round().long()


def pixel_prior_sha256(folder: Path, *, text_encoder: bool = True) -> str:
    """Return the hash of all weights in a prior's folder, with or without its text encoder."""
    files = (*WEIGHT_FILES, f"{TEXT_ENCODER_FOLDER}/model.safetensors") if text_encoder else WEIGHT_FILES
    digests = [file_sha256(folder / file)[:32] for file in files]
    shapes = sorted((folder / SHAPES_FOLDER).glob("[!.]*.safetensors"))
    if shapes:
        digests.append(hash_text(" ".join(file_sha256(path) for path in shapes), length=32))
    return "-".join(digests)


def is_embedded_prior(sha256: str) -> bool:
    """Return whether a prior's sha256 is that of the embedded weights, whatever folder they were loaded from."""
    return sha256 == pixel_prior_sha256(embedded_folder())


def _load_networks(folder: Path) -> tuple[torch.nn.Module, Conditioner, SceneVolume, Tensor]:
    logging.getLogger("diffusers").setLevel(logging.ERROR)
    from diffusers import DDPMScheduler, UNet2DModel

    _check_complete(folder)
    with _report_damage(f"the prior in {folder}", folder):
        options = {"local_files_only": True, "torch_dtype": torch.float32}
        unet = UNet2DModel.from_pretrained(folder / "unet", use_safetensors=True, **options)
        scheduler = DDPMScheduler.from_pretrained(folder / "scheduler", local_files_only=True)
        if unet.config.out_channels != OUT_CHANNELS * UNSHUFFLE_FACTOR**2:
            raise InputError(
                f"the prior in {folder} was trained by an incompatible version of dreamfusion3d; train it again with "
                "train-prior, or omit --prior"
            )
        conditioner = Conditioner.load(folder / "conditioner")
        scene = SceneVolume.load(folder / "scene")
    return unet, conditioner, scene, scheduler.alphas_cumprod


def _palette_surfaces(prompt_tokens: PromptTokens | None) -> list[Surface]:
    """Return the surface of each palette entry; the default ones if the prior knows no category in the prompt."""
    spec = prompt_tokens.parsed.spec if prompt_tokens else None
    if prompt_tokens is None or spec is None or spec.tokens()[0] not in prompt_tokens.tokens:
        return [DEFAULT_SURFACE] * PALETTE_SIZE
    return spec.part_surfaces()


def _load_text_encoder(folder: Path) -> PromptTextEncoder | None:
    """Load the folder's text encoder; without one, prompts are parsed by the rules alone."""
    if not (folder / TEXT_ENCODER_FOLDER).is_dir():
        return None
    with _report_damage(f"{TEXT_ENCODER_FOLDER}/ in {folder}", folder):
        return PromptTextEncoder.load(folder / TEXT_ENCODER_FOLDER)


@contextlib.contextmanager
def _report_damage(what: str, folder: Path) -> Iterator[None]:
    """Turn errors of unreadable files into an InputError."""
    try:
        yield
    except (OSError, SafetensorError, RuntimeError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"{what} is damaged ({reason}); {_advice(folder)}") from None


def _check_complete(folder: Path) -> None:
    if not folder.is_dir():
        advice = f"{_advice(folder)}, or name a model on the hub as owner/name"
        raise InputError(f"there is no prior folder {folder}; {advice}")
    for part in ("model_index.json", "scheduler/scheduler_config.json", "unet/config.json", *WEIGHT_FILES):
        if not (folder / part).is_file():
            raise InputError(f"the folder {folder} is not a pixel prior: {part} is missing; {_advice(folder)}")


def _advice(folder: Path) -> str:
    if folder == embedded_folder():
        return "the installation is incomplete: install dreamfusion3d again"
    return "give a folder written by train-prior, or omit --prior"
