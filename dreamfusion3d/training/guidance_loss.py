"""What the prior teaches the pictures of one step, and the ways of asking it in less memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.cameras.orbit import OrbitCameras
from dreamfusion3d.core.config import Config, GuidanceConfig
from dreamfusion3d.core.types import Render
from dreamfusion3d.guidance import Guidance, ScoreModel
from dreamfusion3d.memory.checkpoint_plan import RecomputeSchedule, save_all_schedule
from dreamfusion3d.memory.checkpointed import run_checkpointed
from dreamfusion3d.memory.oom_fallback import FallbackChain
from dreamfusion3d.priors.cfg import cfg_denoise
from dreamfusion3d.priors.protocol import EncoderBlocks, Prior, Prompts, offloadable_weights, prior_encoder_blocks
from dreamfusion3d.training.checkpoint import OptimizationState
from dreamfusion3d.training.schedules import dreamtime, linear_ramp

OutputT = TypeVar("OutputT")


@dataclass(frozen=True)
class StepPlan:
    """How a step is taken; all of them have one gradient, but for the order of its sums. The default keeps
    everything and asks everything at once."""

    tiles: int = 1  # of rays, of which each is rendered again before its backward pass
    # pictures that pass the prior's encoder together and, after the guidance, again; None: all, once
    encoder_batch_size: int | None = None
    encoder_schedule: RecomputeSchedule | None = None  # of the encoder's blocks; None: all are kept
    query_batch_size: int | None = None  # pictures of a question to the prior; None: all prompts' in one
    cpu_offload: bool = False  # the prior's network stays in main memory, its layers come in turn


def run_with_fallback(
    state: OptimizationState, fallback: FallbackChain[StepPlan], backward: Callable[[StepPlan], OutputT]
) -> OutputT:
    """``backward`` on the ladder's plan; where memory runs out, on a cheaper one, from the same draws and
    with what the guidance knew."""
    generator_state = state.generator.get_state()
    guidance_state = {name: value.clone() for name, value in state.guidance.state_dict().items()}
    shaded_fraction = state.prefetcher.copy_shaded_fraction() if state.prefetcher else None

    def undo() -> None:
        state.optimizer.zero_grad(set_to_none=True)
        state.generator.set_state(generator_state)
        # copies: an optimiser keeps what it is given, and a second undo needs it as it was
        state.guidance.load_state_dict({name: value.clone() for name, value in guidance_state.items()})
        if state.prefetcher and shaded_fraction:
            state.prefetcher.shaded_fraction = replace(shaded_fraction)

    return fallback.run(backward, undo)


def guidance_loss(
    guidance: Guidance,
    rendered: Render,
    cameras: OrbitCameras,
    prior: Prior,
    prompts: Prompts,
    config: Config,
    progress: float,
    *,
    generator: torch.Generator,
    plan: StepPlan = StepPlan(),
) -> Float[Tensor, ""]:
    """The guidance's loss for the views of one step, a mean over its draws of time and noise.

    With ``way.views`` it is another function with the same gradient.
    """
    if weights := offloadable_weights(prior):
        weights.set_offloaded(plan.cpu_offload)
    encoder = None
    if plan.encoder_batch_size is not None or plan.encoder_schedule is not None:
        encoder = prior_encoder_blocks(prior, rendered, generator)
    if encoder is None:
        x = prior.encode(rendered, generator=generator)
    elif plan.encoder_batch_size is None:
        x = _encode_blocks(encoder, plan.encoder_schedule, slice(0, len(cameras)), rendered.rgb, rendered.opacity)
    else:

        def latent_loss(x: Tensor) -> Tensor:
            return score_loss(guidance, x, cameras, prior, prompts, config, progress, plan.query_batch_size, generator)

        return _encode_twice(encoder, plan.encoder_batch_size, plan.encoder_schedule, rendered, latent_loss)
    return score_loss(guidance, x, cameras, prior, prompts, config, progress, plan.query_batch_size, generator)


def _encode_blocks(
    encoder: EncoderBlocks, schedule: RecomputeSchedule | None, rows: slice, rgb: Tensor, opacity: Tensor
) -> Tensor:
    blocks = encoder.blocks(rows)
    return run_checkpointed(blocks, schedule or save_all_schedule(len(blocks)), {"rgb": rgb, "opacity": opacity})["x"]


def _encode_twice(
    encoder: EncoderBlocks,
    batch_size: int,
    schedule: RecomputeSchedule | None,
    rendered: Render,
    latent_loss: Callable[[Tensor], Tensor],
) -> Float[Tensor, ""]:
    """Encodes without a graph; and again, ``views`` pictures at a time, when it is known what for."""
    batches = [slice(i, min(i + batch_size, len(rendered.rgb))) for i in range(0, len(rendered.rgb), batch_size)]
    rgb, opacity = rendered.rgb.detach(), rendered.opacity.detach()
    with torch.no_grad():
        x = torch.cat([_encode_blocks(encoder, None, rows, rgb[rows], opacity[rows]) for rows in batches])
    x.requires_grad_(True)
    (grad_x,) = torch.autograd.grad(latent_loss(x), x)
    del x
    grads = []
    for rows in batches:
        leaves = [t[rows].clone().requires_grad_(True) for t in (rgb, opacity)]
        encoded = _encode_blocks(encoder, schedule, rows, *leaves)
        grads.append(torch.autograd.grad(encoded, leaves, grad_x[rows]))
        del encoded
    grad_rgb, grad_opacity = (torch.cat(grad) for grad in zip(*grads, strict=True))
    return (rendered.rgb * grad_rgb).sum() + (rendered.opacity * grad_opacity).sum()


def score_loss(
    guidance: Guidance,
    x: Tensor,
    cameras: OrbitCameras,
    prior: Prior,
    prompts: Prompts,
    config: Config,
    progress: float,
    query_batch_size: int | None,
    generator: torch.Generator,
) -> Float[Tensor, ""]:
    """The loss of pictures in the prior's space."""
    settings = config.guidance
    num_views = len(cameras)
    joint_views = num_views if settings.multiview else 1

    def predict_x0(x_t: Tensor, t: Tensor, scale: float) -> Tensor:
        return cfg_denoise(
            prior,
            x_t,
            t,
            prompts,
            cameras,
            scale=scale,
            rescale=settings.rescale,
            views=joint_views,
            max_batch_size=query_batch_size,
        )

    score_model = ScoreModel(settings, prior.alpha_sigma, predict_x0, _camera_embedding(cameras))
    losses = []
    for _ in range(settings.noise_samples):
        # one time for all views of the scene: they are denoised together
        t = _sample_time(settings, progress, generator).expand(num_views)
        losses.append(guidance(x, t, score_model, generator=generator).loss)
    return settings.weight * torch.stack(losses).mean()


def _sample_time(settings: GuidanceConfig, progress: float, generator: torch.Generator) -> Float[Tensor, " 1"]:
    if settings.schedule == "dreamtime":
        t = dreamtime(progress, settings.t_range_end[0], settings.t_range_start[1])
        return torch.full((1,), t, device=generator.device)
    low = linear_ramp(progress, settings.t_range_start[0], settings.t_range_end[0])
    high = linear_ramp(progress, settings.t_range_start[1], settings.t_range_end[1])
    return low + (high - low) * torch.rand(1, generator=generator, device=generator.device)


def _camera_embedding(cameras: OrbitCameras) -> Float[Tensor, "b 3"]:
    """Where the cameras stand, in numbers without a jump."""
    azimuth, elevation = torch.deg2rad(cameras.azimuth_deg), torch.deg2rad(cameras.elevation_deg)
    return torch.stack([azimuth.sin(), azimuth.cos(), elevation.sin()], -1)
