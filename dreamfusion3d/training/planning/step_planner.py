"""Choice of a step plan for a memory budget.

All tilings, encoder batches and schedules, and query sizes are combined on paper: the phases of a step run one
after another, so its peak is the maximum over phases of what each needs plus what is held meanwhile, and its time
is their sum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from dreamfusion3d.core.config import Config
from dreamfusion3d.core.types import Render
from dreamfusion3d.memory import budget as amount
from dreamfusion3d.memory.checkpoint_plan import sqrt_schedule
from dreamfusion3d.memory.oom_fallback import CostedPlan, FallbackChain, select_plans
from dreamfusion3d.memory.step_plan import StepPlan
from dreamfusion3d.priors.cfg import joint_batch_size
from dreamfusion3d.priors.protocol import Prior, Prompts, offloadable_weights, prior_encoder_blocks, prior_memory_advice
from dreamfusion3d.training.planning.render_profiler import RenderCost
from dreamfusion3d.training.planning.render_workload import RenderWorkload
from dreamfusion3d.training.planning.step_profiler import GuidanceCost, StepProfiler


def default_fallback_chain(
    prior: Prior, config: Config, device: torch.device, *, tiled: bool = True
) -> FallbackChain[StepPlan]:
    """Return plans that start with everything at once and use ever smaller parts where memory runs out."""
    num_views = config.optim.num_views
    scene_views = joint_batch_size(prior, num_views if config.guidance.multiview else 1)
    blank = torch.zeros(1, 8, 8, 3), torch.zeros(1, 8, 8)
    encoder = prior_encoder_blocks(prior, Render(*blank, blank[1]), torch.Generator())
    schedule = None if encoder is None else sqrt_schedule(len(encoder.blocks(slice(0, 1))))
    step_plans = [StepPlan()]
    step_plans += [
        StepPlan(query_batch_size=n, encoder_batch_size=v) for n, v in ((num_views, num_views), (scene_views, 1))
    ]
    step_plans.append(StepPlan(query_batch_size=scene_views, encoder_batch_size=1, encoder_schedule=schedule))
    step_plans += [StepPlan(tiles, 1, schedule, scene_views) for tiles in (4, 16, 64) if tiled]
    if offloadable_weights(prior, device) is not None:  # slow, so the last
        step_plans.append(replace(step_plans[-1], cpu_offload=True))
    if encoder is None:
        step_plans = [
            StepPlan(plan.tiles, query_batch_size=plan.query_batch_size, cpu_offload=plan.cpu_offload)
            for plan in step_plans
        ]
    return FallbackChain([CostedPlan(plan, plan.describe(num_views)) for plan in dict.fromkeys(step_plans)], device)


def plan_steps(
    make_workload: Callable[[], RenderWorkload],
    prior: Prior,
    prompts: Prompts,
    config: Config,
    memory_budget: int | None,
    on_plan: Callable[[CostedPlan[StepPlan]], None],
    *,
    device: torch.device,
    tiled: bool = True,
) -> FallbackChain[StepPlan]:
    """Return the plans of a run: unmeasured ones without a budget, else the fastest measured ones that fit."""
    if memory_budget is None:
        return default_fallback_chain(prior, config, device, tiled=tiled)
    fallback = plan_for_budget(make_workload(), prior, prompts, config, memory_budget, device)
    on_plan(fallback.current)
    return fallback


def plan_for_budget(
    workload: RenderWorkload, prior: Prior, prompts: Prompts, config: Config, budget: int, device: torch.device
) -> FallbackChain[StepPlan]:
    """Return the fastest plans that fit ``budget`` bytes; raises InputError with the smallest budget that would."""
    plans = enumerate_step_plans(workload, prior, prompts, config, device, budget)
    fallback = FallbackChain(select_plans(plans, budget, "a step", memory_advice(prior)), device)
    amount.enforce_budget(budget, device)
    return fallback


def memory_advice(prior: Prior) -> str:
    """Name settings that need less memory but change the result; the user chooses."""
    options = ["fewer optim.num_views", "a smaller render.resolution", *prior_memory_advice(prior)]
    return "less memory is needed with " + " or ".join([", ".join(options[:-1]), options[-1]])


def enumerate_step_plans(
    workload: RenderWorkload,
    prior: Prior,
    prompts: Prompts,
    config: Config,
    device: torch.device,
    budget: int | None = None,
) -> list[CostedPlan[StepPlan]]:
    """Return all plans with their predicted peak and time. Profiling stays below ``budget`` bytes where it can."""
    profiler = StepProfiler(workload, prior, prompts, config, device, budget)
    renders, plans = list(profiler.profile_renders()), []
    offloadable = offloadable_weights(prior, device)
    freed_bytes, transfer_seconds = (
        (0, 0.0)
        if offloadable is None
        else (offloadable.nbytes - offloadable.max_layer_bytes, offloadable.transfer_seconds())
    )
    for guidance_plan, guidance in profiler.profile_guidance():
        for render in renders:
            peak = amount.with_allocator_overhead(_step_peak(render, guidance, guidance_plan), device)
            for offload in (False, True) if offloadable is not None else (False,):
                plan = StepPlan(
                    render.tiles,
                    guidance_plan.encoder_batch_size,
                    guidance_plan.encoder_schedule,
                    guidance_plan.query_batch_size,
                    offload,
                )
                peak_bytes = profiler.held_bytes + peak - (freed_bytes if offload else 0)
                seconds = render.seconds + guidance.seconds
                if offload:
                    seconds += profiler.network_calls(guidance_plan.query_batch_size) * transfer_seconds
                plans.append(
                    CostedPlan(plan, plan.describe(profiler.num_views, profiler.num_blocks), int(peak_bytes), seconds)
                )
    return plans


def _step_peak(render: RenderCost, guidance: GuidanceCost, plan: StepPlan) -> int:
    """Peak bytes of a step, whose phases are: render, guidance, other losses, backward pass."""
    # the backward pass of a kept encoder graph starts after the other losses have left their gradients
    late_grads = render.image_grads if plan.encoder_batch_size is None else 0
    return max(
        render.forward_peak,
        render.saved + guidance.peak + late_grads,
        render.saved + guidance.saved + render.losses_peak,
        render.saved + guidance.saved + render.losses_saved,
        render.backward_peak,
    )
