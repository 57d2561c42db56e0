"""A complete pixel prior with random weights, small enough for tests."""

from __future__ import annotations

from pathlib import Path

import torch

from dreamfusion3d.priors.pixel.conditioner import procedural_vocabulary
from dreamfusion3d.priors.pixel.train import save_pixel_prior
from dreamfusion3d.priors.pixel.train_state import PriorTrainConfig, PriorTrainState, new_train_state
from dreamfusion3d.procedural.dataset import TrainingBatch
from dreamfusion3d.procedural.objects import ObjectSpec

CONFIG = PriorTrainConfig(
    images_per_step=4,
    views_per_object=2,
    widths=(32, 64),
    layers=1,
    warmup_steps=1,
    learning_rate=2e-3,
    scene_steps=0,
    scene_step_fraction=0.0,
    scene_images_per_step=6,
    scene_channels=(16, 8, 8),
)
SIZE = 16


def tiny_state(
    seed: int = 0, vocabulary: list[str] | None = None, config: PriorTrainConfig = CONFIG
) -> PriorTrainState:
    return new_train_state(vocabulary or procedural_vocabulary(), config, seed=seed, device=torch.device("cpu"))


def tiny_folder(folder: Path, seed: int = 0, vocabulary: list[str] | None = None) -> Path:
    save_pixel_prior(tiny_state(seed, vocabulary), folder)
    return folder


def tiny_batch(num_objects: int = 2, views: int = 2, seed: int = 0) -> TrainingBatch:
    """Flat squares, one color per object."""
    generator = torch.Generator().manual_seed(seed)
    color = torch.rand(num_objects, 1, 3, 1, 1, generator=generator)
    images = -torch.ones(num_objects, views, 4, SIZE, SIZE)
    images[..., :3, 4:12, 4:12] = (color * 2 - 1).expand(-1, views, -1, 8, 8)
    images[..., 3, 4:12, 4:12] = 1
    azimuth = torch.arange(views).expand(num_objects, views) * (360.0 / views)
    captions = [ObjectSpec("mug", "red").tokens(), ObjectSpec("chair").tokens()] * num_objects
    return TrainingBatch(images, captions[:num_objects], azimuth, torch.full((num_objects, views), 10.0))
