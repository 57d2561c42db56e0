"""How the pictures of a step are made, for trials of what they take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dreamfusion3d.cameras.orbit import OrbitCameras
from dreamfusion3d.core.config import Config
from dreamfusion3d.core.types import Render
from dreamfusion3d.fields.nerf import NerfField
from dreamfusion3d.memory.checkpointed import Activations, Block
from dreamfusion3d.rendering.occupancy_grid import OccupancyGrid
from dreamfusion3d.rendering.tiled import render_field_tiled
from dreamfusion3d.rendering.volume import RenderSettings, SampleAux, render_field_with_aux


@dataclass(frozen=True)
class DetachedRender:
    """Pictures that end here, so that a loss leaves its gradient with them; ``backward`` hands it on."""

    render: Render
    aux: Any
    backward: Callable[[], None]


@dataclass(frozen=True)
class RenderWorkload:
    """How the pictures of a step are made, for trials."""

    cameras: OrbitCameras  # a step's, of full size
    make_block: Callable[[OrbitCameras], Block]  # makes them with their graph
    render_detached: Callable[[OrbitCameras, int], DetachedRender]  # makes them without, in so many tiles
    losses: Callable[[OrbitCameras, DetachedRender], Tensor]  # all but the guidance's
    parameters: list[Tensor]  # that learn
    tiled: bool = True  # False: there are no tiles

    @property
    def num_rays(self) -> int:
        return len(self.cameras) * self.cameras.height * self.cameras.width


def field_workload(
    field: NerfField,
    config: Config,
    cameras: OrbitCameras,
    losses: Callable[[OccupancyGrid, OrbitCameras, Render, SampleAux], Tensor],
) -> RenderWorkload:
    """The pictures of a field as the run begins: later ones take fewer samples. ``losses`` are a step's,
    all but the guidance's."""
    device = next(field.parameters()).device
    resolution, generator = config.render.occupancy_grid_resolution, torch.Generator(device).manual_seed(0)
    occupancy = OccupancyGrid.from_field(field.density, resolution, generator, sweeps=1)
    render_args: dict[str, Any] = {
        "occupancy": occupancy,
        "settings": RenderSettings(step_size=config.render.step_size),
    }

    def new_generator() -> torch.Generator:
        return torch.Generator(device).manual_seed(0)

    def make_block(cameras: OrbitCameras) -> Block:
        def run(_: Activations) -> Activations:
            rendered, aux = render_field_with_aux(field, cameras, generator=new_generator(), **render_args)
            outputs = {"rgb": rendered.rgb, "opacity": rendered.opacity, "albedo": aux.albedo}
            return outputs if rendered.normals is None else {**outputs, "normals": rendered.normals}

        return Block("render", run)

    def render_detached(cameras: OrbitCameras, tiles: int) -> DetachedRender:
        tiled = render_field_tiled(field, cameras, generator=new_generator(), tiles=tiles, **render_args)
        return DetachedRender(tiled.render, tiled.aux, tiled.backward)

    def detached_losses(cameras: OrbitCameras, detached: DetachedRender) -> Tensor:
        return losses(occupancy, cameras, detached.render, detached.aux)

    parameters: list[Tensor] = [p for p in field.parameters() if p.requires_grad]
    return RenderWorkload(cameras, make_block, render_detached, detached_losses, parameters)
