"""State and settings of a training of the pixel prior."""

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

CUDA_BATCH_FACTOR = 24  # times as many pictures a step on CUDA: fewer take as long there
BatchFunction = Callable[[int, int, torch.Generator], TrainingBatch]  # (props, views, generator)


@dataclass(frozen=True)
class PriorTrainConfig:
    images_per_step: int = 24  # a step
    views_per_object: int = 4  # of one prop, denoised jointly
    single_view_fraction: float = 0.25  # of the steps in which every picture is denoised alone
    learning_rate: float = 6e-4
    scene_learning_rate: float = 2e-3  # of the scene and of the prompts' vectors
    scene_weight: float = 0.5  # of the scene's own pictures in the loss
    scene_steps: int = 1600  # at first, in which the scene learns alone
    scene_step_fraction: float = 0.5  # of the steps after them, in which it learns alone too
    scene_images_per_step: int = 36  # in each of all these, three of a prop
    weight_decay: float = 0.01
    warmup_steps: int = 300  # steps
    prompt_dropout: float = 0.1  # share of props shown without their prompt (classifier-free guidance)
    ema_half_life: int = 20_000  # pictures; the average is what is saved
    widths: tuple[int, ...] = (96, 192)
    layers: int = 1
    scene_channels: tuple[int, int, int] = (96, 64, 32)

    def for_device(self, device: torch.device) -> PriorTrainConfig:
        """The same with the batches that suit ``device``; rates stay, for Adam's steps hardly grow."""
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
    index: int
    images_seen: int  # shown so far, in all runs
    loss: float
    gradient_norm: float
    scene_only: bool = False  # whether it was the scene's alone, and its loss
    warning: str | None = None  # something that the user should know


@dataclass
class PriorTrainState:
    """Everything that a run needs to go on: networks, their average, the optimiser, counts."""

    model: PixelPriorNetworks
    ema_model: PixelPriorNetworks
    optimizer: torch.optim.Optimizer
    config: PriorTrainConfig
    step: int = 0
    images_seen: int = 0

    def steps_for(self, num_images: int) -> int:
        """Steps that show so many more pictures, or nearly: who sees them is partly drawn by lot."""
        scene_only_steps = max(0, self.config.scene_steps - self.step)
        scene_only_images = scene_only_steps * self.config.scene_images_per_step
        if num_images <= scene_only_images:
            return max(0, num_images) // self.config.scene_images_per_step
        scene_fraction = self.config.scene_step_fraction
        mean_images = (
            scene_fraction * self.config.scene_images_per_step + (1 - scene_fraction) * self.config.images_per_step
        )
        return scene_only_steps + math.ceil((num_images - scene_only_images) / mean_images)


def new_train_state(
    vocabulary: list[str], config: PriorTrainConfig, *, seed: int, device: torch.device
) -> PriorTrainState:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = build_unet(config.widths, config.layers)
        width = 4 * config.widths[0]
        model = PixelPriorNetworks(unet, Conditioner(vocabulary, width), SceneVolume(width, config.scene_channels))
    return _make_train_state(model, config, device)


def train_state_from_folder(
    folder: Path, config: PriorTrainConfig, vocabulary: list[str], *, device: torch.device
) -> PriorTrainState:
    """Start from finished weights (the optimiser's moments begin anew), with the tokens of
    ``vocabulary`` that they do not know yet. Their scene is not trained alone again."""
    config = dataclasses.replace(config, scene_steps=0)
    unet = UNet2DModel.from_pretrained(folder / "unet", use_safetensors=True, torch_dtype=torch.float32)
    conditioner = Conditioner.load(folder / "conditioner").extend_vocabulary(vocabulary)
    state = _make_train_state(PixelPriorNetworks(unet, conditioner, SceneVolume.load(folder / "scene")), config, device)
    record = folder / "training.json"
    if record.exists():
        state.images_seen = int(json.loads(record.read_text()).get("pictures", 0))
    return state


def _make_train_state(model: PixelPriorNetworks, config: PriorTrainConfig, device: torch.device) -> PriorTrainState:
    # the stubs of Module.to know memory_format only as a keyword of a single tensor
    model = model.to(device)
    model.unet.to(memory_format=torch.channels_last)
    prompt_parameters = [*model.scene.parameters(), *model.conditioner.embedding.parameters()]
    other_parameters = [
        *model.unet.parameters(),
        *model.conditioner.camera.parameters(),
        *model.conditioner.joint.parameters(),
    ]
    optimizer = torch.optim.AdamW(
        [
            {"params": other_parameters, "rate": config.learning_rate},
            {"params": prompt_parameters, "rate": config.scene_learning_rate},
        ],
        betas=(0.9, 0.99),
        weight_decay=config.weight_decay,
        fused=device.type == "cuda",
    )
    ema_model = copy.deepcopy(model).requires_grad_(False)
    return PriorTrainState(model, ema_model, optimizer, config)
