"""Networks of a pixel prior: the conditioner and the scene of a prompt, and the U-Net that denoises its images.

They need diffusers, whose import takes seconds: `prior.py` imports this module when the networks are first used.
"""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

import torch
from diffusers import DDPMScheduler, UNet2DModel
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.cameras.orbit import OrbitCameras, orbit_cameras
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.priors.cuda_graph import CudaGraphModule
from dreamfusion3d.priors.pixel.conditioner import UNKNOWN_CAMERA_DEG, Conditioner
from dreamfusion3d.priors.pixel.folder import report_damage
from dreamfusion3d.priors.pixel.scene_volume import PALETTE_SIZE, SceneVolume
from dreamfusion3d.priors.pixel.tokens import PromptTokens
from dreamfusion3d.priors.pixel.unet import (
    OUT_CHANNELS,
    UNSHUFFLE_FACTOR,
    bfloat16_autocast,
    cast_weights_to_bfloat16,
    install_view_attention,
    predict_image,
    render_scene_condition,
)
from dreamfusion3d.priors.protocol import TextEmbedding


class PixelNetworks:
    """The networks in ``folder``, on one device. Raises InputError if they are damaged."""

    def __init__(self, folder: Path, device: torch.device, *, mixed_precision: bool, cuda_graph: bool) -> None:
        self.device, self.mixed_precision = device, mixed_precision
        unet, conditioner, scene, alpha_bar = _load_networks(folder)
        # the stubs of Module.to know memory_format only as a keyword of a single tensor
        unet = unet.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.unet = unet.eval().requires_grad_(False)
        if mixed_precision:
            cast_weights_to_bfloat16(self.unet, device)
        self.conditioner = conditioner.to(device).eval().requires_grad_(False)
        self.scene = scene.to(device).eval().requires_grad_(False)
        self.attention = install_view_attention(self.unet)
        self.denoiser = CudaGraphModule(self.unet, lambda: self.attention.views) if cuda_graph else self.unet
        self.alpha_bar = alpha_bar.to(device)

    @torch.no_grad()
    def encode_text(self, prompts: list[PromptTokens | None], surfaces: Float[Tensor, "b p 2"]) -> Float[Tensor, "b n"]:
        """Return the row of each prompt: its vector, the palette and the volume of its scene, and ``surfaces``."""
        tokens = [prompt_tokens.tokens if prompt_tokens else [] for prompt_tokens in prompts]
        with self._autocast():
            vector = self.conditioner.embed([self.conditioner.token_ids(t) for t in tokens])
            shape = self.conditioner.embed([self.conditioner.shape_token_ids(t) for t in tokens])
            scene = self.scene.colors(vector).flatten(1), self.scene(shape).flatten(1)
        return torch.cat([part.float() for part in (vector, *scene, surfaces.flatten(1))], 1)

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
        """Predict x_0, see ``Prior.denoise``."""
        timestep = self.timestep(t)
        if not self.conditioner.camera_conditioned:
            azimuth, elevation = (torch.full_like(cameras.azimuth_deg, angle) for angle in UNKNOWN_CAMERA_DEG)
            cameras, views = orbit_cameras(azimuth, elevation, height=cameras.height, width=cameras.width), 1
        vector, colors, volume, _ = self.split_embedding(text)
        scene_images = render_scene_condition(volume, cameras, *x_t.shape[-2:])
        with self._autocast():
            condition = self.conditioner(vector, cameras.azimuth_deg, cameras.elevation_deg)
            predicted = predict_image(
                self.denoiser, self.attention, x_t, timestep, scene_images, colors, condition, cameras, views=views
            )
        return predicted.image(colors)

    def split_embedding(
        self, text: TextEmbedding
    ) -> tuple[Tensor, Float[Tensor, "b p 3"], Float[Tensor, "b v z y x"], Float[Tensor, "b p 2"]]:
        """Split rows into prompt vectors, palettes, volumes and surfaces."""
        width = self.conditioner.width
        ends = [width, width + 3 * PALETTE_SIZE, -2 * PALETTE_SIZE]
        vector, colors, volume, surfaces = text.embedding.tensor_split(ends, 1)
        palette = colors.unflatten(1, (PALETTE_SIZE, 3)), self.scene.unflatten_volumes(volume)
        return vector, *palette, surfaces.unflatten(1, (PALETTE_SIZE, 2))

    def timestep(self, t: Tensor) -> Tensor:
        return (t * (len(self.alpha_bar) - 1)).round().long()

    def _autocast(self) -> contextlib.AbstractContextManager[object]:
        return bfloat16_autocast(self.device) if self.mixed_precision else contextlib.nullcontext()


def _load_networks(folder: Path) -> tuple[torch.nn.Module, Conditioner, SceneVolume, Tensor]:
    logging.getLogger("diffusers").setLevel(logging.ERROR)
    with report_damage(f"the prior in {folder}", folder):
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
