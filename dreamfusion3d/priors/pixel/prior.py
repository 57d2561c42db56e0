"""A pixel prior from a diffusers folder (unet/, scheduler/) with this project's conditioner:
the embedded prior, and whatever ``train-prior`` writes."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor

from dreamfusion3d.cameras.orbit import Cameras, orbit
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.files import sha256
from dreamfusion3d.core.types import Render
from dreamfusion3d.priors.cuda_graph import Captured
from dreamfusion3d.priors.oracle import rgba
from dreamfusion3d.priors.pixel.conditioner import UNTOLD_DEG, Conditioner
from dreamfusion3d.priors.pixel.scene_volume import PALETTE, Scene, fog_of
from dreamfusion3d.priors.pixel.text_encoder import WordEncoder
from dreamfusion3d.priors.pixel.tokens import Told, tell
from dreamfusion3d.priors.pixel.unet import (
    OUT_CHANNELS,
    UNSHUFFLE,
    attend_across_views,
    autocast,
    look,
    predict,
    settle,
)
from dreamfusion3d.priors.protocol import Text
from dreamfusion3d.priors.vocabulary import embedded_folder, known_kinds, weak_kinds, words_of
from dreamfusion3d.procedural.categories import KINDS, WOOD, world_summary

SIZE = 64  # pixels, a square
NAMED = 40  # plain words that an error names
WORDS = "words"  # folder of the network that reads prompts
PARTS = (
    "unet/diffusion_pytorch_model.safetensors", "conditioner/model.safetensors", "scene/model.safetensors"
)


class PixelPrior:
    """Premultiplied RGBA at 64x64 in [-1, 1], told the prompt's meaning and the camera.

    Views of one scene are denoised jointly. Runs in bfloat16 where the device computes in it; in
    float32 with ``half=False``; with ``graph`` as a CUDA graph (``captured.py``). A row of its ``Text``
    is the prompt's vector, and the colours and the volume of its scene. Taught from pictures without
    cameras, it is told none (``camera_conditioned``), and denoises each picture alone.
    """

    def __init__(
        self, folder: Path, name: str, *, device: torch.device | str = "cpu", half: bool = True,
        graph: bool = False,
    ) -> None:
        self.name = name
        self.device = torch.device(device)
        self.half = half
        unet, conditioner, scene, alpha_bar = _load(folder)
        # the stubs of Module.to know memory_format only as a keyword of a single tensor
        unet = unet.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.unet = unet.eval().requires_grad_(False)
        if half:
            settle(self.unet, self.device)
        self.conditioner = conditioner.to(self.device).eval().requires_grad_(False)
        self.camera_conditioned = conditioner.cameras
        self.scene = scene.to(self.device).eval().requires_grad_(False)
        self._known = frozenset(conditioner.vocabulary)
        self.attention = attend_across_views(self.unet)
        self.network = Captured(self.unet, lambda: self.attention.views) if graph else self.unet
        self.alpha_bar = alpha_bar.to(self.device)
        self.words = _load_words(folder)
        self.weak = weak_kinds(folder)
        self.sha256 = sha256_of(folder, words=self.words is not None)

    def check_prompt(self, prompt: str) -> list[str]:
        told = self._told(prompt)
        reading = told.reading
        if not told.served:
            raise InputError(
                f"the prior '{self.name}' knows no noun in {prompt!r}; it knows: {self._knows()}. "
                "Use one of these, or give another prior with --prior FOLDER"
            )
        warnings = list(reading.notes)
        if told.unknown:
            words = ", ".join(repr(w) for w in told.unknown)
            warnings.append(f"words without effect on this prior: {words}")
        if reading.meaning is None or reading.meaning.tokens()[0] not in told.tokens:
            return warnings
        untaught = self.conditioner.missing(reading.meaning.tokens())
        if KINDS[reading.meaning.kind].natural == WOOD:
            untaught = [token for token in untaught if token != "finish:wooden"]  # it is of wood anyhow
        if untaught:
            # "mug:option" reads "mug option"
            named = ", ".join(token.replace(":", " ") for token in untaught)
            warnings.append(f"this prior was never taught: {named}")
        if reading.meaning.kind in self.weak:
            warnings.append(f"this prior draws the kind '{reading.meaning.kind}' poorly")
        return warnings

    def encode_text(self, prompts: list[str]) -> Text:
        tokens = [self._told(prompt).tokens if prompt else [] for prompt in prompts]
        with torch.no_grad(), self._precision():
            vector = self.conditioner.embed([self.conditioner.rows(t) for t in tokens])
            shape = self.conditioner.embed([self.conditioner.shape_rows(t) for t in tokens])
            parts = vector, self.scene.colours(vector).flatten(1), self.scene(shape).flatten(1)
            return Text(torch.cat([part.float() for part in parts], 1))

    def fog(self, text: Text, resolution: int) -> tuple[Float[Tensor, "r r r"], Float[Tensor, "r r r 3"]]:
        """Density and colour of the scene of the first prompt; see ``scene.fog_of``."""
        _, colours, volume = self._parts(text)
        return fog_of(volume[0], colours[0], resolution)

    def alpha_sigma(self, t: Float[Tensor, " b"]) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        alpha_bar = self.alpha_bar[self._timestep(t)]
        return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()

    def encode(self, render: Render, *, generator: torch.Generator) -> Float[Tensor, "b 4 h w"]:
        return rgba(render, SIZE)

    @torch.no_grad()
    def denoise(
        self, x_t: Float[Tensor, "b 4 h w"], t: Float[Tensor, " b"], text: Text, cameras: Cameras,
        *, views: int = 1,
    ) -> Float[Tensor, "b 4 h w"]:
        timestep = self._timestep(t)
        if not self.camera_conditioned:
            azimuth, elevation = (torch.full_like(cameras.azimuth_deg, angle) for angle in UNTOLD_DEG)
            cameras, views = orbit(azimuth, elevation, height=cameras.height, width=cameras.width), 1
        vector, colours, volume = self._parts(text)
        seen = look(volume, cameras, *x_t.shape[-2:])
        with self._precision():
            condition = self.conditioner(vector, cameras.azimuth_deg, cameras.elevation_deg)
            predicted = predict(
                self.network, self.attention, x_t, timestep, seen, colours, condition, cameras, views=views
            )
        return predicted.picture(colours)

    def _parts(self, text: Text) -> tuple[Tensor, Float[Tensor, "b p 3"], Float[Tensor, "b v z y x"]]:
        """The prompts' vectors, the colours and the volumes of their scenes."""
        width = self.conditioner.width
        vector, colours, volume = text.embedding.tensor_split([width, width + 3 * PALETTE], 1)
        return vector, colours.unflatten(1, (PALETTE, 3)), self.scene.unflatten(volume)

    def _told(self, prompt: str) -> Told:
        return tell(prompt, self._known, self.words)

    def _knows(self) -> str:
        """For error messages: every kind, and some of the plain words."""
        kinds, words = known_kinds(self.conditioner.vocabulary), words_of(self._known)
        more = f" and {len(words) - NAMED} more" if len(words) > NAMED else ""
        said = f"the words {', '.join(words[:NAMED])}{more}" if words else ""
        return "; ".join(part for part in (world_summary(kinds), said) if part)

    def _precision(self) -> contextlib.AbstractContextManager[object]:
        return autocast(self.device) if self.half else contextlib.nullcontext()

    def _timestep(self, t: Tensor) -> Tensor:
        return (t * (len(self.alpha_bar) - 1)).round().long()


