"""What the parts of a pixel prior learn from: clear pictures behind noisy ones, and their mean."""

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
from dreamfusion3d.priors.pixel.unet import (
    SCENE_DOWNSCALE,
    ImagePrediction,
    ViewAttention,
    apply_palette,
    bfloat16_autocast,
    predict_image,
    render_scene_condition,
)
from dreamfusion3d.procedural.dataset import TrainingBatch, batch_cameras, segment_means

MAX_IMAGE_WEIGHT = 5.0  # weight of a picture's error
SHADING_WEIGHT = 1.0  # weight of the errors of the parts' lights against the pictures'
RESIDUAL_WEIGHT = 0.3  # of what a picture that was told its prompt has of no colour of the prompt's
PALETTE_WEIGHT = 1.0  # of the palettes' errors
OCCUPANCY_WEIGHT = 10.0  # of the errors of what the scene's cells are filled with: most cells are empty, and right
MIN_PEER_SIGMA = 0.97  # noise below which a picture gives away which prop it shows


UNetCallable = Callable[..., Any]  # a UNet2DModel, or what stands in for it


class PixelPriorNetworks(nn.Module):
    """The parts that learn together."""

    def __init__(self, unet: UNet2DModel, conditioner: Conditioner, scene: SceneVolume) -> None:
        super().__init__()
        self.unet = unet
        self.conditioner = conditioner
        self.scene = scene

    def predict_scene(
        self, batch: TrainingBatch, prompt_dropped: Tensor
    ) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b v z y x"], Float[Tensor, "b p 3"]]:
        """The prompt's vector, the scene's volume and its colours, for every picture; of no prompt
        where it is dropped."""
        prompts: list[list[str]] = [
            [] if is_dropped else tokens for tokens, is_dropped in zip(batch.tokens, prompt_dropped, strict=True)
        ]
        conditioner = self.conditioner
        text = conditioner.embed([conditioner.token_ids(tokens) for tokens in prompts])
        volumes = self.scene(conditioner.embed([conditioner.shape_token_ids(tokens) for tokens in prompts]))
        views = batch.images.shape[1]
        prompt_index = torch.arange(len(text), device=text.device).repeat_interleave(views)
        return text[prompt_index], volumes[prompt_index], self.scene.colors(text)[prompt_index]


@dataclass(frozen=True)
class StepRandomness:
    """All that a step draws by lot beside its batch, so that a part of it can be taken twice."""

    prompt_dropped: Bool[Tensor, " g"]  # props shown without their prompt
    jitter: Float[Tensor, "b 1 hs ws"]  # of the scene's samples
    timestep: Int64[Tensor, " b"] | None = None
    noise: Float[Tensor, "b 4 h w"] | None = None

    def select(self, rows: slice, views: int) -> StepRandomness:
        """Those of some props."""
        b = slice(rows.start * views, rows.stop * views)
        timestep = None if self.timestep is None else self.timestep[b]
        noise = None if self.noise is None else self.noise[b]
        return StepRandomness(self.prompt_dropped[rows], self.jitter[b], timestep, noise)


def sample_step_randomness(
    batch: TrainingBatch, dropout: float, num_timesteps: int, *, generator: torch.Generator, device: torch.device
) -> StepRandomness:
    """Of a step of pictures, with ``levels`` levels of noise; 0: of one in which the scene learns alone."""
    num_objects, views, channels, height, width = batch.images.shape
    shape, timestep, noise = (num_objects * views, channels, height, width), None, None
    if num_timesteps:
        timestep = sample_timesteps(num_objects, num_timesteps, generator).repeat_interleave(views).to(device)
        noise = torch.randn(shape, generator=generator_on_device(generator, device), device=device)
    prompt_dropped = torch.rand(num_objects, generator=generator) < dropout
    size = height // SCENE_DOWNSCALE, width // SCENE_DOWNSCALE
    return StepRandomness(
        prompt_dropped, sample_jitter(num_objects * views, *size, generator=generator, device=device), timestep, noise
    )


