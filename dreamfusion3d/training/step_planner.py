"""Which way of taking a step fits a budget of memory.

All tiles, all groups of views and schedules of the encoder's blocks, and all sizes of a question to the
prior are tried with each other on paper: the parts follow one another, so the peak of a step is that of its
worst part with what is held meanwhile, and its time is the sum of theirs.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from dreamfusion3d.core.config import Config
from dreamfusion3d.core.types import Render
from dreamfusion3d.memory import budget as amount
from dreamfusion3d.memory.checkpoint_plan import count_blocks, sqrt_schedule
from dreamfusion3d.memory.oom_fallback import CostedPlan, FallbackChain, select_plans
from dreamfusion3d.priors.cfg import joint_batch_size
from dreamfusion3d.priors.protocol import Prior, Prompts, offloadable_weights, prior_encoder_blocks, prior_memory_advice
from dreamfusion3d.training.guidance_loss import StepPlan
from dreamfusion3d.training.render_profiler import RenderCost
from dreamfusion3d.training.render_workload import RenderWorkload
from dreamfusion3d.training.step_profiler import GuidanceCost, StepProfiler


def default_fallback_chain(
    prior: Prior, config: Config, device: torch.device, *, tiled: bool = True
) -> FallbackChain[StepPlan]:
    """Everything at once, and only where memory runs out in ever smaller parts."""
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
    return FallbackChain(
        [CostedPlan(plan, describe_step_plan(plan, num_views)) for plan in dict.fromkeys(step_plans)], device
    )


def plan_step(
    workload: RenderWorkload, prior: Prior, prompts: Prompts, config: Config, budget: int, device: torch.device
) -> FallbackChain[StepPlan]:
    """The fastest ways that fit ``budget`` bytes. Raises InputError with the least that would do."""
    plans = enumerate_step_plans(workload, prior, prompts, config, device, budget)
    fallback = FallbackChain(select_plans(plans, budget, "a step", memory_advice(prior)), device)
    amount.enforce_budget(budget, device)
    return fallback


def memory_advice(prior: Prior) -> str:
    """Settings with which a step would need less, for people: what changes the result is theirs to choose."""
    options = ["fewer optim.num_views", "a smaller render.resolution", *prior_memory_advice(prior)]
    return "less would do with " + " or ".join([", ".join(options[:-1]), options[-1]])


def enumerate_step_plans(
    workload: RenderWorkload,
    prior: Prior,
    prompts: Prompts,
    config: Config,
    device: torch.device,
    budget: int | None = None,
) -> list[CostedPlan[StepPlan]]:
    """All ways with their predicted peak and time. ``budget``: bytes that the trials should stay below, as
    far as they can."""
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
                    CostedPlan(
                        plan,
                        describe_step_plan(plan, profiler.num_views, profiler.num_blocks),
                        int(peak_bytes),
                        seconds,
                    )
                )
    return plans


def _step_peak(render: RenderCost, guidance: GuidanceCost, plan: StepPlan) -> int:
    """Bytes of a step, whose parts follow one another: pictures, guidance, other losses, and back."""
    # an encoder whose graph is kept goes back when the other losses' gradients are there already
    late_grads = render.image_grads if plan.encoder_batch_size is None else 0
    return max(
        render.forward_peak,
        render.saved + guidance.peak + late_grads,
        render.saved + guidance.saved + render.losses_peak,
        render.saved + guidance.saved + render.losses_saved,
        render.backward_peak,
    )


def describe_step_plan(plan: StepPlan, num_views: int, num_blocks: int = 0) -> str:
    """For people."""
    parts = []
    if plan.tiles > 1:
        parts.append(f"pictures in {plan.tiles} tiles")
    if plan.encoder_batch_size is not None:
        parts.append(
            f"{min(plan.encoder_batch_size, num_views)} of {num_views} views encoded at a time, after the guidance again"
        )
    if plan.encoder_schedule is not None:
        recomputed = sum(count_blocks(node) for node in plan.encoder_schedule if not isinstance(node, int))
        total = f" of {num_blocks}" if num_blocks else ""
        parts.append(f"{recomputed}{total} blocks of the encoder computed twice")
    if plan.query_batch_size is not None:
        parts.append(f"the prior asked for {plan.query_batch_size} pictures at a time")
    if plan.cpu_offload:
        parts.append("its network in main memory")
    return ", ".join(parts) or "everything at once"
