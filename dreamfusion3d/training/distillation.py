"""The SDS loop: a generator of steps. No trainer, no callbacks; stop by not asking for more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.cameras.orbit import Cameras, sample_orbit
from dreamfusion3d.core.async_scalar import Later
from dreamfusion3d.core.backends import keep_freed_memory
from dreamfusion3d.core.config import Config, OptimConfig
from dreamfusion3d.core.optimizers import step_if_finite
from dreamfusion3d.core.types import Render
from dreamfusion3d.fields.nerf import NerfField
from dreamfusion3d.guidance import load_guidance
from dreamfusion3d.memory.oom_fallback import Ladder, Plan
from dreamfusion3d.priors.protocol import Prior, Prompts
from dreamfusion3d.rendering.occupancy_grid import Occupancy
from dreamfusion3d.rendering.tiled import render_tiled
from dreamfusion3d.rendering.visibility import hidden_density
from dreamfusion3d.rendering.volume import Detail, RenderSettings, march_ahead, render_detailed
from dreamfusion3d.training.checkpoint import Run
from dreamfusion3d.training.guidance_loss import Way, attempt, guidance_loss
from dreamfusion3d.training.loop import (
    SampleCameras,
    Step,
    adam_for,
    take_steps,
)
from dreamfusion3d.training.prefetch import Lead, View
from dreamfusion3d.training.regularizers import regularisers
from dreamfusion3d.training.render_workload import Pictures, of_field
from dreamfusion3d.training.schedules import geometric
from dreamfusion3d.training.step_planner import planned, unplanned


def optimize(
    field: NerfField,
    prior: Prior,
    text: Prompts,
    config: Config,
    *,
    generator: torch.Generator,
    checkpoint: Path | None = None,
    preview: Path | None = None,
    sample_cameras: SampleCameras | None = None,
    budget: int | None = None,
    tell: Callable[[Plan[Way]], None] = lambda plan: None,
) -> Iterator[Step]:
    """Distil ``prior`` into ``field``, in place. ``text`` is what the cameras are asked:
    ``encode_prompts``'s, or two rows of ``Text``, prompt and empty prompt.

    Takes up ``checkpoint`` where there is one (a damaged one is named in a note and left), and
    writes it as it goes; a resumed run takes the same steps as an undisturbed one. ``preview``
    receives the pictures of a recent step. ``sample_cameras`` replaces the orbit's random draw.
    ``budget``: bytes of memory to plan for, and ``tell`` hears the plan; it is none of the run's identity,
    and the steps are the same within rounding. Where memory runs out a step is taken again in a cheaper
    way. Raises InputError for a budget that is too small.
    """
    if generator.device.type == "cpu" and budget is None:
        keep_freed_memory()
    known = 0.0 if field.start is None else config.optim.head_start  # the shape need not be found
    total = steps_after(config.optim, known)
    cameras_of = sample_cameras or _orbit(config)
    occupancy = Occupancy(config.render.occupancy_resolution, generator.device)
    problems: list[str] = []
    run = Run(
        field, adam_for(field, config), occupancy, generator,
        load_guidance(config.guidance, device=generator.device, warn=problems.append),
        lead=Lead.of(generator),
    )
    if budget is None:
        ladder = unplanned(prior, config, generator.device)
    else:
        pictures = pictures_for(field, config, cameras_of)
        ladder = planned(pictures, prior, text, config, budget, generator.device)
        tell(ladder.plan)

    def step() -> tuple[Later, Render]:
        return _step(run, ladder, total, known, prior, text, config, cameras_of)

    yield from take_steps(
        run, total, step, checkpoint=checkpoint, preview=preview, problems=problems, rate="optim.table_rate",
        told=ladder.told,
    )
    field.set_sharpness(config.optim.sharpness)


def pictures_for(field: NerfField, config: Config, sample_cameras: SampleCameras | None = None) -> Pictures:
    """Those of a run's steps, for a plan."""
    device = next(field.parameters()).device
    lot = torch.Generator(device).manual_seed(0)  # of the plan alone: the run draws what it would

    def losses(occupancy: Occupancy, cameras: Cameras, picture: Render, detail: Detail) -> Tensor:
        return _losses(field, occupancy, cameras, picture, detail, config, 1.0, generator=lot)

    cameras = (sample_cameras or _orbit(config))(config.optim.views, generator=lot)
    return of_field(field, config, cameras, losses)


def steps_after(optim: OptimConfig, known: float) -> int:
    """The steps of a run whose field already stands at ``known`` of the way from blob to asset."""
    return max(1, round(optim.steps * (1 - known)))


