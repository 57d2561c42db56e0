"""View-dependent prompts, negative prompts and Perp-Neg.

A prior without camera conditioning prefers the front of an object from every side, so the object grows a face on
each (the Janus problem). DreamFusion (arXiv 2209.14988, section 3.2) therefore appends "front view", "side view",
"back view" or "overhead view" to the prompt. Here the encoded prompts are blended by smooth weights of the camera
angles, so that nothing jumps where one view ends and the next begins.

Perp-Neg (Armandpour et al., arXiv 2304.04968) also pushes the views away from the front and side prompts where
the camera does not see these sides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.cameras.orbit import OrbitCameras
from dreamfusion3d.core.config import QUALITY_PRESETS, Config, GuidanceConfig, OptimConfig, PromptConfig
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.priors.protocol import Conditioning, Prior, Prompts, SolidPrior, TextEmbedding, knows_solid

VIEW_NAMES = ("front", "side", "back", "overhead")
OVERHEAD_DEG = (45.0, 75.0)  # elevations where the weight of "overhead" leaves 0 and reaches 1
NUM_PERP_NEG_VIEWS = 2  # front and side are the negatives of Perp-Neg; no object grows a second back
MIN_LATENT_SDS_SCALE = 7.5  # below this guidance scale a latent prior hardly follows its prompt


@dataclass(frozen=True)
class ViewPrompts:
    """A prompt encoded once for each of ``VIEW_NAMES``, or once for all sides."""

    per_view: TextEmbedding
    uncond: TextEmbedding  # one row
    negative: TextEmbedding | None = None  # one row, for Perp-Neg
    perp_neg: float = 0.0

    def conditioning(self, cameras: OrbitCameras) -> Conditioning:
        """Mix the view prompts by what each camera sees, with negatives for Perp-Neg."""
        batch_size = len(cameras)
        weights = torch.ones(batch_size, 1, device=cameras.azimuth_deg.device)
        if len(self.per_view) == len(VIEW_NAMES):
            weights = view_weights(cameras.azimuth_deg, cameras.elevation_deg)
        negatives: list[tuple[TextEmbedding, Tensor]] = []
        if self.perp_neg > 0:
            for i in range(min(NUM_PERP_NEG_VIEWS, len(self.per_view) - 1)):
                row = self.per_view.select(slice(i, i + 1)).repeat(batch_size)
                negatives.append((row, self.perp_neg * perp_neg_strength(weights[:, i])))
            if self.negative is not None:
                negatives.append((self.negative.repeat(batch_size), torch.full_like(weights[:, 0], self.perp_neg)))
        return Conditioning(self.per_view.mix(weights), self.uncond.repeat(batch_size), tuple(negatives))


def view_weights(azimuth_deg: Float[Tensor, " b"], elevation_deg: Float[Tensor, " b"]) -> Float[Tensor, "b 4"]:
    """Return the weight of each of ``VIEW_NAMES`` for each camera; rows sum to 1.

    Around the object the weights are cos^2 of the azimuth (front or back) and sin^2 (side), which join without a
    kink. Overhead takes over by a smooth step in the elevation.
    """
    cosine = torch.cos(torch.deg2rad(azimuth_deg))
    low, high = OVERHEAD_DEG
    overhead_fraction = ((elevation_deg - low) / (high - low)).clamp(0, 1)
    overhead = overhead_fraction * overhead_fraction * (3 - 2 * overhead_fraction)
    front, back = cosine.clamp(min=0).square(), (-cosine).clamp(min=0).square()
    around = torch.stack([front, 1 - front - back, back], -1) * (1 - overhead)[:, None]
    return torch.cat([around, overhead[:, None]], -1)


def perp_neg_strength(view_weight: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """Return the Perp-Neg strength of a view that has ``view_weight`` for a camera.

    It falls exponentially (the form of section 4.2) and is 0 where the camera sees nothing but the view.
    """
    return torch.exp(-0.5 * view_weight) - math.exp(-0.5)


def format_view_prompts(prompt: str, settings: PromptConfig) -> list[str]:
    """Insert the prompt into the template of each of ``VIEW_NAMES``; a template without {prompt} replaces it."""
    return [getattr(settings, f"{view}_template").replace("{prompt}", prompt) for view in VIEW_NAMES]


def encode_prompts(prior: Prior, prompt: str, settings: PromptConfig) -> Prompts:
    """Encode all prompts of a run at once.

    A camera-conditioned prior gets neither view prompts nor Perp-Neg. Without Perp-Neg a negative prompt replaces
    the empty prompt of classifier-free guidance.

    Args:
        prior: The prior whose text encoder is used.
        prompt: The prompt.
        settings: Templates of view-dependent prompts, negative prompt and strength of Perp-Neg.

    Returns:
        The conditioning per camera, for ``distill_field`` and ``distill_texture``.

    Example:
        >>> prompts = encode_prompts(prior, "a red mug", Config().prompts)
        >>> len(prompts.conditioning(cameras).cond) == len(cameras)
        True
    """
    negative = settings.negative or ""
    if prior.camera_conditioned or not (settings.view_dependent or settings.perp_neg > 0):
        return prior.encode_text([prompt, negative])
    prompts = format_view_prompts(prompt, settings) if settings.view_dependent else [prompt]
    separate_negative = settings.perp_neg > 0 and negative != ""
    text = prior.encode_text([*prompts, *(["", negative] if separate_negative else [negative])])
    num_views = len(prompts)
    return ViewPrompts(
        text.select(slice(0, num_views)),
        text.select(slice(num_views, num_views + 1)),
        text.select(slice(num_views + 1, num_views + 2)) if separate_negative else None,
        settings.perp_neg,
    )


def prompt_warnings(prior: Prior, prompt: str, config: Config) -> list[str]:
    """Return warnings about a run's prompts. Raises InputError if the prior cannot serve the prompt."""
    warnings, settings = list(prior.check_prompt(prompt)), config.prompts
    if settings.negative:
        try:
            warnings += [f"negative prompt: {warning}" for warning in prior.check_prompt(settings.negative)]
        except InputError:
            warnings.append(
                f"the negative prompt {settings.negative!r} has no effect: '{prior.name}' knows none of its words"
            )
        if config.guidance.scale == 1.0 and not (settings.perp_neg > 0 and not prior.camera_conditioned):
            warnings.append("the negative prompt has no effect at guidance.scale = 1; raise guidance.scale")
    if settings.perp_neg > 0 and prior.camera_conditioned:
        warnings.append(f"prompts.perp_neg has no effect: '{prior.name}' is camera-conditioned")
    low_scale = config.guidance.type == "sds" and config.guidance.scale < MIN_LATENT_SDS_SCALE
    if low_scale and not prior.camera_conditioned:
        warnings.append(
            f"guidance.scale = {config.guidance.scale:g} is low for '{prior.name}': SDS needs 20 to 100 "
            "with such priors (--set guidance.scale=100)"
        )
    return warnings


