"""Losses of a pixel prior's networks: denoised images, their decomposition into colors, and the scene volume."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import UNet2DModel
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from dreamfusion3d.priors.pixel.conditioner import Conditioner
from dreamfusion3d.priors.pixel.scene_volume import (
    PALETTE_SIZE,
    SceneVolume,
    generator_on_device,
    sample_jitter,
    voxel_opacity,
)
from dreamfusion3d.priors.pixel.unet import SCENE_DOWNSCALE, ImagePrediction, apply_palette
from dreamfusion3d.procedural.dataset import TrainingBatch, segment_means

MAX_IMAGE_WEIGHT = 5.0  # clamps the weight 1 / sigma^2 of an image's error
SHADING_WEIGHT = 1.0  # of the error of the shading per palette color, relative to the image's
RESIDUAL_WEIGHT = 0.3  # of image content outside the palette, where the network knows the prompt
PALETTE_WEIGHT = 1.0
OCCUPANCY_WEIGHT = 10.0  # high, because most voxels are empty and correct
MIN_PEER_SIGMA = 0.97  # below this noise an image reveals which of its peers it shows

UNetCallable = Callable[..., Any]  # a UNet2DModel or its compiled form


class PixelPriorNetworks(nn.Module):
    """The networks that are trained together."""

    def __init__(self, unet: UNet2DModel, conditioner: Conditioner, scene: SceneVolume) -> None:
        super().__init__()
        self.unet, self.conditioner, self.scene = unet, conditioner, scene

    def predict_scene(
        self, batch: TrainingBatch, prompt_dropped: Tensor
    ) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b v z y x"], Float[Tensor, "b p 3"]]:
        """Return the prompt vector, scene volume and palette for every image, unconditional where dropped."""
        rows = zip(batch.tokens, prompt_dropped, strict=True)
        prompts: list[list[str]] = [[] if is_dropped else tokens for tokens, is_dropped in rows]
        conditioner = self.conditioner
        text = conditioner.embed([conditioner.token_ids(tokens) for tokens in prompts])
        volumes = self.scene(conditioner.embed([conditioner.shape_token_ids(tokens) for tokens in prompts]))
        views = batch.images.shape[1]
        prompt_index = torch.arange(len(text), device=text.device).repeat_interleave(views)
        return text[prompt_index], volumes[prompt_index], self.scene.colors(text)[prompt_index]


@dataclass(frozen=True)
class StepRandomness:
    """All random numbers of a step besides its batch, drawn up front so that blocks can be recomputed."""

    prompt_dropped: Bool[Tensor, " g"]  # objects trained without their prompt
    jitter: Float[Tensor, "b 1 hs ws"]  # of the samples along the scene's rays
    timestep: Int64[Tensor, " b"] | None = None
    noise: Float[Tensor, "b 4 h w"] | None = None

    def select(self, rows: slice, views: int) -> StepRandomness:
        """Return the random numbers of some objects."""
        b = slice(rows.start * views, rows.stop * views)
        timestep = None if self.timestep is None else self.timestep[b]
        noise = None if self.noise is None else self.noise[b]
        return StepRandomness(self.prompt_dropped[rows], self.jitter[b], timestep, noise)


def sample_step_randomness(
    batch: TrainingBatch, dropout: float, num_timesteps: int, *, generator: torch.Generator, device: torch.device
) -> StepRandomness:
    """Draw the random numbers of a step; ``num_timesteps`` = 0 for a step that trains only the scene."""
    num_objects, views, channels, height, width = batch.images.shape
    shape, timestep, noise = (num_objects * views, channels, height, width), None, None
    if num_timesteps:
        timestep = sample_timesteps(num_objects, num_timesteps, generator).repeat_interleave(views).to(device)
        noise = torch.randn(shape, generator=generator_on_device(generator, device), device=device)
    prompt_dropped = torch.rand(num_objects, generator=generator) < dropout
    size = height // SCENE_DOWNSCALE, width // SCENE_DOWNSCALE
    jitter = sample_jitter(num_objects * views, *size, generator=generator, device=device)
    return StepRandomness(prompt_dropped, jitter, timestep, noise)


@dataclass(frozen=True)
class PixelPriorLosses:
    """Losses of a step; without ``image`` and ``shading`` it trains only the scene."""

    scene: Float[Tensor, ""]  # of the scene's renders, voxels and palettes
    image: Float[Tensor, ""] | None = None  # of the predicted x_0
    shading: Float[Tensor, ""] | None = None  # of the shading per palette color, and of the residual

    def total(self, scene_weight: float) -> Float[Tensor, ""]:
        """Return the weighted sum."""
        if self.image is None or self.shading is None:
            return self.scene
        return self.image + self.shading + scene_weight * self.scene


@dataclass(frozen=True)
class NoisyImages:
    """Clean images with their noise and noise levels."""

    x0: Float[Tensor, "b 4 h w"]
    noise: Float[Tensor, "b 4 h w"]
    timestep: Int64[Tensor, " b"]
    alpha: Float[Tensor, "b 1 1 1"]
    sigma: Float[Tensor, "b 1 1 1"]

    @staticmethod
    def from_batch(batch: TrainingBatch, randomness: StepRandomness, alpha_bar: Tensor) -> NoisyImages:
        assert randomness.timestep is not None and randomness.noise is not None
        alpha = alpha_bar[randomness.timestep].sqrt().view(-1, 1, 1, 1)
        sigma = (1 - alpha_bar[randomness.timestep]).sqrt().view(-1, 1, 1, 1)
        x0 = batch.images.flatten(0, 1).to(alpha_bar.device)
        return NoisyImages(x0, randomness.noise, randomness.timestep, alpha, sigma)

    @property
    def x_t(self) -> Float[Tensor, "b 4 h w"]:
        return self.alpha * self.x0 + self.sigma * self.noise


def losses_from_prediction(
    model: PixelPriorNetworks,
    batch: TrainingBatch,
    randomness: StepRandomness,
    noisy_images: NoisyImages,
    predicted: ImagePrediction,
    volumes: Float[Tensor, "b v z y x"],
    scene_images: Float[Tensor, "b c hs ws"],
    colors: Float[Tensor, "b p 3"],
) -> PixelPriorLosses:
    """Compute the mean squared errors of a prediction.

    Errors of x_0 and its decomposition are weighted by 1 / sigma^2 like the error of a predicted velocity (Salimans
    and Ho, arXiv 2202.00512, section 4), clamped to ``MAX_IMAGE_WEIGHT`` (as in Hang et al., arXiv 2303.09556).
    """
    views, device = batch.images.shape[1], noisy_images.x0.device
    alpha, sigma = noisy_images.alpha, noisy_images.sigma
    target, target_shading = denoising_targets(batch, noisy_images.x0, noisy_images.noise, alpha, sigma)
    weight = sigma.pow(-2).clamp(max=MAX_IMAGE_WEIGHT)
    has_prompt = ~randomness.prompt_dropped.repeat_interleave(views).view(-1, 1, 1, 1).to(device)
    shading = RESIDUAL_WEIGHT * (has_prompt * weight * (2 * predicted.residual).square()).mean()
    if target_shading is not None:
        error = 2 * (predicted.shading - target_shading)
        shading = shading + SHADING_WEIGHT * (weight * error.square()).mean()
    image = (weight * (predicted.image(colors) - target).square()).mean()
    return PixelPriorLosses(scene_loss(model, volumes, scene_images, colors, batch), image, shading)


def scene_loss(
    model: PixelPriorNetworks,
    volumes: Float[Tensor, "b v z y x"],
    scene_images: Float[Tensor, "b c h w"],
    colors: Float[Tensor, "b p 3"],
    batch: TrainingBatch,
) -> Float[Tensor, ""]:
    """Compute the loss of the scene volumes and palettes: the prediction for images of pure noise.

    The scene's renders are compared with the mean over each object's peers, which has the same expectation as the
    object's own images and less noise. Where the batch knows the occupancy of an object, the voxels are supervised
    too: images do not constrain what no camera sees, so a jug would stay filled to its brim.
    """
    device = scene_images.device

    def downscaled_mean(groups: list[Tensor]) -> Tensor:
        return F.avg_pool2d(segment_means(groups).flatten(0, 1), SCENE_DOWNSCALE).to(device)

    shading, opacity = scene_images[:, :PALETTE_SIZE], scene_images[:, PALETTE_SIZE : PALETTE_SIZE + 1]
    image = torch.cat([2 * apply_palette(shading, colors) - 1, opacity], 1)
    target = downscaled_mean(batch.peers or list(batch.images[:, None]))
    error = (image - target).square().mean()
    if batch.occupancy is not None:
        opacities = voxel_opacity(volumes[:: batch.images.shape[1]])
        error = error + OCCUPANCY_WEIGHT * (opacities - batch.occupancy.to(device)).square().mean()
    if batch.peer_shading:
        shading_error = 2 * (shading - downscaled_mean(batch.peer_shading))
        error = error + SHADING_WEIGHT * shading_error.square().mean()
    return error + PALETTE_WEIGHT * palette_loss(model, batch)


def palette_loss(model: PixelPriorNetworks, batch: TrainingBatch) -> Tensor:
    """Supervise palettes from captions alone; many more captions than images fit into a step."""
    if batch.caption_colors is None:
        return torch.zeros((), device=next(model.parameters()).device)
    conditioner = model.conditioner
    text = conditioner.embed([conditioner.token_ids(tokens) for tokens in batch.caption_colors.tokens])
    return (2 * (model.scene.colors(text) - batch.caption_colors.colors.to(text.device))).square().mean()


def denoising_targets(
    batch: TrainingBatch, x0: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor
) -> tuple[Float[Tensor, "b 4 h w"], Float[Tensor, "b p h w"] | None]:
    """Return E[x0 | x_t] over each object's peers, and of its shading (stable targets, Xu et al., arXiv 2302.00670).

    An object is a random one of its peers, so the single image would lead to the same denoiser. The mean does not
    depend on that draw: small batches learn from it what the variety of shapes would otherwise hide, such as the
    side of a handle. Below ``MIN_PEER_SIGMA`` an object's own image is the target.
    """
    num_objects, views = batch.images.shape[:2]
    images = x0.clone()
    shading = None if batch.shading is None else batch.shading.flatten(0, 1).to(x0.device, copy=True)
    per_object = (num_objects, views)
    object_sigma = sigma[::views].flatten().tolist()  # one device synchronization
    ambiguous = [i for i, peers in enumerate(batch.peers) if len(peers) > 1 and object_sigma[i] >= MIN_PEER_SIGMA]
    if not ambiguous:
        return images, shading
    peer_images, is_real = _pad_rows([batch.peers[i] for i in ambiguous], x0.device)
    a, s = alpha[::views][ambiguous].unsqueeze(1), sigma[::views][ambiguous].view(-1, 1)
    x_t = (alpha * x0 + sigma * noise).unflatten(0, per_object)[ambiguous]
    squared_distance = (x_t[:, None] - a[..., None] * peer_images).square().flatten(2).sum(2)
    posterior = (-squared_distance / (2 * s * s)).masked_fill(~is_real, -torch.inf).softmax(1)
    images.unflatten(0, per_object)[ambiguous] = torch.einsum("nk,nkvchw->nvchw", posterior, peer_images)
    if shading is not None:
        peer_images, _ = _pad_rows([batch.peer_shading[i] for i in ambiguous], x0.device)
        shading.unflatten(0, per_object)[ambiguous] = torch.einsum("nk,nkvchw->nvchw", posterior, peer_images)
    return images, shading


def _pad_rows(tensors: list[Tensor], device: torch.device) -> tuple[Tensor, Bool[Tensor, "n k"]]:
    """Pad tensors to the most rows and stack them; the mask marks the real rows."""
    sizes = torch.tensor([len(tensor) for tensor in tensors], device=device)
    padded = nn.utils.rnn.pad_sequence([tensor.to(device) for tensor in tensors], batch_first=True)
    return padded, torch.arange(padded.shape[1], device=device) < sizes[:, None]


def sample_timesteps(count: int, num_timesteps: int, generator: torch.Generator) -> Tensor:
    """Sample timesteps: half of them uniform, the rest from the noisiest 20 % and 3 %.

    At less noise the image itself shows its view. Only at high noise do the camera and the prompt decide, and
    distillation builds the shape from those predictions.
    """
    uniform, choice = torch.rand(2, count, generator=generator)
    low = torch.where(choice < 0.2, 0.97, torch.where(choice < 0.5, 0.8, 0.0))
    return ((low + (1 - low) * uniform) * num_timesteps).long().clamp(max=num_timesteps - 1)
