"""Peak bytes against time of a step's gradient: the planner's schedules against saving all activations,
recomputing all, and square-root checkpointing.

    python -m benchmarks.memory --objects 4 --plot memory.png

A training step of the pixel prior with all objects at once, or a distillation step with a shrunken latent prior;
predicted and measured, on random images and weights. Prints JSON, one report per step.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from benchmarks import charts
from benchmarks.models import MODELS, random_prior, shrunk
from dreamfusion3d.core.config import resolve_config
from dreamfusion3d.core.types import Render
from dreamfusion3d.fields.nerf import NerfField
from dreamfusion3d.memory import budget
from dreamfusion3d.memory.checkpoint_plan import (
    ParetoPoint,
    pareto_front,
    recompute_all_schedule,
    save_all_schedule,
    schedule_cost,
    sqrt_schedule,
)
from dreamfusion3d.memory.checkpointed import run_checkpointed
from dreamfusion3d.memory.oom_fallback import select_plans
from dreamfusion3d.memory.profiler import extrapolate_chain, measure_memory, profile_chain, time_call
from dreamfusion3d.memory.step_plan import StepPlan
from dreamfusion3d.priors.pixel.conditioner import procedural_vocabulary
from dreamfusion3d.priors.pixel.losses import sample_step_randomness
from dreamfusion3d.priors.pixel.train_blocks import TrainStepContext, train_step_blocks
from dreamfusion3d.priors.pixel.train_state import PriorTrainConfig, new_train_state
from dreamfusion3d.priors.pixel.unet import build_scheduler, install_view_attention
from dreamfusion3d.priors.view_prompts import encode_prompts
from dreamfusion3d.procedural.dataset import TrainingBatch
from dreamfusion3d.rendering.occupancy_grid import OccupancyGrid
from dreamfusion3d.training.distillation import distillation_losses
from dreamfusion3d.training.distillation_loss import DistillationLoss
from dreamfusion3d.training.loop import differentiate
from dreamfusion3d.training.planning.render_workload import field_workload
from dreamfusion3d.training.planning.step_planner import enumerate_step_plans
from dreamfusion3d.training.prefetch import RayBatch, orbit_sampler

BASELINES = {"save all": save_all_schedule, "recompute all": recompute_all_schedule, "square root": sqrt_schedule}
PROFILED_SIZES = (1, 2)
REPEATS = 8  # of a timed gradient; the fastest counts


def train_curve(num_objects: int, count: int, device: torch.device) -> dict[str, Any]:
    """Measure ``count`` schedules of the Pareto front, and the baselines, on a training step of the pixel prior."""
    config = PriorTrainConfig()
    state = new_train_state(procedural_vocabulary(), config, seed=0, device=device)
    levels = build_scheduler().alphas_cumprod.to(device)
    context = TrainStepContext(state.model, config.scene_weight, levels, install_view_attention(state.model.unet))
    parameters = list(state.model.parameters())

    def blocks(number: int) -> list[Any]:
        generator = torch.Generator().manual_seed(0)
        shape = (number, config.views_per_object)
        batch = TrainingBatch(
            torch.rand(*shape, 4, 64, 64, generator=generator) * 2 - 1,
            [["kind:mug"]] * number,
            torch.rand(shape, generator=generator) * 360,
            torch.rand(shape, generator=generator) * 60,
        )
        return train_step_blocks(
            context, batch, sample_step_randomness(batch, 0.1, len(levels), generator=generator, device=device)
        )

    start = time.perf_counter()
    chain = extrapolate_chain(
        *(profile_chain(blocks(n), {}, device, parameters) for n in PROFILED_SIZES), PROFILED_SIZES, num_objects
    )
    points = pareto_front(chain)
    planning = time.perf_counter() - start
    whole = blocks(num_objects)

    def run(point: ParetoPoint) -> dict[str, Any]:
        for p in parameters:
            p.grad = torch.zeros_like(p)
        with measure_memory(device, [*parameters, *(p.grad for p in parameters if p.grad is not None)]) as meter:
            meter.reset()
            start = meter.live_bytes()
            run_checkpointed(whole, point.schedule, {})["loss"].backward()
            peak = meter.peak_bytes() - start
        seconds = time_call(device, lambda: run_checkpointed(whole, point.schedule, {})["loss"].backward(), REPEATS)
        return {
            "peak_bytes": peak,
            "predicted_peak_bytes": point.peak,
            "seconds": round(seconds, 4),
            "predicted_seconds": round(point.seconds, 4),
            "schedule": str(point.schedule),
        }

    chosen = points[:: max(1, len(points) // count)]
    return {
        "benchmark": "memory of a training step",
        "device": str(device),
        "threads": torch.get_num_threads(),
        "objects": num_objects,
        "planning_seconds": round(planning, 2),
        "ours": [run(p) for p in [*chosen, points[-1]]],
        "known": {name: run(schedule_cost(chain, schedule(len(chain)))) for name, schedule in BASELINES.items()},
    }


def sds_curve(count: int, device: torch.device) -> dict[str, Any]:
    """Measure ``count`` plans of the Pareto front, and the baselines for the encoder, on a distillation step."""
    model = shrunk(MODELS["sd21"])
    model = dataclasses.replace(model, unet={**model.unet, "sample_size": 16})
    sets = (
        "render.resolution=48",
        "optim.num_views=4",
        "field.num_levels=4",
        "field.log2_table_size=12",
        "guidance.scale=50",
    )
    config = resolve_config("standard", None, sets)
    prior = random_prior(model, config.prior, device)
    prompts = encode_prompts(prior, "a pitcher", config.prompts)

    def new_generator() -> torch.Generator:
        return torch.Generator(device).manual_seed(0)

    field = NerfField(config.field, generator=new_generator())
    start = time.perf_counter()
    workload = field_workload(field, config, orbit_sampler(config))
    with mock.patch.object(budget, "used_bytes", lambda device: 0):
        plans = enumerate_step_plans(workload, prior, prompts, config, device)
    front_plans = select_plans(plans, 1 << 62, "a step")
    planning = time.perf_counter() - start
    occupancy = OccupancyGrid(config.render.occupancy_grid_resolution, device)
    occupancy.update(field.density, generator=new_generator(), step=0)
    known = [*prior.render_encoder.vae.parameters(), *prior.network.unet.parameters(), *field.parameters()]
    # predictions include the field's gradients, moments and copies, which exist before a step
    weight_bytes = sum(p.numel() * p.element_size() for p in field.parameters())
    held_bytes = weight_bytes * (3 if device.type == "cuda" else 9)
    predicted = {costed.plan: costed for costed in plans}
    guidance_loss, generator = DistillationLoss.from_config(prior, prompts, config, device, print), new_generator()

    def backward(plan: StepPlan) -> None:
        field.zero_grad(set_to_none=True)
        losses = distillation_losses(
            plan,
            RayBatch(workload.cameras),
            0.7,
            field=field,
            guidance_loss=guidance_loss,
            occupancy=occupancy,
            config=config,
            generator=generator,
        )
        differentiate(losses)

    def run(plan: StepPlan) -> dict[str, Any]:
        with measure_memory(device, known) as meter:
            backward(plan)  # what it leaves, e.g. the prompt's embedding, does not count
            field.zero_grad(set_to_none=True)
            meter.reset()
            start = meter.live_bytes()
            backward(plan)
            peak = meter.peak_bytes() - start
        costed = predicted.get(plan)
        return {
            "peak_bytes": peak,
            "seconds": round(time_call(device, lambda: backward(plan), REPEATS), 4),
            "predicted_peak_bytes": None if costed is None else (costed.peak or 0) - held_bytes,
            "predicted_seconds": None if costed is None else round(costed.seconds or 0.0, 4),
            "plan": plan.describe(config.optim.num_views),
        }

    blank = torch.zeros(1, 8, 8)
    chain = prior.encode_in_blocks(Render(torch.zeros(1, 8, 8, 3), blank, blank), generator=new_generator())
    assert chain is not None, "it has a VAE"
    blocks = len(chain.blocks(slice(0, 1)))
    chosen = front_plans[:: max(1, len(front_plans) // count)]
    return {
        "benchmark": "memory of a distillation step",
        "device": str(device),
        "threads": torch.get_num_threads(),
        "planning_seconds": round(planning, 2),
        "plans": len(plans),
        "ours": [run(costed.plan) for costed in [*chosen, front_plans[-1]]],
        "known": {
            name: run(StepPlan(encoder_schedule=None if name == "save all" else schedule(blocks)))
            for name, schedule in BASELINES.items()
        },
    }


def plot(reports: list[dict[str, Any]], path: Path) -> None:
    """Plot seconds over peak bytes: ours as measured and as predicted, and each baseline as measured."""

    def points(rows: list[dict[str, Any]], which: str = "") -> list[tuple[float, float]]:
        return sorted((row[f"{which}peak_bytes"], row[f"{which}seconds"]) for row in rows)

    charts.curves(
        [
            charts.Chart(
                report["benchmark"],
                "peak bytes",
                "seconds per gradient",
                {
                    "ours, measured": points(report["ours"]),
                    "ours, predicted": points(report["ours"], "predicted_"),
                    **{f"{name}, measured": points([row]) for name, row in report["known"].items()},
                },
            )
            for report in reports
        ],
        path,
        width=560,
        height=400,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--step", choices=("train", "sds", "both"), default="both", help="which step")
    parser.add_argument("--objects", type=int, default=6, help="objects per step, four images each")
    parser.add_argument("--points", type=int, default=10, help="number of our schedules to measure")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--plot", type=Path, help="PNG to write")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    reports = []
    if arguments.step != "sds":
        reports.append(train_curve(arguments.objects, arguments.points, device))
    if arguments.step != "train":
        reports.append(sds_curve(arguments.points, device))
    print(json.dumps(reports, indent=2))
    if arguments.plot:
        arguments.plot.parent.mkdir(parents=True, exist_ok=True)
        plot(reports, arguments.plot)


if __name__ == "__main__":
    main()