def samples_solid(prior: Prior, prompt: str, config: Config) -> bool:
    """Return whether ``text_to_mesh`` takes the prior's own object as it is.

    Distillation makes such an object worse: normals of a duck, 2 degrees from the true ones, are 13 off after it.
    """
    return config.optim.steps == 0 or (config.field.init == "prior" and knows_solid(prior, prompt))


def text_to_mesh_warnings(prior: Prior, prompt: str, config: Config) -> list[str]:
    """Return warnings about the prompts and settings of ``text_to_mesh``, see `samples_solid`.

    Raises InputError if the prior cannot serve the prompt.
    """
    if not samples_solid(prior, prompt, config):
        return prompt_warnings(prior, prompt, config)
    if not isinstance(prior, SolidPrior):
        raise InputError(f"the prior '{prior.name}' gives no shape without optimization: raise optim.steps above 0")
    warnings = prior.check_solid(prompt)
    if config.mesh.refine_steps:
        return list(dict.fromkeys([*warnings, *prompt_warnings(prior, prompt, config)]))
    qualities = [
        replace(OptimConfig(), steps=preset.get("optim.steps", OptimConfig.steps))
        for preset in QUALITY_PRESETS.values()
    ]
    if config.guidance != GuidanceConfig() or config.prompts.negative or config.optim not in qualities:
        warnings.append(
            f"settings of the guidance, the optimization and the negative prompt have no effect: '{prior.name}' knows "
            "the shape of this object, and nothing is optimized; --set field.init=volume optimizes"
        )
    return warnings
