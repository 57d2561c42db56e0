"""Steps in little memory: every plan has the same gradient, the chosen plan fits, and running out falls back."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
import torch

from dreamfusion3d.cameras.orbit import OrbitCameras, sample_orbit_cameras
from dreamfusion3d.core.config import Config, PriorConfig, override_config
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.types import Mesh, Render
from dreamfusion3d.fields.nerf import NerfField
from dreamfusion3d.fields.texture_field import TextureField, constant_color
from dreamfusion3d.guidance import load_guidance
from dreamfusion3d.memory import budget
from dreamfusion3d.memory.checkpoint_plan import recompute_all_schedule, save_all_schedule, sqrt_schedule
from dreamfusion3d.memory.checkpointed import run_checkpointed
from dreamfusion3d.memory.oom_fallback import CostedPlan
from dreamfusion3d.memory.profiler import measure_memory
from dreamfusion3d.memory.step_plan import StepPlan
from dreamfusion3d.priors.cfg import CFGDenoiser
from dreamfusion3d.priors.loading import load_prior
from dreamfusion3d.priors.protocol import TextEmbedding
from dreamfusion3d.rendering.occupancy_grid import OccupancyGrid
from dreamfusion3d.training import distillation
from dreamfusion3d.training.distillation import distill_field, distillation_losses
from dreamfusion3d.training.distillation_loss import DistillationLoss
from dreamfusion3d.training.loop import Step, differentiate
from dreamfusion3d.training.planning import render_profiler, render_workload, step_planner
from dreamfusion3d.training.planning.render_profiler import RenderCost, RenderProfiler
from dreamfusion3d.training.planning.render_workload import field_workload
from dreamfusion3d.training.prefetch import RayBatch, orbit_sampler
from dreamfusion3d.training.texture import distill_texture
from tests.support.families import WIDTH, build, tiny_vae
from tests.support.training import make_generator

CPU = torch.device("cpu")
NUM_VIEWS, IMAGE_SIZE = 3, 12
SETTINGS = {
    "optim.num_views": NUM_VIEWS,
    "optim.steps": 3,
    "losses.interior_points": 64,
    "render.resolution": IMAGE_SIZE,
    "render.coarse_resolution": 8,
    "render.step_size": 0.1,
    "render.occupancy_grid_resolution": 8,
    "field.hidden_dim": 8,
    "field.num_levels": 2,
    "field.log2_table_size": 8,
    "field.max_resolution": 16,
    "guidance.scale": 3.0,
    "guidance.vsd_width": 8,
}
Plans = list[CostedPlan[StepPlan]]


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_prior(PriorConfig(name=str(build("sd", tmp_path_factory.mktemp("sd") / "sd"))))


@pytest.fixture(scope="module")
def prompts() -> TextEmbedding:
    return TextEmbedding(torch.randn(2, 77, WIDTH, generator=make_generator()))


def small_config(**settings: Any) -> Config:
    return override_config(Config(), {**SETTINGS, **{name.replace("__", "."): v for name, v in settings.items()}})


def small_field(config: Config) -> NerfField:
    return NerfField(config.field, generator=make_generator(3))


def random_render(count: int = NUM_VIEWS) -> Render:
    rgb = torch.rand(count, IMAGE_SIZE, IMAGE_SIZE, 3, generator=make_generator(1))
    return Render(rgb, rgb[..., 0].clone(), rgb[..., 1].clone())


def bind_losses(
    prior: Any,
    prompts: TextEmbedding,
    config: Config,
    field: NerfField,
    cameras: OrbitCameras,
    occupancy: OccupancyGrid,
    generator: torch.Generator,
) -> Callable[[StepPlan], None]:
    """Return a function that leaves the gradient of one step late in a run, where all regularizers take part."""
    guidance = load_guidance(config.guidance, device=CPU, warn=pytest.fail)
    compute_losses = functools.partial(
        distillation_losses,
        batch=RayBatch(cameras),
        progress=0.7,
        field=field,
        guidance_loss=DistillationLoss(prior, prompts, config, guidance),
        occupancy=occupancy,
        config=config,
        generator=generator,
    )

    def run_step(plan: StepPlan) -> None:
        differentiate(compute_losses(plan))

    return run_step


def gradient(plan: StepPlan, prior: Any, prompts: TextEmbedding, config: Config) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the gradient of one step, and the generator's state after it."""
    field, generator = small_field(config), make_generator(7)
    occupancy = OccupancyGrid(8)
    occupancy.update(field.density, generator=generator, step=0)
    cameras = sample_orbit_cameras(NUM_VIEWS, generator=generator, size=IMAGE_SIZE)
    bind_losses(prior, prompts, config, field, cameras, occupancy, generator)(plan)
    grads = [p.grad.flatten().double() for p in field.parameters() if p.grad is not None]
    assert len(grads) == len(list(field.parameters()))
    return torch.cat(grads), generator.get_state()


