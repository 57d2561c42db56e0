"""A pixel prior small enough for tests: random weights, every part in place."""

from __future__ import annotations

from pathlib import Path

import torch

from dreamfusion3d.priors.pixel.conditioner import world_vocabulary
from dreamfusion3d.priors.pixel.train import save_folder
from dreamfusion3d.priors.pixel.train_state import TrainConfig, TrainState, new_state
from dreamfusion3d.procedural.dataset import Batch
from dreamfusion3d.procedural.objects import Meaning

CONFIG = TrainConfig(
    pictures=4, views=2, widths=(32, 64), layers=1, warm_up=1, learning_rate=2e-3, scene_steps=0,
    scene_share=0.0, scene_pictures=6, scene_channels=(16, 8, 8),
)
SIZE = 16


def tiny_state(
    seed: int = 0, vocabulary: list[str] | None = None, config: TrainConfig = CONFIG
) -> TrainState:
    return new_state(vocabulary or world_vocabulary(), config, seed=seed, device=torch.device("cpu"))


def tiny_folder(folder: Path, seed: int = 0, vocabulary: list[str] | None = None) -> Path:
    save_folder(tiny_state(seed, vocabulary), folder)
    return folder


def tiny_batch(props: int = 2, views: int = 2, seed: int = 0) -> Batch:
    """Flat squares, a colour a prop."""
    generator = torch.Generator().manual_seed(seed)
    colour = torch.rand(props, 1, 3, 1, 1, generator=generator)
    pictures = -torch.ones(props, views, 4, SIZE, SIZE)
    pictures[..., :3, 4:12, 4:12] = (colour * 2 - 1).expand(-1, views, -1, 8, 8)
    pictures[..., 3, 4:12, 4:12] = 1
    azimuth = torch.arange(views).expand(props, views) * (360.0 / views)
    captions = [Meaning("mug", "red").tokens(), Meaning("chair").tokens()] * props
    return Batch(pictures, captions[:props], azimuth, torch.full((props, views), 10.0))