def sha256_of(folder: Path, *, words: bool = True) -> str:
    """Of all weights in a prior's folder, with those of its reader of prompts or without."""
    parts = (*PARTS, f"{WORDS}/model.safetensors") if words else PARTS
    return "-".join(sha256(folder / part)[:32] for part in parts)


def is_shipped(weights: str) -> bool:
    """Whether ``weights`` (a prior's sha256) are those in the package, wherever they were read from."""
    return weights == sha256_of(embedded_folder())


def _load(folder: Path) -> tuple[torch.nn.Module, Conditioner, Scene, Tensor]:
    logging.getLogger("diffusers").setLevel(logging.ERROR)
    from diffusers import DDPMScheduler, UNet2DModel

    _require_whole(folder)
    try:
        unet = UNet2DModel.from_pretrained(
            folder / "unet", use_safetensors=True, local_files_only=True, torch_dtype=torch.float32
        )
        scheduler = DDPMScheduler.from_pretrained(folder / "scheduler", local_files_only=True)
        if unet.config.out_channels != OUT_CHANNELS * UNSHUFFLE**2:
            raise InputError(
                f"the prior in {folder} was made by another version of dreamfusion3d, whose networks had "
                "another form; train it anew with train-prior, or leave --prior out"
            )
        conditioner = Conditioner.load(folder / "conditioner")
        scene = Scene.load(folder / "scene")
    except (OSError, SafetensorError, RuntimeError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"the prior in {folder} is damaged ({reason}); {_advice(folder)}") from None
    return unet, conditioner, scene, scheduler.alphas_cumprod


def _load_words(folder: Path) -> WordEncoder | None:
    """The folder's reader of prompts; a folder without one is read by the rules alone."""
    if not (folder / WORDS).is_dir():
        return None
    try:
        return WordEncoder.load(folder / WORDS)
    except (OSError, SafetensorError, RuntimeError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"{WORDS}/ in {folder} is damaged ({reason}); {_advice(folder)}") from None


def _require_whole(folder: Path) -> None:
    if not folder.is_dir():
        raise InputError(
            f"there is no prior folder {folder}; {_advice(folder)}, or name a model of the hub as owner/name"
        )
    for part in ("model_index.json", "scheduler/scheduler_config.json", "unet/config.json", *PARTS):
        if not (folder / part).is_file():
            raise InputError(
                f"the folder {folder} is not a pixel prior: {part} is missing; {_advice(folder)}"
            )


def _advice(folder: Path) -> str:
    if folder == embedded_folder():
        return "the package is incomplete: install dreamfusion3d again"
    return "give a folder that train-prior wrote, or leave --prior out"