@pytest.mark.parametrize("guidance", ["sds", "vsd"])
def test_step_plans_have_the_same_gradient(prior: Any, prompts: TextEmbedding, guidance: str) -> None:
    config = small_config(guidance__type=guidance)
    expected, expected_state = gradient(StepPlan(), prior, prompts, config)
    n = len(prior.encode_in_blocks(random_render(), generator=make_generator()).blocks(slice(0, 1)))
    for plan in (
        StepPlan(tiles=4),
        StepPlan(encoder_schedule=recompute_all_schedule(n)),
        StepPlan(encoder_batch_size=2, encoder_schedule=sqrt_schedule(n)),
        StepPlan(query_batch_size=1),
        StepPlan(3, 1, sqrt_schedule(n), 2),
        StepPlan(cpu_offload=True),
        StepPlan(2, cpu_offload=True),
    ):
        actual, state = gradient(plan, prior, prompts, config)
        # float32: plans round differently; VSD's gradient is the difference of two predictions, of which little is left
        tolerance = {"sds": 2e-6, "vsd": 2e-5}[guidance]
        error = (actual - expected).norm()
        assert error <= tolerance * expected.norm(), (plan, float(error))
        assert torch.equal(state, expected_state), "all plans draw the same numbers"


@pytest.mark.parametrize("tiny", [False, True])
def test_encode_in_blocks_equals_encode(prior: Any, tiny: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if tiny:
        monkeypatch.setattr(prior.render_encoder, "vae", tiny_vae().requires_grad_(False))
    image, generator, other = random_render(), make_generator(2), make_generator(2)
    expected = prior.encode(image, generator=generator)
    encoder = prior.encode_in_blocks(image, generator=other)
    assert torch.equal(generator.get_state(), other.get_state())
    for rows in (slice(0, NUM_VIEWS), slice(1, 2)):
        blocks = encoder.blocks(rows)
        inputs = {"rgb": image.rgb[rows], "opacity": image.opacity[rows]}
        outputs = run_checkpointed(blocks, save_all_schedule(len(blocks)), inputs)
        assert set(outputs) == {"x"} and torch.allclose(outputs["x"], expected[rows], atol=1e-6)


def run_steps(prior: Any, prompts: TextEmbedding, config: Config, **options: Any) -> tuple[list[Step], torch.Tensor]:
    """Run `distill_field`; return its steps and the field's parameters."""
    field = small_field(config)
    steps = list(distill_field(field, prior, prompts, config, generator=make_generator(1), **options))
    return steps, torch.cat([p.detach().flatten() for p in field.parameters()])


def test_plan_for_budget_changes_the_plan_and_not_the_result(
    prior: Any, prompts: TextEmbedding, monkeypatch: pytest.MonkeyPatch, quick_plans: None
) -> None:
    monkeypatch.setattr(budget, "used_bytes", lambda device: 0)
    config, plans = small_config(), []
    _, expected = run_steps(prior, prompts, config)
    with pytest.raises(InputError, match="the minimum is ") as error:
        run_steps(prior, prompts, config, memory_budget=1 << 17)
    problem, advice = str(error.value).rsplit("; ", 1)
    assert advice == (
        "less memory is needed with fewer optim.num_views, a smaller render.resolution, prior.dtype=bfloat16 or "
        "a tiny prior.vae"
    )
    number, unit = problem.rsplit("is ", 1)[1].split()
    minimum = int(number) * budget.BYTE_UNITS[unit[0].lower()]
    steps, actual = run_steps(prior, prompts, config, memory_budget=minimum, on_plan=plans.append)
    assert [s.index for s in steps] == [1, 2, 3] and all(s.warning is None for s in steps)
    assert plans[0].plan != StepPlan() and plans[0].peak <= minimum
    assert (actual - expected).abs().max() < 1e-4  # the root in Adam enlarges rounding
    steps, actual = run_steps(prior, prompts, config, memory_budget=1 << 36, on_plan=plans.append)
    assert plans[1].plan == StepPlan() and plans[1].description == "everything at once"
    assert torch.equal(actual, expected), "with enough memory nothing changes"


@pytest.mark.parametrize("guidance", ["sds", "vsd"])
def test_optimization_loop_falls_back_when_memory_runs_out(
    prior: Any, prompts: TextEmbedding, monkeypatch: pytest.MonkeyPatch, guidance: str
) -> None:
    """The planted error strikes in the second step, after the guidance has learned and drawn."""
    config = small_config(guidance__type=guidance)
    expected_steps, expected = run_steps(prior, prompts, config)
    calls, regularizers = itertools.count(), distillation.regularizers

    def failing(*args: Any, **kwargs: Any) -> dict[str, torch.Tensor]:
        if next(calls) in (1, 2):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return regularizers(*args, **kwargs)

    monkeypatch.setattr(distillation, "regularizers", failing)
    steps, actual = run_steps(prior, prompts, config)
    assert [s.index for s in steps] == [1, 2, 3]
    warnings = [s.warning for s in steps if s.warning]
    assert len(warnings) == 1 and steps[1].warning == warnings[0] and "\n" not in warnings[0]
    assert warnings[0].count("out of memory; continuing with ") == 2 and "views encoded" in warnings[0]
    for a, b in zip(steps, expected_steps, strict=True):
        assert a.gradient_norm == pytest.approx(b.gradient_norm, rel=1e-4)
        assert list(a.losses) == list(b.losses)
    assert (actual - expected).abs().max() < 1e-4


def test_plan_for_budget_offloads_the_network_of_a_full_device(
    prior: Any, prompts: TextEmbedding, monkeypatch: pytest.MonkeyPatch, quick_plans: None
) -> None:
    """A CPU stands in for the device, and the budget is a byte less than the smallest plan without offloading."""
    weights = prior.offloadable_weights
    monkeypatch.setattr(budget, "used_bytes", lambda device: weights.nbytes)
    monkeypatch.setattr(step_planner, "offloadable_weights", lambda prior, device: weights)
    config, chosen, plans, select_plans = small_config(), [], [], step_planner.select_plans

    def select_with_tight_budget(candidates: Iterable[CostedPlan[StepPlan]], budget: int, *texts: str) -> Plans:
        plans.extend(candidates)
        return select_plans(plans, min(p.peak for p in plans if not p.plan.cpu_offload) - 1, *texts)

    monkeypatch.setattr(step_planner, "select_plans", select_with_tight_budget)
    _, actual = run_steps(prior, prompts, config, memory_budget=1 << 36, on_plan=chosen.append)
    assert chosen[0].plan.cpu_offload and weights.offloaded
    resident = {plan.plan: plan for plan in plans if not plan.plan.cpu_offload}
    for plan in plans:
        if plan.plan.cpu_offload:
            twin = resident[dataclasses.replace(plan.plan, cpu_offload=False)]
            assert twin.peak - plan.peak == pytest.approx(weights.nbytes - weights.max_layer_bytes, abs=1)
            assert plan.seconds > twin.seconds and plan.description.endswith("its network in main memory")
    _, expected = run_steps(prior, prompts, config)
    assert not weights.offloaded, "the next run brings it back"
    assert (actual - expected).abs().max() < 1e-4
    fallback = step_planner.default_fallback_chain(prior, config, CPU)
    assert [p.plan.cpu_offload for p in fallback.plans] == [False] * (len(fallback.plans) - 1) + [True]


def test_distill_field_ends_with_one_line_when_no_plan_is_left(
    prior: Any, prompts: TextEmbedding, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*args: Any, **kwargs: Any) -> dict[str, torch.Tensor]:
        raise MemoryError("no room")

    monkeypatch.setattr(distillation, "regularizers", failing)
    with pytest.raises(InputError, match="out of memory even in the smallest configuration .'images in 64 tiles"):
        run_steps(prior, prompts, small_config())


def test_enumerate_step_plans_predicts_the_measured_peaks(
    prior: Any, prompts: TextEmbedding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of plans in which different parts of the step are the largest."""
    monkeypatch.setattr(budget, "used_bytes", lambda device: 0)
    config = small_config(render__resolution=32, render__step_size=0.05)
    field = small_field(config)
    workload = field_workload(field, config, orbit_sampler(config))
    plans = step_planner.enumerate_step_plans(workload, prior, prompts, config, CPU)
    costs = {costed.plan: costed for costed in plans}
    held_bytes = 9 * sum(p.numel() * p.element_size() for p in field.parameters())
    occupancy = OccupancyGrid(8)
    occupancy.update(field.density, generator=make_generator(), step=0)
    ignored = [*prior.render_encoder.vae.parameters(), *prior.network.unet.parameters(), *field.parameters()]
    for plan in (StepPlan(), StepPlan(4, 1, None, 1), StepPlan(64, 1, None, 1)):
        run_step = bind_losses(prior, prompts, config, field, workload.cameras, occupancy, make_generator())
        with measure_memory(CPU, ignored) as meter:
            for _ in range(2):  # what the first run leaves, e.g. the prompt's embedding, does not count
                field.zero_grad(set_to_none=True)
                start = meter.live_bytes()
                meter.reset()
                run_step(plan)
                peak = meter.peak_bytes() - start
        predicted = (costs[plan].peak or 0) - held_bytes
        assert 0.9 < predicted / peak < 1.1, (plan, peak, predicted)


def test_render_profiler_stays_within_the_free_memory(monkeypatch: pytest.MonkeyPatch, quick_plans: None) -> None:
    """On a small device, where some profiles run out of memory, and with a budget, which rules them out."""
    config = small_config(render__resolution=16, render__step_size=0.05)
    render_tiled, tile_counts = render_workload.render_field_tiled, []
    first, last = render_profiler.COARSE_TILES

    def render_on_small_device(*args: Any, tiles: int, **options: Any) -> Any:
        tile_counts.append(tiles)
        if tiles == first:
            raise MemoryError("no room")
        return render_tiled(*args, tiles=tiles, **options)

    def profile(free_bytes: float) -> dict[int, RenderCost]:
        workload = field_workload(small_field(config), config, orbit_sampler(config))
        return {cost.tiles: cost for cost in RenderProfiler(workload, CPU, free_bytes).costs()}

    expected = profile(math.inf)
    assert set(expected) == {1, *render_profiler.TILE_COUNTS}
    monkeypatch.setattr(render_workload, "render_field_tiled", render_on_small_device)
    on_small_device = profile(math.inf)
    assert {first, last} <= set(tile_counts)
    tile_counts.clear()
    with_no_budget = profile(0)
    assert first not in tile_counts and last in tile_counts
    for costs in (on_small_device, with_no_budget):
        for tiles, cost in expected.items():
            assert costs[tiles].saved == pytest.approx(cost.saved, rel=0.2)
            assert costs[tiles].backward_peak == pytest.approx(cost.backward_peak, rel=0.25)


def test_cfg_denoiser_gives_the_same_prediction_in_small_batches(prior: Any, prompts: TextEmbedding) -> None:
    cameras = sample_orbit_cameras(NUM_VIEWS, generator=make_generator(), size=8)
    x, t = torch.randn(NUM_VIEWS, 4, 8, 8, generator=make_generator()), torch.full((NUM_VIEWS,), 0.4)
    assert CFGDenoiser(prior, prompts, cameras).max_batch_size is None
    for scale in (0.0, 1.0, 5.0):
        whole = CFGDenoiser(prior, prompts, cameras)(x, t, scale)
        for size in (1, 2, NUM_VIEWS, 100):
            batched = CFGDenoiser(prior, prompts, cameras, max_batch_size=size)(x, t, scale)
            assert torch.allclose(batched, whole, atol=1e-5), (scale, size)


def test_distill_texture_plans_for_a_budget(
    prior: Any, prompts: TextEmbedding, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "used_bytes", lambda device: 0)
    settings = {"texture__resolution": IMAGE_SIZE, "texture__num_levels": 2, "texture__log2_table_size": 8}
    config, plans = small_config(**settings), []
    corners = np.array([[-0.5, -0.5, 0], [0.5, -0.5, 0], [0, 0.5, 0]], np.float32)
    mesh, normals = Mesh(corners, np.array([[0, 1, 2]])), np.array([[0, 0, 1]] * 3, np.float32)

    def run(memory_budget: int | None) -> list[Step]:
        field = TextureField(config.texture, constant_color(), generator=make_generator())
        options = {"generator": make_generator(), "memory_budget": memory_budget, "on_plan": plans.append}
        return list(distill_texture(field, mesh, normals, prior, prompts, config, 2, **options))

    assert len(run(None)) == 2 and not plans
    with pytest.raises(InputError, match="too little for a step; the minimum is"):
        run(1)
    assert not plans
