"""The SDS loop: a generator of steps. No trainer, no callbacks; stop by not asking for more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.cameras.orbit import OrbitCameras, sample_orbit_cameras
from dreamfusion3d.core.async_scalar import AsyncScalar
from dreamfusion3d.core.config import Config, OptimConfig
from dreamfusion3d.core.optimizers import step_if_finite
from dreamfusion3d.core.types import Render
from dreamfusion3d.fields.nerf import NerfField
from dreamfusion3d.guidance import load_guidance
from dreamfusion3d.memory.oom_fallback import CostedPlan, FallbackChain
from dreamfusion3d.priors.protocol import Prior, Prompts
from dreamfusion3d.rendering.occupancy_grid import OccupancyGrid
from dreamfusion3d.rendering.tiled import render_field_tiled
from dreamfusion3d.rendering.visibility import hidden_density
from dreamfusion3d.rendering.volume import RenderSettings, SampleAux, render_field_with_aux, sample_camera_rays_async
from dreamfusion3d.training.checkpoint import OptimizationState
from dreamfusion3d.training.guidance_loss import StepPlan, guidance_loss, run_with_fallback
from dreamfusion3d.training.loop import CameraSampler, Step, make_field_optimizer, run_steps
from dreamfusion3d.training.prefetch import Prefetcher, RayBatch
from dreamfusion3d.training.regularizers import regularization_loss
from dreamfusion3d.training.render_workload import RenderWorkload, field_workload
from dreamfusion3d.training.schedules import geometric_ramp
from dreamfusion3d.training.step_planner import default_fallback_chain, plan_step


def distill_field(
    field: NerfField,
    prior: Prior,
    prompts: Prompts,
    config: Config,
    *,
    generator: torch.Generator,
    checkpoint: Path | None = None,
    preview: Path | None = None,
    sample_cameras: CameraSampler | None = None,
    budget: int | None = None,
    on_plan: Callable[[CostedPlan[StepPlan]], None] = lambda plan: None,
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
    initial_progress = 0.0 if field.init is None else config.optim.init_skip_fraction  # the shape need not be found
    total = remaining_steps(config.optim, initial_progress)
    sampler = sample_cameras or _orbit_sampler(config)
    occupancy = OccupancyGrid(config.render.occupancy_grid_resolution, generator.device)
    load_warnings: list[str] = []
    state = OptimizationState(
        field,
        make_field_optimizer(field, config),
        occupancy,
        generator,
        load_guidance(config.guidance, device=generator.device, warn=load_warnings.append),
        prefetcher=Prefetcher.for_generator(generator),
    )
    if budget is None:
        fallback = default_fallback_chain(prior, config, generator.device)
    else:
        workload = distillation_workload(field, config, sampler)
        fallback = plan_step(workload, prior, prompts, config, budget, generator.device)
        on_plan(fallback.current)

    def step() -> tuple[AsyncScalar, Render]:
        return _step(state, fallback, total, initial_progress, prior, prompts, config, sampler)

    yield from run_steps(
        state,
        total,
        step,
        checkpoint=checkpoint,
        preview=preview,
        load_warnings=load_warnings,
        lr_setting="optim.lr_hashgrid",
        take_warnings=fallback.take_warnings,
    )
    field.set_sharpness(config.optim.sharpness)


def distillation_workload(
    field: NerfField, config: Config, sample_cameras: CameraSampler | None = None
) -> RenderWorkload:
    """Those of a run's steps, for a plan."""
    device = next(field.parameters()).device
    generator = torch.Generator(device).manual_seed(0)  # of the plan alone: the run draws what it would

    def losses(occupancy: OccupancyGrid, cameras: OrbitCameras, rendered: Render, aux: SampleAux) -> Tensor:
        return _auxiliary_loss(field, occupancy, cameras, rendered, aux, config, 1.0, generator=generator)

    cameras = (sample_cameras or _orbit_sampler(config))(config.optim.num_views, generator=generator)
    return field_workload(field, config, cameras, losses)


def remaining_steps(optim: OptimConfig, initial_progress: float) -> int:
    """The steps of a run whose field already stands at ``known`` of the way from blob to asset."""
    return max(1, round(optim.steps * (1 - initial_progress)))


