"""Configuration and state of training a pixel prior."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import UNet2DModel

from dreamfusion3d.priors.pixel.conditioner import Conditioner
from dreamfusion3d.priors.pixel.losses import PixelPriorNetworks
from dreamfusion3d.priors.pixel.scene_volume import SceneVolume
from dreamfusion3d.priors.pixel.unet import build_unet
from dreamfusion3d.procedural.dataset import TrainingBatch

CUDA_BATCH_FACTOR = 24  # times as many images per step on CUDA, where smaller batches take as long
BatchFunction = Callable[[int, int, torch.Generator], TrainingBatch]  # (objects, views, generator)


@dataclass(frozen=True)
class PriorTrainConfig:
    """Hyperparameters of a training."""

    images_per_step: int = 24
    views_per_object: int = 4  # denoised jointly
    single_view_fraction: float = 0.25  # of steps in which each image is denoised alone
    learning_rate: float = 6e-4
    scene_learning_rate: float = 2e-3  # of the scene network and the token embeddings
    scene_weight: float = 0.5  # of the scene's losses in a denoising step
    scene_steps: int = 1600  # first steps, which train only the scene
    scene_step_fraction: float = 0.5  # of later steps that train only the scene
    scene_images_per_step: int = 36  # in steps that train only the scene
    weight_decay: float = 0.01
    warmup_steps: int = 300
    prompt_dropout: float = 0.1  # fraction of objects without their prompt (classifier-free guidance)
    ema_half_life: int = 20_000  # in images; the averaged weights are saved
    widths: tuple[int, ...] = (96, 192)
    layers: int = 1
    scene_channels: tuple[int, int, int] = (96, 64, 32)

    def for_device(self, device: torch.device) -> PriorTrainConfig:
        """Scale the batch sizes for ``device``; learning rates stay, since Adam's steps hardly grow."""
        if device.type != "cuda":
            return self
        return dataclasses.replace(
            self,
            images_per_step=CUDA_BATCH_FACTOR * self.images_per_step,
            scene_images_per_step=CUDA_BATCH_FACTOR * self.scene_images_per_step,
            ema_half_life=CUDA_BATCH_FACTOR * self.ema_half_life,
        )


@dataclass(frozen=True)
class PriorTrainStep:
    """Progress of a training step."""

    index: int
    images_seen: int  # in all runs
    loss: float
    gradient_norm: float
    scene_only: bool = False  # trained only the scene, whose loss this is
    warning: str | None = None


@dataclass
class PriorTrainState:
    """Networks, their moving average, the optimizer and counters: all that a resumed run needs."""

    model: PixelPriorNetworks
    ema_model: PixelPriorNetworks
    optimizer: torch.optim.Optimizer
    config: PriorTrainConfig
    step: int = 0
    images_seen: int = 0

    def steps_for(self, num_images: int) -> int:
        """Return the steps for about ``num_images`` more images; the kind of a step is partly random."""
        scene_only_steps = max(0, self.config.scene_steps - self.step)
        scene_only_images = scene_only_steps * self.config.scene_images_per_step
        if num_images <= scene_only_images:
            return max(0, num_images) // self.config.scene_images_per_step
        fraction = self.config.scene_step_fraction
        mean_images = fraction * self.config.scene_images_per_step + (1 - fraction) * self.config.images_per_step
        return scene_only_steps + math.ceil((num_images - scene_only_images) / mean_images)


def new_train_state(
    vocabulary: list[str], config: PriorTrainConfig, *, seed: int, device: torch.device
) -> PriorTrainState:
    """Initialize a training from scratch; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = build_unet(config.widths, config.layers)
        width = 4 * config.widths[0]
        model = PixelPriorNetworks(unet, Conditioner(vocabulary, width), SceneVolume(width, config.scene_channels))
    return _make_train_state(model, config, device)


def train_state_from_folder(
    folder: Path, config: PriorTrainConfig, vocabulary: list[str], *, device: torch.device
) -> PriorTrainState:
    """Start from trained weights with a new optimizer, adding the tokens of ``vocabulary``.

    The initial steps that train only the scene are skipped.
    """
    config = dataclasses.replace(config, scene_steps=0)
    unet = UNet2DModel.from_pretrained(folder / "unet", use_safetensors=True, torch_dtype=torch.float32)
    conditioner = Conditioner.load(folder / "conditioner").extend_vocabulary(vocabulary)
    state = _make_train_state(PixelPriorNetworks(unet, conditioner, SceneVolume.load(folder / "scene")), config, device)
    record = folder / "training.json"
    if record.exists():
        state.images_seen = int(json.loads(record.read_text()).get("pictures", 0))
    return state


def _make_train_state(model: PixelPriorNetworks, config: PriorTrainConfig, device: torch.device) -> PriorTrainState:
    model = model.to(device)
    model.unet.to(memory_format=torch.channels_last)
    camera, joint = model.conditioner.camera.parameters(), model.conditioner.joint.parameters()
    prompt_parameters = [*model.scene.parameters(), *model.conditioner.embedding.parameters()]
    groups = [
        {"params": [*model.unet.parameters(), *camera, *joint], "rate": config.learning_rate},
        {"params": prompt_parameters, "rate": config.scene_learning_rate},
    ]
    fused = device.type == "cuda"
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.99), weight_decay=config.weight_decay, fused=fused)
    return PriorTrainState(model, copy.deepcopy(model).requires_grad_(False), optimizer, config)
