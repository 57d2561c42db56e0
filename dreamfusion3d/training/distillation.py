"""Score distillation of a frozen prior into a radiance field (DreamFusion, arXiv 2209.14988, section 3)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from dreamfusion3d.core.config import Config
from dreamfusion3d.fields.nerf import NerfField
from dreamfusion3d.memory.oom_fallback import CostedPlan
from dreamfusion3d.memory.step_plan import StepPlan
from dreamfusion3d.priors.protocol import Prior, Prompts
from dreamfusion3d.rendering.occupancy_grid import OccupancyGrid
from dreamfusion3d.rendering.shading_budget import ShadedFraction
from dreamfusion3d.rendering.volume import RenderSettings
from dreamfusion3d.training.checkpoint import OptimizationState
from dreamfusion3d.training.distillation_loss import DistillationLoss
from dreamfusion3d.training.loop import (
    CameraSampler,
    OptimizationLoop,
    Step,
    StepLosses,
    make_field_optimizer,
    remaining_steps,
)
from dreamfusion3d.training.planning.render_workload import field_workload, render_step
from dreamfusion3d.training.planning.step_planner import plan_steps
from dreamfusion3d.training.prefetch import Prefetcher, RayBatch, orbit_sampler
from dreamfusion3d.training.regularizers import regularizers
from dreamfusion3d.training.schedules import geometric_ramp, lr_factor


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
    memory_budget: int | None = None,
    on_plan: Callable[[CostedPlan[StepPlan]], None] = lambda plan: None,
    checkpoint_every: int | None = None,
    run_ahead: bool | None = None,
) -> Iterator[Step]:
    """Optimize ``field`` in place by score distillation, one step per iteration.

    The same generator state gives the same steps; a resumed run takes the steps of an uninterrupted one.

    Args:
        field, prior: the radiance field and the frozen prior, on the device of ``generator``.
        prompts: the text conditioning per camera, e.g. from ``encode_prompts``.
        config: settings; ``optim``, ``guidance``, ``losses`` and ``render`` are used.
        generator: source of cameras, times and noise.
        checkpoint: safetensors file to resume from and to write; a damaged file starts over.
        preview: PNG of recent renders.
        sample_cameras: ``(count, *, generator) -> OrbitCameras`` in place of the random orbit.
        memory_budget: bytes available to the run; None uses what it takes. Steps are equal up to rounding.
        on_plan: receives the plan chosen for ``memory_budget``.
        checkpoint_every: steps between checkpoints; 50 by default.
        run_ahead: prefetch rays and read results one step late, so that the host never waits; the default on CUDA.

    Yields:
        One ``Step`` per optimization step.

    Raises:
        InputError: the budget is too small, memory runs out in the smallest plan, or gradients stay non-finite.

    Example:
        >>> steps = distill_field(field, prior, prompts, config, generator=torch.Generator().manual_seed(0))
        >>> step = next(steps)
        >>> step.index, "guidance" in step.losses
        (1, True)
    """
    sample_cameras = sample_cameras or orbit_sampler(config)
    # skip the first steps and the largest times: an initial volume has found the shape
    skipped = 0.0 if field.init is None else config.optim.init_skip_fraction
    warnings: list[str] = []
    guidance_loss = DistillationLoss.from_config(prior, prompts, config, generator.device, warnings.append)
    occupancy = OccupancyGrid(config.render.occupancy_grid_resolution, generator.device)
    total = remaining_steps(config.optim.steps, skipped)
    rays = Prefetcher(field, occupancy, sample_cameras, config, total, generator, run_ahead=run_ahead)
    optimizer = make_field_optimizer(field, config.optim.lr_hashgrid, config.optim.lr_mlp, fused=run_ahead)
    loop = OptimizationLoop(
        OptimizationState(field, optimizer, occupancy, generator, guidance_loss.guidance, prefetcher=rays),
        total,
        lr_schedule=functools.partial(lr_factor, final=config.optim.lr_final_factor),
        lr_setting="optim.lr_hashgrid",
        fallback=plan_steps(
            functools.partial(field_workload, field, config, sample_cameras),
            *(prior, prompts, config, memory_budget, on_plan),
            device=generator.device,
        ),
        checkpoint=checkpoint,
        preview=preview,
        warnings=warnings,
        checkpoint_every=checkpoint_every,
    )
    for progress in loop.steps():
        field.set_sharpness(geometric_ramp(progress, 1.0, config.optim.sharpness, start_at=0.2, end_at=0.8))
        batch = rays.next_batch(loop.state.index)
        yield loop.update(
            distillation_losses,
            batch,
            progress,
            field=field,
            guidance_loss=guidance_loss,
            occupancy=occupancy,
            config=config,
            generator=generator,
            skipped=skipped,
            shaded_fraction=rays.shaded_fraction,
        )
    field.set_sharpness(config.optim.sharpness)


def distillation_losses(
    plan: StepPlan,
    batch: RayBatch,
    progress: float,
    *,
    field: NerfField,
    guidance_loss: DistillationLoss,
    occupancy: OccupancyGrid,
    config: Config,
    generator: torch.Generator,
    skipped: float = 0.0,
    shaded_fraction: ShadedFraction | None = None,
) -> StepLosses:
    """Render the views of one step and return their losses by name."""
    image, aux, backward = render_step(
        field,
        batch.cameras,
        tiles=plan.tiles,
        occupancy=occupancy,
        generator=generator,
        settings=RenderSettings(step_size=config.render.step_size),
        pending=batch.pending,
        shaded_fraction=shaded_fraction,
    )
    guidance_progress = skipped + (1 - skipped) * progress
    losses = {"guidance": guidance_loss(image, batch.cameras, guidance_progress, generator=generator, plan=plan)}
    losses |= regularizers(field, occupancy, batch.cameras, image, aux, config.losses, progress, generator=generator)
    return StepLosses(losses, lambda: image, backward)