@dataclass(frozen=True)
class PixelPriorLosses:
    image: Float[Tensor, ""]
    shading: Float[Tensor, ""]  # of the light of each colour, and of what is of none of them
    scene: Float[Tensor, ""]  # of the scene's picture and palette


def pixel_prior_losses(
    model: PixelPriorNetworks,
    attention: ViewAttention,
    alpha_bar: Tensor,
    batch: TrainingBatch,
    dropout: float,
    *,
    generator: torch.Generator,
    compiled_unet: UNetCallable | None = None,
    joint: bool = True,
) -> PixelPriorLosses:
    """Mean squared errors of the predicted x_0, of what it is made of (where the batch knows), and of
    the scene that the U-Net is shown.

    The first two are weighted by 1 / sigma^2 as the error of a predicted velocity is (Salimans and Ho,
    arXiv 2202.00512, section 4), but never by more than MOST (as Hang et al., arXiv 2303.09556, do).

    All views of a prop share one noise level, and lose their prompt together. Where noise hides
    which of its peers a prop is, the target is the mean of all that it may be (``targets``).
    Unless ``joint`` each picture is denoised alone. ``network`` stands in for the model's U-Net: the
    same, compiled.
    """
    device = alpha_bar.device
    randomness = sample_step_randomness(batch, dropout, len(alpha_bar), generator=generator, device=device)
    noisy_images, cameras = (NoisyImages.from_batch(batch, randomness, alpha_bar), batch_cameras(batch).to(device))
    views = batch.images.shape[1]
    with bfloat16_autocast(device):
        text, volumes, colors = model.predict_scene(batch, randomness.prompt_dropped)
        scene_images = render_scene_condition(volumes, cameras, *noisy_images.x0.shape[-2:], jitter=randomness.jitter)
        condition = model.conditioner(
            text, batch.azimuth_deg.flatten().to(device), batch.elevation_deg.flatten().to(device)
        )
        predicted = predict_image(
            model.unet if compiled_unet is None else compiled_unet,
            attention,
            noisy_images.x_t,
            noisy_images.timestep,
            scene_images,
            colors,
            condition,
            cameras,
            views=views if joint else 1,
        )
    return losses_from_prediction(model, batch, randomness, noisy_images, predicted, volumes, scene_images, colors)


@dataclass(frozen=True)
class NoisyImages:
    """The pictures behind noise."""

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
    """The losses of what was predicted."""
    views, device = batch.images.shape[1], noisy_images.x0.device
    target, target_shading = denoising_targets(
        batch, noisy_images.x0, noisy_images.noise, noisy_images.alpha, noisy_images.sigma
    )
    weight = noisy_images.sigma.pow(-2).clamp(max=MAX_IMAGE_WEIGHT)
    has_prompt = ~randomness.prompt_dropped.repeat_interleave(views).view(-1, 1, 1, 1).to(device)
    decomposition_loss = RESIDUAL_WEIGHT * (has_prompt * weight * (2 * predicted.residual).square()).mean()
    if target_shading is not None:
        decomposition_loss = (
            decomposition_loss + SHADING_WEIGHT * (weight * (2 * (predicted.shading - target_shading)).square()).mean()
        )
    return PixelPriorLosses(
        (weight * (predicted.image(colors) - target).square()).mean(),
        decomposition_loss,
        scene_render_loss(volumes, scene_images, colors, batch) + PALETTE_WEIGHT * palette_loss(model, batch),
    )


def scene_loss(
    model: PixelPriorNetworks, batch: TrainingBatch, dropout: float, *, generator: torch.Generator
) -> Tensor:
    """Mean squared error of the scene's pictures and palettes: what a prior says of pictures that are all
    noise."""
    device = next(model.parameters()).device
    randomness = sample_step_randomness(batch, dropout, 0, generator=generator, device=device)
    with bfloat16_autocast(device):
        _, volumes, colors = model.predict_scene(batch, randomness.prompt_dropped)
    scene_images = render_scene_condition(
        volumes, batch_cameras(batch).to(device), *batch.images.shape[-2:], jitter=randomness.jitter
    )
    return scene_render_loss(volumes, scene_images, colors, batch) + PALETTE_WEIGHT * palette_loss(model, batch)