def _step(
    run: Run, ladder: Ladder[Way], total: int, known: float, prior: Prior, text: Prompts, config: Config,
    cameras_of: SampleCameras,
) -> tuple[Later, Render]:
    """One update of the field; the gradient's norm, and the pictures it was taken from.

    The times of the guidance begin at ``known`` of their way.
    """
    optim, progress = config.optim, run.index / max(total - 1, 1)
    run.field.set_sharpness(geometric(progress, 1.0, optim.sharpness, begin=0.2, finish=0.8))
    view = _view(run, total, config, cameras_of)
    share = geometric(progress, 1.0, optim.final_rate, begin=0.5)
    for group, rate in zip(run.optimiser.param_groups, (optim.table_rate, optim.mlp_rate), strict=True):
        group["lr"] = rate * share
    run.optimiser.zero_grad(set_to_none=True)
    picture = attempt(
        run, ladder, lambda way: _backward(run, way, view, progress, known, prior, text, config)
    )
    return step_if_finite(run.optimiser), picture


def _view(run: Run, total: int, config: Config, cameras_of: SampleCameras) -> View:
    """Where this step looks from. With a lead, the next step's rays are sent before this step's work begins:
    their number is then known when it ends."""
    settings, lead = RenderSettings(step_size=config.render.step_size), run.lead

    def draw(index: int, generator: torch.Generator) -> View:
        cameras = cameras_of(config.optim.views, generator=generator)
        if index / max(total - 1, 1) < config.render.coarse_share:
            cameras = cameras.resized(config.render.coarse_size, config.render.coarse_size)
        if lead is None:
            return View(cameras)
        return View(cameras, march_ahead(cameras, run.occupancy, settings, generator))

    def update() -> None:
        if run.index % config.optim.occupancy_every == 0:
            run.occupancy.update(run.field.density, generator=run.generator, step=run.index)

    if lead is None:
        update()
        return draw(run.index, run.generator)
    if run.index == 0:
        update()  # until then all cells count as occupied
    view = lead.take(lambda eyes: draw(run.index, eyes))
    if run.index > 0:
        update()
    lead.prepare(lambda eyes: draw(run.index + 1, eyes))
    return view


def _backward(
    run: Run, way: Way, view: View, progress: float, known: float, prior: Prior, text: Prompts,
    config: Config,
) -> Render:
    """Adds the gradient of the step's losses to the field's; the pictures."""
    field, generator, cameras = run.field, run.generator, view.cameras
    settings, tiled = RenderSettings(step_size=config.render.step_size), None
    seen: dict[str, Any] = {
        "occupancy": run.occupancy, "generator": generator, "settings": settings, "marched": view.marched,
        "share": run.lead.share if run.lead else None,
    }
    if way.tiles > 1:
        tiled = render_tiled(field, cameras, tiles=way.tiles, **seen)
        picture, detail = tiled.picture, tiled.detail
    else:
        picture, detail = render_detailed(field, cameras, **seen)
    now = known + (1 - known) * progress
    loss = guidance_loss(
        run.guidance, picture, cameras, prior, text, config, now, generator=generator, way=way
    )
    loss = loss + _losses(
        field, run.occupancy, cameras, picture, detail, config, progress, generator=generator
    )
    loss.backward()
    if tiled is not None:
        del loss
        tiled.backward()
    return picture


def _losses(
    field: NerfField, occupancy: Occupancy, cameras: Cameras, picture: Render, detail: Detail, config: Config,
    progress: float, *, generator: torch.Generator,
) -> Float[Tensor, ""]:
    """A step's, all but the guidance's."""
    optim, loss = config.optim, regularisers(picture, detail, config, progress)
    if optim.hollow_weight > 0 and field.start is None:  # what a field starts from has said what is inside
        density = hidden_density(field, occupancy, cameras, detail, optim.hollow_points, generator=generator)
        loss = loss + optim.hollow_weight * torch.log1p(density).mean()
    if field.start is not None and len(field.start.sure) > 0 and optim.anchor_weight > 0:
        stray = field.start.strayed(field.density_logit, optim.anchor_points, generator=generator)
        loss = loss + optim.anchor_weight * stray
    return loss


def _orbit(config: Config) -> SampleCameras:
    def draw(count: int, *, generator: torch.Generator) -> Cameras:
        return sample_orbit(
            count, generator=generator, size=config.render.size, antipodal=config.optim.antipodal
        )

    return draw
