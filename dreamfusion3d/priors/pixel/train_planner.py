"""Plans of training steps that fit a memory budget: chunks of a batch, and recomputation within each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dreamfusion3d.memory import budget as amount
from dreamfusion3d.memory.checkpoint_plan import (
    CostChain,
    RecomputeSchedule,
    count_recomputed,
    pareto_front,
    save_all_schedule,
)
from dreamfusion3d.memory.oom_fallback import CostedPlan, FallbackChain, select_plans
from dreamfusion3d.memory.profiler import extrapolate_chain, profile_chain
from dreamfusion3d.priors.pixel.train_blocks import TrainStepContext, train_step_blocks
from dreamfusion3d.procedural.dataset import TrainingBatch

if TYPE_CHECKING:
    from dreamfusion3d.priors.pixel.train_state import BatchFunction, PriorTrainState

PROFILED_OBJECTS = (1, 2)  # objects of the two steps that are measured


@dataclass(frozen=True)
class TrainStepPlan:
    """Number of chunks of a step, and the recomputation schedule of each (None: no recomputation)."""

    num_chunks: int = 1
    schedule: RecomputeSchedule | None = None

    @property
    def is_default(self) -> bool:
        """Whether the plan is to take the step as a whole and recompute nothing."""
        return self.num_chunks == 1 and self.schedule in (None, save_all_schedule(len(self.schedule or ())))


def default_train_chain(num_objects: int, device: torch.device) -> FallbackChain[TrainStepPlan]:
    """Return plans that start with the whole batch and double the number of chunks when memory runs out."""
    plans = [CostedPlan(TrainStepPlan(n), _describe_plan(n, num_objects)) for n in _chunk_counts(num_objects)]
    return FallbackChain(plans, device)


def _chunk_counts(num_objects: int) -> list[int]:
    doubled = [2**k for k in range(math.ceil(math.log2(num_objects)) if num_objects > 1 else 0)]
    return [*doubled, num_objects]


def plan_train_steps(
    state: PriorTrainState,
    make_batch: BatchFunction,
    memory_budget: int,
    contexts: dict[bool, TrainStepContext],
    num_objects: dict[bool, int],
    num_views: dict[bool, int],
) -> dict[bool, FallbackChain[TrainStepPlan]]:
    """Find the fastest plans that fit ``memory_budget`` bytes by profiling two small steps of each kind.

    Dictionaries are keyed by ``scene_only``. Raises InputError that names the smallest sufficient budget.
    """
    device = next(state.model.parameters()).device
    used_bytes = amount.used_bytes(device) + _pending_bytes(state)
    plans = {
        key: _enumerate_plans(state, make_batch, context, num_objects[key], num_views[key], used_bytes)
        for key, context in contexts.items()
    }
    # select for the more demanding kind first, so that an error names its minimum
    by_peak = sorted(plans, key=lambda key: -min(plan.peak or 0 for plan in plans[key]))
    fitting = {key: select_plans(plans[key], memory_budget, "a training step") for key in by_peak}
    amount.enforce_budget(memory_budget, device)
    return {key: FallbackChain(plans, device) for key, plans in fitting.items()}


def _pending_bytes(state: PriorTrainState) -> int:
    """Return the bytes of gradients, and of Adam's two moments before its first step."""
    parameters = [p for p in state.model.parameters() if p.requires_grad]
    weights = sum(p.numel() * p.element_size() for p in parameters)
    return weights * (1 if state.optimizer.state else 3)


def _enumerate_plans(
    state: PriorTrainState,
    make_batch: BatchFunction,
    context: TrainStepContext,
    num_objects: int,
    num_views: int,
    used_bytes: int,
) -> list[CostedPlan[TrainStepPlan]]:
    """Combine every number of chunks with the Pareto-optimal schedules of a chunk."""
    small, large, bytes_per_object = _profile_steps(state, make_batch, context, num_views)
    base_bytes = used_bytes + num_objects * bytes_per_object
    plans = []
    chunk_sizes = sorted({-(-num_objects // num_chunks) for num_chunks in range(1, num_objects + 1)})
    for chunk_size in chunk_sizes:
        num_chunks = -(-num_objects // chunk_size)
        chain = extrapolate_chain(small, large, PROFILED_OBJECTS, chunk_size)
        for point in pareto_front(chain):
            num_recomputed = count_recomputed(point.schedule)
            description = _describe_plan(num_chunks, num_objects, num_recomputed, len(chain))
            peak = int(base_bytes + amount.with_allocator_overhead(point.peak, context.device))
            seconds = point.seconds * num_objects / chunk_size
            plans.append(CostedPlan(TrainStepPlan(num_chunks, point.schedule), description, peak, seconds))
    return plans


def _profile_steps(
    state: PriorTrainState, make_batch: BatchFunction, context: TrainStepContext, num_views: int
) -> tuple[CostChain, CostChain, int]:
    """Measure the costs of two small steps, and the bytes of an object in a batch."""
    parameters = list(state.model.parameters())
    generator = torch.Generator().manual_seed(0)  # its own, so that the run's random numbers stay the same
    chains, bytes_per_object = [], 0
    for num_objects in PROFILED_OBJECTS:
        batch = make_batch(num_objects, num_views, generator)
        randomness = context.sample_randomness(batch, state.config.prompt_dropout, generator)
        chains.append(profile_chain(train_step_blocks(context, batch, randomness), {}, context.device, parameters))
        bytes_per_object = _batch_bytes(batch) // num_objects
    return chains[0], chains[1], bytes_per_object


def _batch_bytes(batch: TrainingBatch) -> int:
    """Return the bytes of a batch with its peers and noise."""
    tensors: list[Tensor] = [batch.images, batch.images, *batch.peers, *batch.peer_shading]
    tensors += [t for t in (batch.shading, batch.occupancy) if t is not None]
    return sum(t.numel() * t.element_size() for t in tensors)


def _describe_plan(num_chunks: int, num_objects: int, num_recomputed: int = 0, num_blocks: int = 0) -> str:
    description = f"all {num_objects} objects at once"
    if num_chunks > 1:
        description = f"{-(-num_objects // num_chunks)} of {num_objects} objects at a time"
    return f"{description}, {num_recomputed} of {num_blocks} blocks recomputed" if num_recomputed else description
