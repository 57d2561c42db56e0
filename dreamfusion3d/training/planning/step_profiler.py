"""Profile the parts of a step by small runs, and extrapolate their memory and time to full size."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dreamfusion3d.cameras.orbit import OrbitCameras
from dreamfusion3d.core.config import Config
from dreamfusion3d.core.types import Render
from dreamfusion3d.guidance import load_guidance
from dreamfusion3d.memory import budget as amount
from dreamfusion3d.memory.checkpoint_plan import (
    BlockCost,
    CostChain,
    ParetoPoint,
    RecomputeSchedule,
    TensorEdge,
    pareto_front,
    save_all_schedule,
    saved_bytes,
    schedule_cost,
)
from dreamfusion3d.memory.checkpointed import Activations, Block
from dreamfusion3d.memory.profiler import LinearFit, extrapolate_chain, measure_memory, profile_chain, time_call
from dreamfusion3d.memory.step_plan import StepPlan
from dreamfusion3d.priors.cfg import joint_batch_size
from dreamfusion3d.priors.protocol import Prior, Prompts, network_batch_size, prior_encoder_blocks
from dreamfusion3d.training.distillation_loss import DistillationLoss
from dreamfusion3d.training.planning.render_profiler import RenderCost, RenderProfiler
from dreamfusion3d.training.planning.render_workload import RenderWorkload

RAY_BYTES = 16  # color and opacity, float32
FRONT_LEVELS = 100  # resolution of the Pareto front of schedules
QUERY_OVERHEAD_SECONDS = 1e-4  # prefers the simpler of two plans that measure alike


@dataclass(frozen=True)
class GuidanceCost:
    """Cost of encoding and querying the prior: peak bytes, bytes saved for the backward pass, seconds of both."""

    peak: int
    saved: int
    seconds: float


@dataclass(frozen=True)
class CostModel:
    """Cost of a computation as linear functions of its size."""

    peak: LinearFit
    saved: LinearFit
    seconds: LinearFit


class StepProfiler:
    """Profiler of a step for one prior and workload."""

    def __init__(
        self,
        workload: RenderWorkload,
        prior: Prior,
        prompts: Prompts,
        config: Config,
        device: torch.device,
        budget: int | None = None,
    ) -> None:
        self.workload, self.prior, self.prompts, self.config, self.device = (workload, prior, prompts, config, device)
        self.num_views = len(workload.cameras)
        self.scene_views = joint_batch_size(prior, self.num_views if config.guidance.multiview else 1)
        self.weight_bytes = sum(p.numel() * p.element_size() for p in workload.parameters)
        size = workload.cameras.height
        self.small_cameras = workload.cameras.resized(max(size // 4, 4), max(size // 4, 4))
        self.x = self._encode_view()
        self._make_query(self.scene_views)()  # warm up
        # gradients and Adam's moments; on a CPU also two copies for rollbacks
        self.held_bytes = amount.used_bytes(device) + self.weight_bytes * (3 if device.type == "cuda" else 9)
        # for profiling itself; running out nevertheless is handled, too
        self.free_bytes = math.inf if budget is None else max(budget - self.held_bytes, 0)

    def new_generator(self) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(0)

    @torch.no_grad()
    def _encode_view(self) -> Tensor:
        """Encode one view and repeat it for all views."""
        state = self.workload.make_block(self.small_cameras)({})
        rendered = Render(state["rgb"][:1], state["opacity"][:1], state["opacity"][:1])
        x = self.prior.encode(rendered, generator=self.new_generator())
        return x.repeat(self.num_views, *[1] * (x.ndim - 1))

    def profile_renders(self) -> Iterator[RenderCost]:
        """Profile rendering, whole and in tiles."""
        return RenderProfiler(self.workload, self.device, self.free_bytes).costs()

    def profile_guidance(self) -> Iterator[tuple[StepPlan, GuidanceCost]]:
        """Profile plans of encoding and querying."""
        encoder_costs, checkpointable = self._profile_encoder()
        n = self.num_blocks = len(encoder_costs[0])
        overhead = self._guidance_overhead()
        query_cost = self._fit_costs(
            [self._make_query(k * self.scene_views) for k in (1, 2)], (self.scene_views, 2 * self.scene_views)
        )
        x_bytes, num_rays = self.x.numel() * self.x.element_size(), self.workload.num_rays
        groupings: list[tuple[int, CostChain, list[ParetoPoint]]] = []
        for views in sorted({1, -(-self.num_views // 2)} - {self.num_views}) if checkpointable else ():
            chain = extrapolate_chain(encoder_costs[0], encoder_costs[1], (1, 2), views)
            groupings.append((views, chain, _coarse_front(chain)))
        for query_batch_size in (None, *sorted({self.num_views, self.scene_views}, reverse=True)):
            query_sizes = self._query_sizes(query_batch_size)
            if query_batch_size is not None and query_sizes == self._query_sizes(None):
                continue
            largest = network_batch_size(self.prior, max(query_sizes))
            peak = overhead[0] + query_cost.peak.at(largest)
            seconds = overhead[1] + sum(query_cost.seconds.at(q) + QUERY_OVERHEAD_SECONDS for q in query_sizes)
            encoder = extrapolate_chain(encoder_costs[0], encoder_costs[1], (1, 2), self.num_views)
            cost = BlockCost(seconds, 0.0, int(peak), int(peak), 2 * x_bytes, x_bytes)
            encoder_and_query = CostChain(
                (*encoder.costs, cost), (*encoder.edges, TensorEdge(n - 1, n, x_bytes, x_bytes))
            )
            for point in (
                _coarse_front(encoder_and_query)
                if checkpointable
                else [schedule_cost(encoder_and_query, save_all_schedule(n + 1))]
            ):
                schedule: RecomputeSchedule | None = point.schedule[:-1]
                plan = StepPlan(
                    encoder_schedule=None if schedule == save_all_schedule(n) else schedule,
                    query_batch_size=query_batch_size,
                )
                yield (plan, GuidanceCost(point.peak, saved_bytes(encoder_and_query, point.schedule), point.seconds))
            for views, chain, points in groupings:
                num_groups = self.num_views / views
                forward_seconds = sum(c.forward for c in chain.costs)
                no_grad_peak = chain.no_grad_peak(0, n - 1, n - 1)
                group_bytes = (
                    RAY_BYTES * num_rays * (1 + views / self.num_views)
                )  # gradients, and the images of a group
                for point in points:
                    group_peak = max(2 * x_bytes + max(no_grad_peak, int(peak)), x_bytes + group_bytes + point.peak)
                    total_seconds = seconds + num_groups * (forward_seconds + point.seconds)
                    schedule = None if point.schedule == save_all_schedule(n) else point.schedule
                    yield (
                        StepPlan(1, views, schedule, query_batch_size),
                        GuidanceCost(int(group_peak), RAY_BYTES * num_rays, total_seconds),
                    )

    def _profile_encoder(self) -> tuple[list[CostChain], bool]:
        """Profile the encoder on one and on two images; return whether its blocks can be recomputed."""
        size, chains, checkpointable = self.workload.cameras.height, [], False
        for count in (1, 2):
            rgb = torch.rand(count, size, size, 3, generator=self.new_generator(), device=self.device)
            opacity = rgb[..., 0].clone()
            encoder = prior_encoder_blocks(self.prior, Render(rgb, opacity, opacity), self.new_generator())
            checkpointable = encoder is not None

            def encode(state: Activations) -> Activations:
                rendered = Render(state["rgb"], state["opacity"], state["opacity"].detach())
                return {"x": self.prior.encode(rendered, generator=self.new_generator())}

            blocks = [Block("encode", encode)] if encoder is None else encoder.blocks(slice(0, count))
            state = {"rgb": rgb.requires_grad_(True), "opacity": opacity.requires_grad_(True)}
            chains.append(profile_chain(blocks, state, self.device, () if encoder is None else encoder.parameters))
        return chains, checkpointable

    def _make_query(self, count: int) -> Callable[[], Tensor]:
        """Return a query of ``count`` images."""
        cameras = self.workload.cameras
        rows = torch.arange(count, device=self.x.device) % self.num_views
        t = self.x.new_full((count,), 0.5)
        embedding, views = (
            self.prompts.conditioning(cameras).cond.select(rows),
            self.scene_views if self.scene_views > 1 else 1,
        )
        return lambda: self.prior.denoise(self.x[rows], t, embedding, cameras.select(rows), views=views)

    def _query_sizes(self, query_batch_size: int | None) -> list[int]:
        """Return the images per query of a step."""
        counter = _CountingPrior(self.prior)
        self._run_guidance(counter, query_batch_size)
        return counter.query_sizes

    def network_calls(self, query_batch_size: int | None) -> int:
        """Return the number of network evaluations per step."""
        query_sizes = self._query_sizes(query_batch_size)
        return sum(-(-q // network_batch_size(self.prior, q)) for q in query_sizes)

    def _run_guidance(self, prior: Prior, query_batch_size: int | None) -> None:
        guidance = load_guidance(self.config.guidance, device=self.device, warn=lambda problem: None)
        x = self.x.clone().requires_grad_(True)
        loss = DistillationLoss(prior, self.prompts, self.config, guidance).latent_loss(
            x, self.workload.cameras, 0.5, query_batch_size, self.new_generator()
        )
        torch.autograd.grad(loss, x)

    def _guidance_overhead(self) -> tuple[int, float]:
        """Return peak bytes and seconds of the guidance without the prior."""
        costs = self._fit_costs([lambda: self._run_guidance(_CountingPrior(self.prior), None)] * 2, (1, 2))
        return int(costs.peak.values[0]), costs.seconds.values[0]

    def _fit_costs(self, runs: list[Callable[[], Any]], sizes: tuple[int, int]) -> CostModel:
        rows = []
        for run in runs:
            with measure_memory(self.device, self.workload.parameters) as meter:
                run()  # existing tensors, e.g. weights, do not count
                meter.reset()
                start = meter.live_bytes()
                result = run()
                peak, saved = meter.peak_bytes() - start, meter.live_bytes() - start
                del result
            rows.append((float(peak), float(saved), time_call(self.device, run, 1)))
        small, large = rows
        return CostModel(*(LinearFit(sizes, (a, b)) for a, b in zip(small, large, strict=True)))


def _coarse_front(chain: CostChain) -> list[ParetoPoint]:
    return pareto_front(chain, max(1, schedule_cost(chain, save_all_schedule(len(chain))).peak // FRONT_LEVELS))


class _CountingPrior:
    """Prior that returns its input and counts the images per query."""

    def __init__(self, prior: Prior) -> None:
        self.name, self.sha256, self.camera_conditioned = prior.name, prior.sha256, prior.camera_conditioned
        self.check_prompt, self.encode_text = prior.check_prompt, prior.encode_text
        self.alpha_sigma, self.encode = prior.alpha_sigma, prior.encode
        self.query_sizes: list[int] = []

    def denoise(self, x_t: Tensor, t: Tensor, prompts: Any, cameras: OrbitCameras, *, views: int = 1) -> Tensor:
        self.query_sizes.append(len(x_t))
        return x_t.clone()
