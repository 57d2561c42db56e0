"""Score distillation of the texture of a fixed mesh, as in the second stage of Magic3D (arXiv 2211.10440)."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.cameras.orbit import OrbitCameras, sample_orbit_cameras
from dreamfusion3d.core.config import Config
from dreamfusion3d.core.types import Mesh
from dreamfusion3d.fields.texture_field import TextureField
from dreamfusion3d.memory.oom_fallback import CostedPlan
from dreamfusion3d.memory.step_plan import StepPlan
from dreamfusion3d.priors.protocol import Prior, Prompts
from dreamfusion3d.rendering.deferred import GBuffer, rasterize_gbuffer, shade_gbuffer
from dreamfusion3d.training.checkpoint import OptimizationState
from dreamfusion3d.training.distillation_loss import DistillationLoss
from dreamfusion3d.training.loop import CameraSampler, OptimizationLoop, Step, StepLosses, make_field_optimizer
from dreamfusion3d.training.planning.render_workload import texture_workload
from dreamfusion3d.training.planning.step_planner import plan_steps
from dreamfusion3d.training.regularizers import total_variation
from dreamfusion3d.training.schedules import lr_factor

MLP_LR_FACTOR = 0.1  # of the hash table's learning rate


def distill_texture(
    field: TextureField,
    mesh: Mesh,
    normals: Float[np.ndarray, "v 3"],
    prior: Prior,
    prompts: Prompts,
    config: Config,
    steps: int,
    *,
    generator: torch.Generator,
    checkpoint: Path | None = None,
    preview: Path | None = None,
    sample_cameras: CameraSampler | None = None,
    memory_budget: int | None = None,
    on_plan: Callable[[CostedPlan[StepPlan]], None] = lambda plan: None,
) -> Iterator[Step]:
    """Optimize the colors of ``mesh`` in place by score distillation, one step per iteration.

    Args:
        field: colors of points on the surface.
        mesh: in scene units, [-1, 1]^3.
        normals: unit normals of its vertices.
        prior: a frozen diffusion prior.
        prompts: the text conditioning per camera.
        config: settings; times run from ``guidance.t_range_start`` to ``guidance.t_range_end``, see
            `with_retexture_t_range` and `with_refine_t_range`.
        steps: number of steps.
        generator, checkpoint, preview, sample_cameras, memory_budget, on_plan: as for `distill_field`.

    Yields:
        One ``Step`` per optimization step.

    Raises:
        InputError: as for `distill_field`.

    Example:
        >>> steps = distill_texture(texture_field, mesh, normals, prior, prompts, config, 10, generator=generator)
        >>> next(steps).total
        10
    """
    warnings: list[str] = []
    guidance_loss = DistillationLoss.from_config(prior, prompts, config, generator.device, warnings.append)
    optimizer = make_field_optimizer(field, config.texture.lr, MLP_LR_FACTOR * config.texture.lr)

    def sample(generator: torch.Generator) -> OrbitCameras:
        count, size = config.optim.num_views, config.texture.resolution
        if sample_cameras is None:
            return sample_orbit_cameras(count, generator=generator, size=size)
        return sample_cameras(count, generator=generator).resized(size, size)

    def smoothness(albedo: Tensor, opacity: Tensor) -> Float[Tensor, ""]:
        return config.losses.texture_tv * total_variation(albedo, opacity)

    def compute_losses(plan: StepPlan, gbuffer: GBuffer, cameras: OrbitCameras, progress: float) -> StepLosses:
        image, albedo = shade_gbuffer(gbuffer, field.albedo(gbuffer.positions))
        guidance = guidance_loss(image, cameras, progress, generator=generator, plan=plan)
        return StepLosses({"guidance": guidance, "texture_tv": smoothness(albedo, image.opacity)}, lambda: image)

    loop = OptimizationLoop(
        OptimizationState(field, optimizer, None, generator, guidance_loss.guidance),
        steps,
        lr_schedule=functools.partial(lr_factor, final=config.optim.lr_final_factor),
        lr_setting="texture.lr",
        fallback=plan_steps(
            lambda: texture_workload(field, mesh, normals, sample, smoothness),
            prior,
            prompts,
            config,
            memory_budget,
            on_plan,
            device=generator.device,
            tiled=False,
        ),
        checkpoint=checkpoint,
        preview=preview,
        warnings=warnings,
    )
    for progress in loop.steps():
        cameras = sample(generator)
        yield loop.update(compute_losses, rasterize_gbuffer(mesh, normals, cameras), cameras, progress)


def with_retexture_t_range(config: Config) -> Config:
    """Set the times for a mesh without colors: from the coarse pattern to detail."""
    return _with_t_range(config, config.texture.t_range_start, config.texture.t_range_end)


def with_refine_t_range(config: Config) -> Config:
    """Set the times for colors that are good already: low noise levels, which keep the pattern."""
    return _with_t_range(config, config.texture.t_range_end, config.texture.t_range_end)


def _with_t_range(config: Config, start: tuple[float, float], end: tuple[float, float]) -> Config:
    guidance = dataclasses.replace(config.guidance, t_range_start=start, t_range_end=end)
    return dataclasses.replace(config, guidance=guidance)