def scene_render_loss(
    volumes: Float[Tensor, "b v z y x"],
    scene_images: Float[Tensor, "b c h w"],
    colors: Float[Tensor, "b p 3"],
    batch: TrainingBatch,
) -> Tensor:
    """Against the mean over each prop's peers: the target's expectation is the same, its noise less.

    Where the batch knows what is inside of a prop, the volume is told: pictures leave solid what no
    camera looks into, and a jug would stay full to its brim."""

    def downscaled_mean(groups: list[Tensor]) -> Tensor:
        return F.avg_pool2d(segment_means(groups).flatten(0, 1), SCENE_DOWNSCALE)

    shading, opacity = scene_images[:, :PALETTE_SIZE], scene_images[:, PALETTE_SIZE : PALETTE_SIZE + 1]
    image = torch.cat([2 * apply_palette(shading, colors) - 1, opacity], 1)
    error = (
        (image - downscaled_mean(batch.peers or list(batch.images[:, None])).to(scene_images.device)).square().mean()
    )
    if batch.occupancy is not None:
        views = batch.images.shape[1]
        error = (
            error
            + OCCUPANCY_WEIGHT
            * (voxel_opacity(volumes[::views]) - batch.occupancy.to(scene_images.device)).square().mean()
        )
    if not batch.peer_shading:
        return error
    return (
        error
        + SHADING_WEIGHT * (2 * (shading - downscaled_mean(batch.peer_shading).to(scene_images.device))).square().mean()
    )


def palette_loss(model: PixelPriorNetworks, batch: TrainingBatch) -> Tensor:
    """Of the palettes alone: thousands of captions say their colours before many pictures are seen."""
    if batch.caption_colors is None:
        return torch.zeros((), device=next(model.parameters()).device)
    conditioner = model.conditioner
    text = conditioner.embed([conditioner.token_ids(tokens) for tokens in batch.caption_colors.tokens])
    return (2 * (model.scene.colors(text) - batch.caption_colors.colors.to(text.device))).square().mean()


def denoising_targets(
    batch: TrainingBatch, x0: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor
) -> tuple[Float[Tensor, "b 4 h w"], Float[Tensor, "b p h w"] | None]:
    """E[x0 | x_t] over each prop's peers, where that differs from the prop itself; and of its lights.

    The prop is one of its peers at random, so both targets teach the same denoiser; but this
    one does not change with the draw, and a small batch learns from it what otherwise drowns
    in the variety of shapes: on which side the handle is (stable target field, Xu et al.,
    arXiv 2302.00670).
    """
    num_objects, views = batch.images.shape[:2]
    images = x0.clone()
    shading = None if batch.shading is None else batch.shading.flatten(0, 1).to(x0.device, copy=True)
    per_object = (num_objects, views)
    object_sigma = sigma[::views].flatten().tolist()  # one wait for the device
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
    """The parts as one tensor, each with as many rows as the longest; and which of these are real."""
    sizes = torch.tensor([len(tensor) for tensor in tensors], device=device)
    padded = nn.utils.rnn.pad_sequence([tensor.to(device) for tensor in tensors], batch_first=True)
    return padded, torch.arange(padded.shape[1], device=device) < sizes[:, None]


def sample_timesteps(count: int, num_timesteps: int, generator: torch.Generator) -> Tensor:
    """Noise levels: half uniform, the rest from the noisiest fifth and its end.

    Below it the picture itself shows the side that it is seen from; only above it must the
    camera and the prompt decide, and distillation builds the shape from what is said there.
    """
    uniform, choice = torch.rand(2, count, generator=generator)
    low = torch.where(choice < 0.2, 0.97, torch.where(choice < 0.5, 0.8, 0.0))
    return ((low + (1 - low) * uniform) * num_timesteps).long().clamp(max=num_timesteps - 1)
