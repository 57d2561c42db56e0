"""How the pictures of a step are made, for trials of what they take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dreamfusion3d.cameras.orbit import Cameras
from dreamfusion3d.core.config import Config
from dreamfusion3d.core.types import Render
from dreamfusion3d.fields.nerf import NerfField
from dreamfusion3d.memory.checkpointed import Block, State
from dreamfusion3d.rendering.occupancy_grid import Occupancy
from dreamfusion3d.rendering.tiled import render_tiled
from dreamfusion3d.rendering.volume import Detail, RenderSettings, render_detailed


@dataclass(frozen=True)
class Shown:
    """Pictures that end here, so that a loss leaves its gradient with them; ``backward`` hands it on."""

    picture: Render
    detail: Any
    backward: Callable[[], None]


@dataclass(frozen=True)
class Pictures:
    """How the pictures of a step are made, for trials."""

    cameras: Cameras  # a step's, of full size
    block: Callable[[Cameras], Block]  # makes them with their graph
    shown: Callable[[Cameras, int], Shown]  # makes them without, in so many tiles
    losses: Callable[[Cameras, Shown], Tensor]  # all but the guidance's
    parameters: list[Tensor]  # that learn
    tiled: bool = True  # False: there are no tiles

    @property
    def rays(self) -> int:
        return len(self.cameras) * self.cameras.height * self.cameras.width


def of_field(
    field: NerfField, config: Config, cameras: Cameras,
    losses: Callable[[Occupancy, Cameras, Render, Detail], Tensor],
) -> Pictures:
    """The pictures of a field as the run begins: later ones take fewer samples. ``losses`` are a step's,
    all but the guidance's."""
    device = next(field.parameters()).device
    occupancy = Occupancy(config.render.occupancy_resolution, device)
    occupancy.update(field.density, generator=torch.Generator(device).manual_seed(0), step=0)
    seen: dict[str, Any] = {
        "occupancy": occupancy, "settings": RenderSettings(step_size=config.render.step_size)
    }

    def lot() -> torch.Generator:
        return torch.Generator(device).manual_seed(0)

    def block(cameras: Cameras) -> Block:
        def run(_: State) -> State:
            picture, detail = render_detailed(field, cameras, generator=lot(), **seen)
            made = {"rgb": picture.rgb, "opacity": picture.opacity, "albedo": detail.albedo}
            return made if picture.normals is None else {**made, "normals": picture.normals}

        return Block("render", run)

    def shown(cameras: Cameras, tiles: int) -> Shown:
        tiled = render_tiled(field, cameras, generator=lot(), tiles=tiles, **seen)
        return Shown(tiled.picture, tiled.detail, tiled.backward)

    def of_losses(cameras: Cameras, shown: Shown) -> Tensor:
        return losses(occupancy, cameras, shown.picture, shown.detail)

    learning: list[Tensor] = [p for p in field.parameters() if p.requires_grad]
    return Pictures(cameras, block, shown, of_losses, learning)
