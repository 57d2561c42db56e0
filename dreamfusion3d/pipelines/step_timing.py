"""Timing and memory planning of optimization steps, for `dreamfusion3d doctor`."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Callable
from typing import Any

import torch

from dreamfusion3d.core.config import QUALITIES, Config, PriorConfig, resolve_config
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.fields.nerf import NerfField
from dreamfusion3d.memory.oom_fallback import select_plans
from dreamfusion3d.pipelines.context import seeded_generator
from dreamfusion3d.priors.loading import load_prior
from dreamfusion3d.priors.locate import locate_prior
from dreamfusion3d.priors.pixel.prior import PixelPrior
from dreamfusion3d.priors.protocol import Prior, predicts_initial_volume
from dreamfusion3d.priors.view_prompts import encode_prompts
from dreamfusion3d.priors.vocabulary import vocabulary_categories, vocabulary_words
from dreamfusion3d.training.distillation import distill_field
from dreamfusion3d.training.loop import remaining_steps
from dreamfusion3d.training.planning.render_workload import field_workload
from dreamfusion3d.training.planning.step_planner import enumerate_step_plans, memory_advice
from dreamfusion3d.training.prefetch import orbit_sampler

NUM_TIMED_STEPS = 5  # the first one compiles
FALLBACK_PROMPT = "a mug"


def time_prior(
    settings: PriorConfig, device: torch.device, memory_budget: int | None, log: Callable[[str], None]
) -> dict[str, Any]:
    """Time an optimization step at standard settings and estimate the time of all steps of an asset.

    Steps are timed at coarse resolution (the first part of a run) and at full resolution. A prior that is not
    on this machine is not downloaded.
    """
    found = locate_prior(settings)
    if found.is_downloadable:
        return {"problem": f"the prior {found.name} is not on this machine; its first use downloads it"}
    config = dataclasses.replace(resolve_config(), prior=settings)
    try:
        # keep stdout for the report, whatever libraries print
        with contextlib.redirect_stdout(sys.stderr):
            prior = load_prior(settings, device=device)  # raises before anything is timed
            log(f"timing {NUM_TIMED_STEPS} steps of the prior '{settings.name}' on {device}; skip this with --no-step")
            small, large = measure_step_seconds(prior, config, device)
            memory = plan_step_memory(prior, config, device, memory_budget)
    except InputError as error:
        return {"problem": str(error)}
    except (torch.cuda.OutOfMemoryError, MemoryError):
        return {"problem": f"one step of the prior {settings.name} needs more memory than is free on {device}"}
    return {
        "prior": prior.name,
        "device": str(device),
        "small_seconds": round(small, 4),
        "large_seconds": round(large, 4),
        "memory": memory,
        "steps_of_an_asset_seconds": {
            q: round(estimate_total_seconds(resolve_config(q), small, large, predicts_initial_volume(prior)))
            for q in QUALITIES
        },
    }


def measure_step_seconds(prior: Prior, config: Config, device: torch.device) -> tuple[float, float]:
    """Measure the seconds of one step at coarse and at full resolution."""
    short = dataclasses.replace(config, optim=dataclasses.replace(config.optim, steps=NUM_TIMED_STEPS))
    field = NerfField(config.field, generator=seeded_generator(0, "field", device))
    text = encode_prompts(prior, _supported_prompt(prior), config.prompts)
    steps = distill_field(field, prior, text, short, generator=seeded_generator(0, "optimise", device))
    seconds = {step.index - 1: step.seconds for step in steps}
    small = [s for i, s in seconds.items() if i / (NUM_TIMED_STEPS - 1) < config.render.coarse_fraction]
    large = [s for i, s in seconds.items() if i / (NUM_TIMED_STEPS - 1) >= config.render.coarse_fraction]
    # the last ones: the first step at each resolution includes one-time work
    return (small or large)[-1], (large or small)[-1]


def plan_step_memory(prior: Prior, config: Config, device: torch.device, memory_budget: int | None) -> dict[str, Any]:
    """Predict the memory of a step: planned for ``memory_budget`` bytes, keeping everything, and the minimum."""
    field = NerfField(config.field, generator=seeded_generator(0, "field", device))
    text = encode_prompts(prior, _supported_prompt(prior), config.prompts)
    all_plans = enumerate_step_plans(
        field_workload(field, config, orbit_sampler(config)), prior, text, config, device, memory_budget
    )
    plans = select_plans(all_plans, sys.maxsize, "a step")
    chosen = plans if memory_budget is None else select_plans(plans, memory_budget, "a step", memory_advice(prior))
    return {
        "budget_bytes": memory_budget,
        **chosen[0].as_dict(),
        "whole": plans[0].as_dict(),
        "least": plans[-1].as_dict(),
    }


def estimate_total_seconds(config: Config, small: float, large: float, has_initial_volume: bool) -> float:
    """Estimate the time of all steps of an asset; an initial volume from the prior skips some of them."""
    coarse_fraction = config.render.coarse_fraction
    uses_initial_volume = has_initial_volume and config.field.init != "blob"
    steps = remaining_steps(config.optim.steps, config.optim.init_skip_fraction if uses_initial_volume else 0.0)
    return steps * (coarse_fraction * small + (1 - coarse_fraction) * large)


def _supported_prompt(prior: Prior) -> str:
    """Return a prompt that the prior supports: pixel priors know only some nouns."""
    if isinstance(prior, PixelPrior):
        vocabulary = prior.vocabulary
        return [*vocabulary_categories(vocabulary), *vocabulary_words(vocabulary), FALLBACK_PROMPT][0]
    return FALLBACK_PROMPT
