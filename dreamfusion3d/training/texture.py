"""Colours for a surface that is given, distilled from a prior: Magic3D's second stage (arXiv 2211.10440)
with its geometry held still. A generator of steps, as `optimize`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.cameras.orbit import OrbitCameras, sample_orbit_cameras
from dreamfusion3d.core.async_scalar import AsyncScalar
from dreamfusion3d.core.config import Config
from dreamfusion3d.core.optimizers import step_if_finite
from dreamfusion3d.core.types import Mesh, Render
from dreamfusion3d.fields.texture_field import TextureField
from dreamfusion3d.guidance import load_guidance
from dreamfusion3d.memory.checkpointed import Activations, Block
from dreamfusion3d.memory.oom_fallback import CostedPlan, FallbackChain
from dreamfusion3d.priors.protocol import Prior, Prompts
from dreamfusion3d.rendering.deferred import rasterize_gbuffer, shade_gbuffer
from dreamfusion3d.training.checkpoint import OptimizationState
from dreamfusion3d.training.guidance_loss import StepPlan, guidance_loss, run_with_fallback
from dreamfusion3d.training.loop import CameraSampler, Step, run_steps
from dreamfusion3d.training.regularizers import total_variation
from dreamfusion3d.training.render_workload import DetachedRender, RenderWorkload
from dreamfusion3d.training.schedules import geometric_ramp
from dreamfusion3d.training.step_planner import default_fallback_chain, plan_step

MLP_LR_FACTOR = 0.1  # of the hash table's rate


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
    budget: int | None = None,
    on_plan: Callable[[CostedPlan[StepPlan]], None] = lambda plan: None,
) -> Iterator[Step]:
    """Distil ``prior`` into the colours of ``mesh`` (scene units), in place.

    The window of times goes from ``guidance.t_range_start`` to ``guidance.t_range_end`` of ``config``; see
    `from_grey` and `from_colours`. Checkpoints, previews, cameras, budget and ``tell`` are those of
    `optimize`.
    """
    load_warnings: list[str] = []
    guidance = load_guidance(config.guidance, device=generator.device, warn=load_warnings.append)
    state = OptimizationState(field, _make_optimizer(field, config), None, generator, guidance)
    if budget is None:
        fallback = default_fallback_chain(prior, config, generator.device, tiled=False)
    else:
        workload = _texture_workload(field, mesh, normals, config, sample_cameras, generator.device)
        fallback = plan_step(workload, prior, prompts, config, budget, generator.device)
        on_plan(fallback.current)
    yield from run_steps(
        state,
        steps,
        lambda: _step(state, fallback, mesh, normals, prior, prompts, config, steps, sample_cameras),
        checkpoint=checkpoint,
        preview=preview,
        load_warnings=load_warnings,
        lr_setting="texture.lr",
        take_warnings=fallback.take_warnings,
    )


def _texture_workload(
    field: TextureField,
    mesh: Mesh,
    normals: np.ndarray,
    config: Config,
    sample_cameras: CameraSampler | None,
    device: torch.device,
) -> RenderWorkload:
    """Those of a run's steps, for a plan."""

    def make_block(cameras: OrbitCameras) -> Block:
        def render_block(_: Activations) -> Activations:
            hits = rasterize_gbuffer(mesh, normals, cameras)
            rendered, albedo = shade_gbuffer(hits, field.albedo(hits.positions))
            return {"rgb": rendered.rgb, "opacity": rendered.opacity, "albedo": albedo}

        return Block("painted", render_block)

    def render_detached(cameras: OrbitCameras, tiles: int) -> DetachedRender:
        with torch.no_grad():
            outputs = make_block(cameras)({})
        rgb, albedo = (outputs[name].requires_grad_(True) for name in ("rgb", "albedo"))
        return DetachedRender(Render(rgb, outputs["opacity"], outputs["opacity"]), albedo, lambda: None)

    def losses(cameras: OrbitCameras, detached: DetachedRender) -> Tensor:
        return _smoothness_loss(detached.aux, detached.render, config)

    cameras = _sample_cameras(config, sample_cameras, torch.Generator(device).manual_seed(0))
    parameters: list[Tensor] = [p for p in field.parameters() if p.requires_grad]
    return RenderWorkload(cameras, make_block, render_detached, losses, parameters, tiled=False)


def with_retexture_t_range(config: Config) -> Config:
    """For a mesh without colours: the guidance begins with the coarse pattern and ends with detail."""
    return _with_t_range(config, config.texture.t_range_start, config.texture.t_range_end)


def with_refine_t_range(config: Config) -> Config:
    """For colours that are good already: low levels of noise only, which leave the pattern alone."""
    return _with_t_range(config, config.texture.t_range_end, config.texture.t_range_end)


def _with_t_range(config: Config, start: tuple[float, float], end: tuple[float, float]) -> Config:
    return dataclasses.replace(
        config, guidance=dataclasses.replace(config.guidance, t_range_start=start, t_range_end=end)
    )


def _step(
    state: OptimizationState[TextureField, None],
    fallback: FallbackChain[StepPlan],
    mesh: Mesh,
    normals: np.ndarray,
    prior: Prior,
    prompts: Prompts,
    config: Config,
    steps: int,
    sample_cameras: CameraSampler | None,
) -> tuple[AsyncScalar, Render]:
    """One update of the colours; the gradient's norm, and the pictures it was taken from."""
    progress = state.index / max(steps - 1, 1)
    lr_factor = geometric_ramp(progress, 1.0, config.optim.lr_final_factor, start_at=0.5)
    for group, lr in zip(state.optimizer.param_groups, _learning_rates(config), strict=True):
        group["lr"] = lr * lr_factor
    cameras = _sample_cameras(config, sample_cameras, state.generator)
    hits = rasterize_gbuffer(mesh, normals, cameras)
    state.optimizer.zero_grad(set_to_none=True)

    def backward(plan: StepPlan) -> Render:
        rendered, albedo = shade_gbuffer(hits, state.field.albedo(hits.positions))
        loss = guidance_loss(
            state.guidance, rendered, cameras, prior, prompts, config, progress, generator=state.generator, plan=plan
        )
        (loss + _smoothness_loss(albedo, rendered, config)).backward()
        return rendered

    rendered = run_with_fallback(state, fallback, backward)
    return step_if_finite(state.optimizer), rendered


def _smoothness_loss(albedo: Tensor, rendered: Render, config: Config) -> Float[Tensor, ""]:
    return config.losses.texture_tv * total_variation(albedo, rendered.opacity)


def _sample_cameras(config: Config, sample_cameras: CameraSampler | None, generator: torch.Generator) -> OrbitCameras:
    size = config.texture.resolution
    if sample_cameras is None:
        return sample_orbit_cameras(config.optim.num_views, generator=generator, size=size)
    return sample_cameras(config.optim.num_views, generator=generator).resized(size, size)


def _learning_rates(config: Config) -> tuple[float, float]:
    return config.texture.lr, MLP_LR_FACTOR * config.texture.lr


def _make_optimizer(field: TextureField, config: Config) -> torch.optim.Adam:
    """Adam as in `optimize`: the table apart from the MLP."""
    table_lr, mlp_lr = _learning_rates(config)
    mlp_parameters: list[Tensor] = [p for name, p in field.named_parameters() if name != "table"]
    return torch.optim.Adam(
        [{"params": [field.table], "lr": table_lr}, {"params": mlp_parameters, "lr": mlp_lr}],
        betas=(0.9, 0.99),
        eps=1e-15,
        fused=field.table.device.type == "cuda",
    )
