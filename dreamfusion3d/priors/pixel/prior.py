"""Pixel priors: the embedded one and those written by ``train-prior``.

A prior is a diffusers folder (unet/, scheduler/) with a conditioner, a scene network and optionally a text encoder.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.cameras.orbit import OrbitCameras
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.files import file_sha256
from dreamfusion3d.core.slug import hash_text
from dreamfusion3d.core.types import InitialVolume, ObjectHeight, Render
from dreamfusion3d.priors.assets.captions import CaptionMatch, head_noun
from dreamfusion3d.priors.assets.model import AssetModel, AssetSolid
from dreamfusion3d.priors.images import render_to_rgba
from dreamfusion3d.priors.pixel.conditioner import read_conditioner_config
from dreamfusion3d.priors.pixel.folder import WEIGHT_FILES, check_complete, report_damage
from dreamfusion3d.priors.pixel.prompt_parser import parse_prompt
from dreamfusion3d.priors.pixel.scene_volume import PALETTE_SIZE, sample_initial_volume
from dreamfusion3d.priors.pixel.text_encoder import PromptTextEncoder
from dreamfusion3d.priors.pixel.tokens import PromptTokens, tokenize_prompt
from dreamfusion3d.priors.protocol import STATED_IN_PROMPT, TextEmbedding
from dreamfusion3d.priors.shapes.model import ShapeModel
from dreamfusion3d.priors.shapes.solid import ObjectSolid
from dreamfusion3d.priors.vocabulary import (
    ASSETS_FOLDER,
    SHAPES_FOLDER,
    embedded_folder,
    has_image_model,
    read_weak_categories,
    vocabulary_categories,
    vocabulary_words,
)
from dreamfusion3d.procedural.categories import CATEGORIES, describe_categories
from dreamfusion3d.procedural.category import WOOD_COLOR
from dreamfusion3d.procedural.dataset import TRAIN_IMAGE_SIZE
from dreamfusion3d.procedural.heights import describe_usual_height, usual_height
from dreamfusion3d.procedural.lexicon import lookup_category
from dreamfusion3d.procedural.measures import check_stated_height, extract_height
from dreamfusion3d.procedural.objects import ObjectSpec
from dreamfusion3d.procedural.prompt_rules import ParsedPrompt
from dreamfusion3d.procedural.surfaces import DEFAULT_SURFACE, Surface

if TYPE_CHECKING:
    from dreamfusion3d.priors.pixel.networks import PixelNetworks

MAX_LISTED_WORDS = 40  # words outside the grammar that an error message lists
MAX_LISTED_CAPTIONS = 6  # of a library, that an error message lists
TEXT_ENCODER_FOLDER = "words"


class PixelPrior:
    """Diffusion prior over premultiplied RGBA at 64x64 in [-1, 1], conditioned on prompt tokens and the camera.

    Views of one scene are denoised jointly. A row of its ``TextEmbedding`` holds the prompt vector, the palette and
    volume of its scene, and the roughness and metallic of each palette entry. A prior trained on images without
    cameras is not ``camera_conditioned`` and denoises each image alone.

    ``mixed_precision`` uses bfloat16 where the device supports it; ``cuda_graph`` runs the U-Net as a CUDA graph.
    The networks are loaded when they are first used: objects of ``sample_solid`` need none of them.
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
        check_complete(folder)
        self.folder, self.name, self.device = folder, name, torch.device(device)
        self.camera_conditioned, self.vocabulary = True, list[str]()
        if has_image_model(folder):
            with report_damage(f"the prior in {folder}", folder):
                self.camera_conditioned, self.vocabulary = read_conditioner_config(folder / "conditioner")
        self._options = {"mixed_precision": mixed_precision, "cuda_graph": cuda_graph}
        self.text_encoder = _load_text_encoder(folder)
        self.shapes = ShapeModel(folder / SHAPES_FOLDER, self.device)
        self.assets = AssetModel(folder / ASSETS_FOLDER, self.device)
        self.weak_categories = read_weak_categories(folder)
        self.sha256 = pixel_prior_sha256(folder, text_encoder=self.text_encoder is not None)

    @cached_property
    def networks(self) -> PixelNetworks:
        """The conditioner, the scene and the U-Net. Raises InputError if they are missing or damaged."""
        from dreamfusion3d.priors.pixel.networks import PixelNetworks

        if not has_image_model(self.folder):
            raise InputError(
                f"the prior '{self.name}' has assets but no image model, so it cannot optimize; name an asset "
                f"({self._describe_library()}), or train it with --init-from embedded"
            )
        with torch.random.fork_rng(devices=[]):  # networks draw random weights before they load theirs
            return PixelNetworks(self.folder, self.device, **self._options)

    def check_prompt(self, prompt: str) -> list[str]:
        conditioner = self.networks.conditioner  # damage is reported before anything is written
        prompt_tokens = self._tokenize(prompt)
        parsed = prompt_tokens.parsed
        check_stated_height(parsed.height_m)
        if not prompt_tokens.tokens:
            raise InputError(
                f"the prior '{self.name}' knows no noun in {prompt!r}; it knows: {self._describe_vocabulary(prompt)}. "
                "Use one of these, or choose another prior with --prior FOLDER"
            )
        warnings = list(parsed.notes)
        if prompt_tokens.ignored_words:
            words = ", ".join(repr(w) for w in prompt_tokens.ignored_words)
            warnings.append(f"this prior ignores the words {words}")
        if parsed.spec is None or parsed.spec.tokens()[0] not in prompt_tokens.tokens:
            return warnings
        untrained = conditioner.missing_tokens(parsed.spec.tokens())
        if CATEGORIES[parsed.spec.category].natural_color == WOOD_COLOR:
            untrained = [token for token in untrained if token != "finish:wooden"]  # the category is wooden anyway
        if untrained:
            # "mug:option" reads "mug option"
            named = ", ".join(token.replace("colour:", "color ").replace(":", " ") for token in untrained)
            warnings.append(f"this prior was never trained on: {named}")
        if parsed.spec.category in self.weak_categories:
            warnings.append(f"this prior is weak at the category '{parsed.spec.category}'")
        return warnings

    def knows_solid(self, prompt: str) -> bool:
        spec = parse_prompt(prompt, self.text_encoder).spec
        return self.assets.match(prompt) is not None or (spec is not None and spec.category in self.shapes.categories)

    def check_solid(self, prompt: str) -> list[str]:
        match = self.match_library(prompt)
        if match:
            notes, ignored = extract_height(prompt).notes, match.missing
        else:
            _, parsed = self._parse_solid(prompt)
            notes, ignored = parsed.notes, parsed.unknown_words
        words = ", ".join(map(repr, ignored))
        return [*notes, *([f"this prior ignores the words {words}"] if words else [])]

    def sample_solid(self, prompt: str, *, generator: torch.Generator) -> ObjectSolid | AssetSolid:
        if match := self.match_library(prompt):
            return self.assets.sample(match, generator=generator)
        return self.solid_of(self._parse_solid(prompt)[0], generator=generator)

    def solid_of(self, spec: ObjectSpec, *, generator: torch.Generator | None = None) -> ObjectSolid:
        """Draw an object of a spec whose category is one of ``shapes.categories``."""
        generator = generator or torch.Generator().manual_seed(0)
        return ObjectSolid(self.shapes.sample(spec, generator=generator), spec)

    def match_library(self, prompt: str) -> CaptionMatch | None:
        """Return the assets of the library that serve a prompt; None if a shape serves it, or nothing.

        Whichever leaves fewer words without effect serves it; if they tie, assets that are preferred, or the shape.
        """
        match = self.assets.match(prompt)
        if match is None:
            return None
        parsed = parse_prompt(prompt, self.text_encoder)
        check_stated_height(parsed.height_m)
        if parsed.spec is None or parsed.spec.category not in self.shapes.categories:
            return match
        difference = len(match.missing) - len(parsed.unknown_words)
        return match if difference < 0 or (difference == 0 and self.assets.entries[match.rows[0]].preferred) else None

    def _parse_solid(self, prompt: str) -> tuple[ObjectSpec, ParsedPrompt]:
        """Parse a prompt. Raises InputError if there is no shape of its category."""
        parsed = parse_prompt(prompt, self.text_encoder)
        check_stated_height(parsed.height_m)
        if parsed.spec is None or parsed.spec.category not in self.shapes.categories:
            known = self._describe_solids(prompt) or "none"
            raise InputError(
                f"the prior '{self.name}' knows no shape for {prompt!r}; it knows: {known}. Use one of these, or "
                "optimize with --quality draft"
            )
        return parsed.spec, parsed

    def _describe_solids(self, prompt: str) -> str:
        return "; ".join(
            part for part in (describe_categories(prompt, self.shapes.categories), self._describe_library()) if part
        )

    def _describe_library(self) -> str:
        captions = list(dict.fromkeys(self.assets.captions))
        more = f" and {len(captions) - MAX_LISTED_CAPTIONS} more" if len(captions) > MAX_LISTED_CAPTIONS else ""
        return f"assets such as {', '.join(captions[:MAX_LISTED_CAPTIONS])}{more}" if captions else ""

    def object_height(self, prompt: str) -> ObjectHeight | None:
        parsed = parse_prompt(prompt, self.text_encoder)
        check_stated_height(parsed.height_m)
        if parsed.height_m is not None:
            return ObjectHeight(parsed.height_m, STATED_IN_PROMPT)
        if parsed.spec is None or parsed.spec.category not in self.categories:
            return None
        if match := self.match_library(prompt):
            category = lookup_category(head_noun(self.assets.captions[match.rows[0]]))
            if category is None or category.name != parsed.spec.category:
                return None  # "a crate of apples" is not as high as an apple
        words = parsed.height_words
        return ObjectHeight(usual_height(parsed.spec, words), describe_usual_height(parsed.spec, words))

    def encode_text(self, prompts: list[str]) -> TextEmbedding:
        read = [self._tokenize(prompt) if prompt else None for prompt in prompts]
        surfaces = torch.tensor([_palette_surfaces(prompt_tokens) for prompt_tokens in read], device=self.device)
        return TextEmbedding(self.networks.encode_text(read, surfaces))

    def initial_volume(self, text: TextEmbedding, resolution: int) -> InitialVolume:
        """Return the scene of the first prompt (``sample_initial_volume``)."""
        _, colors, volume, surfaces = self.networks.split_embedding(text)
        return sample_initial_volume(volume[0], colors[0], resolution, surfaces[0])

    def alpha_sigma(self, t: Float[Tensor, " b"]) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        alpha_bar = self.networks.alpha_bar[self.networks.timestep(t)]
        return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()

    def encode(self, render: Render, *, generator: torch.Generator) -> Float[Tensor, "b 4 h w"]:
        return render_to_rgba(render, TRAIN_IMAGE_SIZE)

    def denoise(
        self,
        x_t: Float[Tensor, "b 4 h w"],
        t: Float[Tensor, " b"],
        text: TextEmbedding,
        cameras: OrbitCameras,
        *,
        views: int = 1,
    ) -> Float[Tensor, "b 4 h w"]:
        return self.networks.denoise(x_t, t, text, cameras, views=views)

    @cached_property
    def categories(self) -> frozenset[str]:
        """Categories that the networks or the shapes know."""
        return self.shapes.categories.union(vocabulary_categories(self.vocabulary))

    def _tokenize(self, prompt: str) -> PromptTokens:
        return tokenize_prompt(prompt, frozenset(self.vocabulary), self.text_encoder)

    def _describe_vocabulary(self, prompt: str) -> str:
        words = vocabulary_words(self.vocabulary)
        more = f" and {len(words) - MAX_LISTED_WORDS} more" if len(words) > MAX_LISTED_WORDS else ""
        word_list = f"the words {', '.join(words[:MAX_LISTED_WORDS])}{more}" if words else ""
        return "; ".join(part for part in (describe_categories(prompt, self.categories), word_list) if part)


def pixel_prior_sha256(folder: Path, *, text_encoder: bool = True) -> str:
    """Return the hash of all weights in a prior's folder, with or without its text encoder."""
    files = (*WEIGHT_FILES, f"{TEXT_ENCODER_FOLDER}/model.safetensors") if text_encoder else WEIGHT_FILES
    digests = [file_sha256(folder / file)[:32] for file in files if has_image_model(folder)]
    for subfolder in (SHAPES_FOLDER, ASSETS_FOLDER):
        files_of_networks = sorted((folder / subfolder).glob("[!.]*"))  # with the index of the assets
        if files_of_networks:
            digests.append(hash_text(" ".join(file_sha256(path) for path in files_of_networks), length=32))
    return "-".join(digests)


def is_embedded_prior(sha256: str) -> bool:
    """Return whether a prior's sha256 is that of the embedded weights, whatever folder they were loaded from."""
    return sha256 == pixel_prior_sha256(embedded_folder())


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
    with report_damage(f"{TEXT_ENCODER_FOLDER}/ in {folder}", folder):
        return PromptTextEncoder.load(folder / TEXT_ENCODER_FOLDER)
