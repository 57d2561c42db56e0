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
from dreamfusion3d.priors.pixel.losses import Trainee
from dreamfusion3d.priors.pixel.scene_volume import Scene
from dreamfusion3d.priors.pixel.unet import build_unet
from dreamfusion3d.procedural.dataset import Batch

CUDA_BATCH = 24  # times as many pictures a step on CUDA: fewer take as long there
MakeBatch = Callable[[int, int, torch.Generator], Batch]  # (props, views, generator)


@dataclass(frozen=True)
class TrainConfig:
    pictures: int = 24  # a step
    views: int = 4  # of one prop, denoised jointly
    single_share: float = 0.25  # of the steps in which every picture is denoised alone
    learning_rate: float = 6e-4
    scene_rate: float = 2e-3  # of the scene and of the prompts' vectors
    scene_weight: float = 0.5  # of the scene's own pictures in the loss
    scene_steps: int = 1600  # at first, in which the scene learns alone
    scene_share: float = 0.5  # of the steps after them, in which it learns alone too
    scene_pictures: int = 36  # in each of all these, three of a prop
    weight_decay: float = 0.01
    warm_up: int = 300  # steps
    prompt_dropout: float = 0.1  # share of props shown without their prompt (classifier-free guidance)
    ema_half_life: int = 20_000  # pictures; the average is what is saved
    widths: tuple[int, ...] = (96, 192)
    layers: int = 1
    scene_channels: tuple[int, int, int] = (96, 64, 32)

    def on(self, device: torch.device) -> TrainConfig:
        """The same with the batches that suit ``device``; rates stay, for Adam's steps hardly grow."""
        if device.type != "cuda":
            return self
        return dataclasses.replace(
            self, pictures=CUDA_BATCH * self.pictures, scene_pictures=CUDA_BATCH * self.scene_pictures,
            ema_half_life=CUDA_BATCH * self.ema_half_life,
        )


@dataclass(frozen=True)
class TrainStep:
    index: int
    pictures: int  # shown so far, in all runs
    loss: float
    gradient_norm: float
    alone: bool = False  # whether it was the scene's alone, and its loss
    note: str | None = None  # something that the user should know


@dataclass
class TrainState:
    """Everything that a run needs to go on: networks, their average, the optimiser, counts."""

    model: Trainee
    average: Trainee
    optimiser: torch.optim.Optimizer
    config: TrainConfig
    step: int = 0
    pictures: int = 0

    def steps_for(self, pictures: int) -> int:
        """Steps that show so many more pictures, or nearly: who sees them is partly drawn by lot."""
        alone = max(0, self.config.scene_steps - self.step)
        first = alone * self.config.scene_pictures
        if pictures <= first:
            return max(0, pictures) // self.config.scene_pictures
        share = self.config.scene_share
        mean = share * self.config.scene_pictures + (1 - share) * self.config.pictures
        return alone + math.ceil((pictures - first) / mean)


def new_state(vocabulary: list[str], config: TrainConfig, *, seed: int, device: torch.device) -> TrainState:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = build_unet(config.widths, config.layers)
        width = 4 * config.widths[0]
        model = Trainee(unet, Conditioner(vocabulary, width), Scene(width, config.scene_channels))
    return _state(model, config, device)


def state_from_folder(
    folder: Path, config: TrainConfig, vocabulary: list[str], *, device: torch.device
) -> TrainState:
    """Start from finished weights (the optimiser's moments begin anew), with the tokens of
    ``vocabulary`` that they do not know yet. Their scene is not trained alone again."""
    config = dataclasses.replace(config, scene_steps=0)
    unet = UNet2DModel.from_pretrained(folder / "unet", use_safetensors=True, torch_dtype=torch.float32)
    conditioner = Conditioner.load(folder / "conditioner").extended(vocabulary)
    state = _state(Trainee(unet, conditioner, Scene.load(folder / "scene")), config, device)
    record = folder / "training.json"
    if record.exists():
        state.pictures = int(json.loads(record.read_text()).get("pictures", 0))
    return state


def _state(model: Trainee, config: TrainConfig, device: torch.device) -> TrainState:
    # the stubs of Module.to know memory_format only as a keyword of a single tensor
    model = model.to(device)
    model.unet.to(memory_format=torch.channels_last)
    prompts = [*model.scene.parameters(), *model.conditioner.embedding.parameters()]
    rest = [*model.unet.parameters(), *model.conditioner.camera.parameters(),
            *model.conditioner.joint.parameters()]
    optimiser = torch.optim.AdamW(
        [{"params": rest, "rate": config.learning_rate}, {"params": prompts, "rate": config.scene_rate}],
        betas=(0.9, 0.99), weight_decay=config.weight_decay, fused=device.type == "cuda",
    )
    average = copy.deepcopy(model).requires_grad_(False)
    return TrainState(model, average, optimiser, config)
