"""Score distillation loss of rendered images: draw a time and noise, query the frozen prior, weight the residual."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.cameras.orbit import OrbitCameras
from dreamfusion3d.core.config import Config, GuidanceConfig
from dreamfusion3d.core.types import Render
from dreamfusion3d.guidance import Guidance, ScoreModel, load_guidance
from dreamfusion3d.memory.checkpoint_plan import RecomputeSchedule, save_all_schedule
from dreamfusion3d.memory.checkpointed import run_checkpointed
from dreamfusion3d.memory.step_plan import StepPlan
from dreamfusion3d.priors.cfg import CFGDenoiser
from dreamfusion3d.priors.protocol import EncoderBlocks, Prior, Prompts, offloadable_weights, prior_encoder_blocks
from dreamfusion3d.training.schedules import dreamtime, linear_ramp

DEFAULT_PLAN = StepPlan()


class DistillationLoss:
    """Loss whose gradient moves rendered images toward what the prior expects of ``prompts``.

    Args:
        prior: a frozen diffusion prior.
        prompts: text conditioning per camera.
        config: settings; ``guidance`` is used.
        guidance: SDS or a relative; its state belongs into checkpoints.
    """

    end_fraction = 1.0  # as a `NovelViewLoss`: used to the last step

    def __init__(self, prior: Prior, prompts: Prompts, config: Config, guidance: Guidance) -> None:
        self.prior, self.prompts, self.config, self.guidance = prior, prompts, config, guidance

    @classmethod
    def from_config(
        cls, prior: Prior, prompts: Prompts, config: Config, device: torch.device, warn: Callable[[str], None]
    ) -> DistillationLoss:
        """Load the guidance that ``config.guidance.type`` names; ``warn`` receives problems with plug-ins."""
        return cls(prior, prompts, config, load_guidance(config.guidance, device=device, warn=warn))

    def __call__(
        self,
        image: Render,
        cameras: OrbitCameras,
        progress: float,
        *,
        generator: torch.Generator,
        plan: StepPlan = DEFAULT_PLAN,
    ) -> Float[Tensor, ""]:
        """Return the weighted loss, a mean over ``guidance.noise_samples`` draws of time and noise.

        Args:
            image: renders of one scene, one per camera.
            progress: fraction of the run in [0, 1]; it sets the range of times.
            generator: draws times and noise.
            plan: how to trade time for memory. Recomputed encodings return another function with the same gradient.
        """
        if weights := offloadable_weights(self.prior):
            weights.set_offloaded(plan.cpu_offload)
        encoder = None
        if plan.encoder_batch_size is not None or plan.encoder_schedule is not None:
            encoder = prior_encoder_blocks(self.prior, image, generator)
        if encoder is None:
            x = self.prior.encode(image, generator=generator)
        elif plan.encoder_batch_size is None:
            x = _encode_blocks(encoder, plan.encoder_schedule, slice(0, len(cameras)), image.rgb, image.opacity)
        else:

            def latent_loss(x: Tensor) -> Tensor:
                return self.latent_loss(x, cameras, progress, plan.query_batch_size, generator)

            return _encode_twice(encoder, plan.encoder_batch_size, plan.encoder_schedule, image, latent_loss)
        return self.latent_loss(x, cameras, progress, plan.query_batch_size, generator)

    def latent_loss(
        self,
        x: Float[Tensor, "b c u v"],
        cameras: OrbitCameras,
        progress: float,
        query_batch_size: int | None,
        generator: torch.Generator,
    ) -> Float[Tensor, ""]:
        """Return the loss of images in the prior's space."""
        settings, num_views = self.config.guidance, len(cameras)
        denoiser = CFGDenoiser(
            self.prior,
            self.prompts,
            cameras,
            views=num_views if settings.multiview else 1,
            rescale=settings.rescale,
            max_batch_size=query_batch_size,
        )
        score_model = ScoreModel(settings, self.prior.alpha_sigma, denoiser, _camera_embedding(cameras))
        losses = []
        for _ in range(settings.noise_samples):
            # one time for all views of the scene: they are denoised together
            t = _sample_time(settings, progress, generator).expand(num_views)
            losses.append(self.guidance(x, t, score_model, generator=generator).loss)
        return settings.weight * torch.stack(losses).mean()


def _encode_blocks(
    encoder: EncoderBlocks, schedule: RecomputeSchedule | None, rows: slice, rgb: Tensor, opacity: Tensor
) -> Tensor:
    blocks = encoder.blocks(rows)
    return run_checkpointed(blocks, schedule or save_all_schedule(len(blocks)), {"rgb": rgb, "opacity": opacity})["x"]


def _encode_twice(
    encoder: EncoderBlocks,
    batch_size: int,
    schedule: RecomputeSchedule | None,
    image: Render,
    latent_loss: Callable[[Tensor], Tensor],
) -> Float[Tensor, ""]:
    """Encode without a graph, differentiate the loss, then encode ``batch_size`` images at a time with a graph."""
    batches = [slice(i, min(i + batch_size, len(image.rgb))) for i in range(0, len(image.rgb), batch_size)]
    rgb, opacity = image.rgb.detach(), image.opacity.detach()
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
    return (image.rgb * grad_rgb).sum() + (image.opacity * grad_opacity).sum()


def _sample_time(settings: GuidanceConfig, progress: float, generator: torch.Generator) -> Float[Tensor, " 1"]:
    if settings.schedule == "dreamtime":
        t = dreamtime(progress, settings.t_range_end[0], settings.t_range_start[1])
        return torch.full((1,), t, device=generator.device)
    low = linear_ramp(progress, settings.t_range_start[0], settings.t_range_end[0])
    high = linear_ramp(progress, settings.t_range_start[1], settings.t_range_end[1])
    return low + (high - low) * torch.rand(1, generator=generator, device=generator.device)


def _camera_embedding(cameras: OrbitCameras) -> Float[Tensor, "b 3"]:
    """Camera directions as numbers without a jump."""
    azimuth, elevation = torch.deg2rad(cameras.azimuth_deg), torch.deg2rad(cameras.elevation_deg)
    return torch.stack([azimuth.sin(), azimuth.cos(), elevation.sin()], -1)
