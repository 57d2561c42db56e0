"""Renders of a step as the profiler sees them: with a graph, detached in tiles, and with their losses."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from dreamfusion3d.cameras.orbit import OrbitCameras
from dreamfusion3d.core.config import Config
from dreamfusion3d.core.types import Field, Mesh, Render
from dreamfusion3d.fields.nerf import NerfField
from dreamfusion3d.fields.texture_field import TextureField
from dreamfusion3d.memory.checkpointed import Activations, Block
from dreamfusion3d.rendering.deferred import rasterize_gbuffer, shade_gbuffer
from dreamfusion3d.rendering.occupancy_grid import OccupancyGrid
from dreamfusion3d.rendering.tiled import render_field_tiled
from dreamfusion3d.rendering.volume import RenderSettings, SampleAux, render_field_with_aux
from dreamfusion3d.training.loop import CameraSampler
from dreamfusion3d.training.regularizers import regularizers


@dataclass(frozen=True)
class DetachedRender:
    """Renders that are leaves of the graph; ``backward`` passes their gradient on to the field."""

    render: Render
    aux: Any
    backward: Callable[[], None]


@dataclass(frozen=True)
class RenderWorkload:
    """How a step renders its images, for profiling."""

    cameras: OrbitCameras  # of one step, at full size
    make_block: Callable[[OrbitCameras], Block]  # renders with a graph
    render_detached: Callable[[OrbitCameras, int], DetachedRender]  # renders without one, in a number of tiles
    losses: Callable[[OrbitCameras, DetachedRender], Tensor]  # all but the guidance
    parameters: list[Tensor]  # trainable
    tiled: bool = True  # whether the step can render in tiles

    @property
    def num_rays(self) -> int:
        return len(self.cameras) * self.cameras.height * self.cameras.width


class StepRender(NamedTuple):
    """Renders of one step; ``backward`` passes gradients on to the field where the renders are detached."""

    image: Render
    aux: SampleAux
    backward: Callable[[], None]


def render_step(field: Field, cameras: OrbitCameras, *, tiles: int, **render_args: Any) -> StepRender:
    """Render with a graph, or in ``tiles`` detached tiles that are rendered again in the backward pass."""
    if tiles > 1:
        tiled = render_field_tiled(field, cameras, tiles=tiles, **render_args)
        return StepRender(tiled.render, tiled.aux, tiled.backward)
    return StepRender(*render_field_with_aux(field, cameras, **render_args), lambda: None)


def field_workload(field: NerfField, config: Config, sample_cameras: CameraSampler) -> RenderWorkload:
    """Workload of `distill_field` at its first step; later steps take fewer samples."""
    device = next(field.parameters()).device
    generator = torch.Generator(device).manual_seed(0)  # for the plan alone: the run's draws stay as they are
    cameras = sample_cameras(config.optim.num_views, generator=generator)
    occupancy = OccupancyGrid.from_field(
        field.density, config.render.occupancy_grid_resolution, torch.Generator(device).manual_seed(0), sweeps=1
    )
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

    def losses(cameras: OrbitCameras, detached: DetachedRender) -> Tensor:
        render, aux = detached.render, detached.aux
        values = regularizers(field, occupancy, cameras, render, aux, config.losses, 1.0, generator=generator)
        return functools.reduce(operator.add, values.values())

    return RenderWorkload(cameras, make_block, render_detached, losses, _trainable(field))


def texture_workload(
    field: TextureField,
    mesh: Mesh,
    normals: Float[np.ndarray, "v 3"],
    sample_cameras: Callable[[torch.Generator], OrbitCameras],
    smoothness: Callable[[Tensor, Tensor], Tensor],
) -> RenderWorkload:
    """Workload of `distill_texture`."""

    def make_block(cameras: OrbitCameras) -> Block:
        def render_block(_: Activations) -> Activations:
            gbuffer = rasterize_gbuffer(mesh, normals, cameras)
            rendered, albedo = shade_gbuffer(gbuffer, field.albedo(gbuffer.positions))
            return {"rgb": rendered.rgb, "opacity": rendered.opacity, "albedo": albedo}

        return Block("texture", render_block)

    def render_detached(cameras: OrbitCameras, tiles: int) -> DetachedRender:
        with torch.no_grad():
            outputs = make_block(cameras)({})
        rgb, albedo = (outputs[name].requires_grad_(True) for name in ("rgb", "albedo"))
        return DetachedRender(Render(rgb, outputs["opacity"], outputs["opacity"]), albedo, lambda: None)

    def losses(cameras: OrbitCameras, detached: DetachedRender) -> Tensor:
        return smoothness(detached.aux, detached.render.opacity)

    cameras = sample_cameras(torch.Generator(next(field.parameters()).device).manual_seed(0))
    return RenderWorkload(cameras, make_block, render_detached, losses, _trainable(field), tiled=False)


def _trainable(module: nn.Module) -> list[Tensor]:
    return [parameter for parameter in module.parameters() if parameter.requires_grad]