def _step(
    state: OptimizationState,
    fallback: FallbackChain[StepPlan],
    total: int,
    initial_progress: float,
    prior: Prior,
    prompts: Prompts,
    config: Config,
    sample_cameras: CameraSampler,
) -> tuple[AsyncScalar, Render]:
    """One update of the field; the gradient's norm, and the pictures it was taken from.

    The times of the guidance begin at ``known`` of their way.
    """
    optim, progress = config.optim, state.index / max(total - 1, 1)
    state.field.set_sharpness(geometric_ramp(progress, 1.0, optim.sharpness, start_at=0.2, end_at=0.8))
    ray_batch = _next_ray_batch(state, total, config, sample_cameras)
    lr_factor = geometric_ramp(progress, 1.0, optim.lr_final_factor, start_at=0.5)
    for group, lr in zip(state.optimizer.param_groups, (optim.lr_hashgrid, optim.lr_mlp), strict=True):
        group["lr"] = lr * lr_factor
    state.optimizer.zero_grad(set_to_none=True)
    rendered = run_with_fallback(
        state,
        fallback,
        lambda plan: _backward(state, plan, ray_batch, progress, initial_progress, prior, prompts, config),
    )
    return step_if_finite(state.optimizer), rendered


def _next_ray_batch(state: OptimizationState, total: int, config: Config, sample_cameras: CameraSampler) -> RayBatch:
    """Where this step looks from. With a lead, the next step's rays are sent before this step's work begins:
    their number is then known when it ends."""
    settings, prefetcher = RenderSettings(step_size=config.render.step_size), state.prefetcher

    def draw(index: int, generator: torch.Generator) -> RayBatch:
        cameras = sample_cameras(config.optim.num_views, generator=generator)
        if index / max(total - 1, 1) < config.render.coarse_fraction:
            cameras = cameras.resized(config.render.coarse_resolution, config.render.coarse_resolution)
        if prefetcher is None:
            return RayBatch(cameras)
        return RayBatch(cameras, sample_camera_rays_async(cameras, state.occupancy, settings, generator))

    def update() -> None:
        if state.index % config.optim.occupancy_update_interval == 0:
            state.occupancy.update(state.field.density, generator=state.generator, step=state.index)

    if prefetcher is None:
        update()
        return draw(state.index, state.generator)
    if state.index == 0:
        update()  # until then all cells count as occupied
    ray_batch = prefetcher.take(lambda camera_generator: draw(state.index, camera_generator))
    if state.index > 0:
        update()
    prefetcher.prefetch(lambda camera_generator: draw(state.index + 1, camera_generator))
    return ray_batch


def _backward(
    state: OptimizationState,
    plan: StepPlan,
    ray_batch: RayBatch,
    progress: float,
    initial_progress: float,
    prior: Prior,
    prompts: Prompts,
    config: Config,
) -> Render:
    """Adds the gradient of the step's losses to the field's; the pictures."""
    field, generator, cameras = state.field, state.generator, ray_batch.cameras
    settings, tiled = RenderSettings(step_size=config.render.step_size), None
    render_args: dict[str, Any] = {
        "occupancy": state.occupancy,
        "generator": generator,
        "settings": settings,
        "pending": ray_batch.pending,
        "shaded_fraction": state.prefetcher.shaded_fraction if state.prefetcher else None,
    }
    if plan.tiles > 1:
        tiled = render_field_tiled(field, cameras, tiles=plan.tiles, **render_args)
        rendered, aux = tiled.render, tiled.aux
    else:
        rendered, aux = render_field_with_aux(field, cameras, **render_args)
    guidance_progress = initial_progress + (1 - initial_progress) * progress
    loss = guidance_loss(
        state.guidance, rendered, cameras, prior, prompts, config, guidance_progress, generator=generator, plan=plan
    )
    loss = loss + _auxiliary_loss(field, state.occupancy, cameras, rendered, aux, config, progress, generator=generator)
    loss.backward()
    if tiled is not None:
        del loss
        tiled.backward()
    return rendered


def _auxiliary_loss(
    field: NerfField,
    occupancy: OccupancyGrid,
    cameras: OrbitCameras,
    rendered: Render,
    aux: SampleAux,
    config: Config,
    progress: float,
    *,
    generator: torch.Generator,
) -> Float[Tensor, ""]:
    """A step's, all but the guidance's."""
    loss = regularization_loss(rendered, aux, config, progress)
    if config.losses.interior > 0 and field.init is None:  # what a field starts from has said what is inside
        density = hidden_density(field, occupancy, cameras, aux, config.losses.interior_points, generator=generator)
        loss = loss + config.losses.interior * torch.log1p(density).mean()
    if field.init is not None and len(field.init.certain_points) > 0 and config.losses.init > 0:
        init_loss = field.init.init_hinge_loss(field.density_logit, config.losses.init_points, generator=generator)
        loss = loss + config.losses.init * init_loss
    return loss


def _orbit_sampler(config: Config) -> CameraSampler:
    def draw(count: int, *, generator: torch.Generator) -> OrbitCameras:
        return sample_orbit_cameras(
            count, generator=generator, size=config.render.resolution, antipodal=config.optim.antipodal
        )

    return draw
