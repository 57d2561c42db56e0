"""A step in little memory: one gradient in every way, a plan that fits, and what follows when it runs out."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
import torch

from dreamfusion3d.cameras.orbit import sample_orbit_cameras
from dreamfusion3d.core.config import Config, PriorConfig, override_config
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.types import Render
from dreamfusion3d.fields.nerf import NerfField
from dreamfusion3d.guidance import load_guidance
from dreamfusion3d.memory import budget as amount
from dreamfusion3d.memory.checkpoint_plan import recompute_all_schedule, save_all_schedule, sqrt_schedule
from dreamfusion3d.memory.checkpointed import run_checkpointed
from dreamfusion3d.memory.profiler import measure_memory
from dreamfusion3d.priors.loading import load_prior
from dreamfusion3d.priors.protocol import TextEmbedding
from dreamfusion3d.rendering.occupancy_grid import OccupancyGrid
from dreamfusion3d.training import distillation, guidance_loss, render_profiler, render_workload, step_planner
from dreamfusion3d.training.checkpoint import OptimizationState
from dreamfusion3d.training.guidance_loss import StepPlan
from dreamfusion3d.training.prefetch import RayBatch
from dreamfusion3d.training.render_profiler import RenderProfiler
from tests.support.families import WIDTH, build, tiny_vae

CPU = torch.device("cpu")
VIEWS, SIZE = 3, 12
SETS = {
    "optim.num_views": VIEWS,
    "optim.steps": 3,
    "losses.interior_points": 64,
    "render.resolution": SIZE,
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


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def prior(tmp_path_factory):
    return load_prior(PriorConfig(name=str(build("sd", tmp_path_factory.mktemp("sd") / "sd"))))


@pytest.fixture(scope="module")
def text() -> TextEmbedding:
    return TextEmbedding(torch.randn(2, 77, WIDTH, generator=generator()))


def config(**sets) -> Config:
    return override_config(Config(), {**SETS, **{k.replace("__", "."): v for k, v in sets.items()}})


def field(settings: Config) -> NerfField:
    return NerfField(settings.field, generator=generator(3))


def pictures(count: int = VIEWS) -> Render:
    rgb = torch.rand(count, SIZE, SIZE, 3, generator=generator(1))
    return Render(rgb, rgb[..., 0].clone(), rgb[..., 1].clone())


def gradient(way: StepPlan, prior, text, settings: Config) -> tuple[torch.Tensor, torch.Tensor]:
    """Of one step late in the run, where all regularisers take part; and the generator after it."""
    nerf, lot = field(settings), generator(7)
    occupancy = OccupancyGrid(8)
    occupancy.update(nerf.density, generator=lot, step=0)
    guidance = load_guidance(settings.guidance, device=CPU, warn=pytest.fail)
    run = OptimizationState(nerf, torch.optim.Adam(nerf.parameters()), occupancy, lot, guidance)
    cameras = sample_orbit_cameras(VIEWS, generator=lot, size=SIZE)
    distillation._backward(run, way, RayBatch(cameras), 0.7, 0.0, prior, text, settings)
    return torch.cat([p.grad.flatten().double() for p in nerf.parameters()]), lot.get_state()


@pytest.mark.parametrize("kind", ["sds", "vsd"])
def test_every_way_has_the_gradient_of_the_whole(prior, text, kind):
    settings = config(guidance__kind=kind)
    wanted, after = gradient(StepPlan(), prior, text, settings)
    n = len(prior.chained(pictures(), generator=generator()).blocks(slice(0, 1)))
    for way in (
        StepPlan(tiles=4),
        StepPlan(encoder_schedule=recompute_all_schedule(n)),
        StepPlan(encoder_batch_size=2, encoder_schedule=sqrt_schedule(n)),
        StepPlan(query_batch_size=1),
        StepPlan(3, 1, sqrt_schedule(n), 2),
        StepPlan(cpu_offload=True),
        StepPlan(2, cpu_offload=True),
    ):
        found, then = gradient(way, prior, text, settings)
        # float32: each way rounds otherwise, and three together a little more; vsd's gradient is the
        # difference of two predictions, of which little is left
        most = {"sds": 2e-6 if way.tiles > 1 and way.encoder_batch_size else 1e-6, "vsd": 2e-5}[kind]
        assert (found - wanted).norm() <= most * wanted.norm(), (way, float((found - wanted).norm()))
        assert torch.equal(then, after), "all ways draw the same numbers"


@pytest.mark.parametrize("tiny", [False, True])
def test_the_blocks_of_the_encoder_are_the_encoder(prior, tiny, monkeypatch):
    if tiny:
        monkeypatch.setattr(prior.space, "vae", tiny_vae().requires_grad_(False))
    whole, lot, other = pictures(), generator(2), generator(2)
    wanted = prior.encode(whole, generator=lot)
    chain = prior.chained(whole, generator=other)
    assert torch.equal(lot.get_state(), other.get_state())
    for rows in (slice(0, VIEWS), slice(1, 2)):
        blocks = chain.blocks(rows)
        given = {"rgb": whole.rgb[rows], "opacity": whole.opacity[rows]}
        state = run_checkpointed(blocks, save_all_schedule(len(blocks)), given)
        assert set(state) == {"x"} and torch.allclose(state["x"], wanted[rows], atol=1e-6)


def run(prior, text, settings: Config, **options) -> tuple[list[distillation.Step], torch.Tensor]:
    nerf = field(settings)
    steps = list(distillation.distill_field(nerf, prior, text, settings, generator=generator(1), **options))
    return steps, torch.cat([p.detach().flatten() for p in nerf.parameters()])


def test_a_budget_changes_the_way_and_not_the_result(prior, text, monkeypatch, quick_plans):
    monkeypatch.setattr(amount, "used_bytes", lambda device: 0)
    settings, told = config(), []
    _, wanted = run(prior, text, settings)
    with pytest.raises(InputError, match="the minimum is ") as refused:
        run(prior, text, settings, budget=1 << 17)
    said, advice = str(refused.value).split("; ")
    assert advice == (
        "less would do with fewer optim.num_views, a smaller render.resolution, prior.dtype=bfloat16 or a tiny "
        "prior.vae"
    )
    number, unit = said.rsplit("is ", 1)[1].split()
    least = int(number) * amount.BYTE_UNITS[unit[0].lower()]
    steps, found = run(prior, text, settings, budget=least, tell=told.append)
    assert [s.index for s in steps] == [1, 2, 3] and all(s.warning is None for s in steps)
    plan = told[0]
    assert plan.choice != StepPlan() and plan.peak <= least
    assert (found - wanted).abs().max() < 1e-4  # Adam's root enlarges rounding
    steps, found = run(prior, text, settings, budget=1 << 36, tell=told.append)
    assert told[1].choice == StepPlan() and told[1].words == "everything at once"
    assert torch.equal(found, wanted), "with enough memory nothing is done otherwise"


@pytest.mark.parametrize("kind", ["sds", "vsd"])
def test_out_of_memory_goes_on_in_a_cheaper_way(prior, text, monkeypatch, kind):
    """The planted error strikes in the second step, after the guidance has learnt and drawn."""
    settings = config(guidance__kind=kind)
    wanted_steps, wanted = run(prior, text, settings)
    calls, true = itertools.count(), distillation.regularization_loss

    def failing(*args):
        if next(calls) in (1, 2):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return true(*args)

    monkeypatch.setattr(distillation, "regularization_loss", failing)
    steps, found = run(prior, text, settings)
    assert [s.index for s in steps] == [1, 2, 3]
    notes = [s.warning for s in steps if s.warning]
    assert len(notes) == 1 and steps[1].warning == notes[0] and "\n" not in notes[0]
    assert notes[0].count("out of memory; continuing with ") == 2 and "views encoded" in notes[0]
    for a, b in zip(steps, wanted_steps, strict=True):
        assert a.gradient_norm == pytest.approx(b.gradient_norm, rel=1e-4)
    assert (found - wanted).abs().max() < 1e-4


def test_the_network_leaves_a_device_that_is_full(prior, text, monkeypatch, quick_plans):
    """Here a CPU stands in for the device, and the budget is a byte short of what all else can do."""
    monkeypatch.setattr(amount, "used_bytes", lambda device: prior.placed.bytes)
    monkeypatch.setattr(step_planner, "offloadable_weights", lambda prior, device: prior.placed)
    settings, told, plans, within = config(), [], [], step_planner.select_plans

    def tight(every, budget, what, advice):
        plans.extend(every)
        return within(plans, min(p.peak for p in plans if not p.choice.offload) - 1, what, advice)

    monkeypatch.setattr(step_planner, "select_plans", tight)
    _, found = run(prior, text, settings, budget=1 << 36, tell=told.append)
    assert told[0].choice.offload and prior.placed.away
    there = {plan.choice: plan for plan in plans if not plan.choice.offload}
    for plan in plans:
        if plan.choice.offload:
            twin = there[dataclasses.replace(plan.choice, offload=False)]
            assert twin.peak - plan.peak == pytest.approx(prior.placed.bytes - prior.placed.largest, abs=1)
            assert plan.seconds > twin.seconds and plan.words.endswith("its network in main memory")
    _, wanted = run(prior, text, settings)
    assert not prior.placed.away, "the next run has it back"
    assert (found - wanted).abs().max() < 1e-4
    ladder = step_planner.default_fallback_chain(prior, settings, CPU)
    assert [plan.plan.cpu_offload for plan in ladder.plans] == [False] * (len(ladder.plans) - 1) + [True]


def test_without_a_way_left_the_run_ends_with_one_line(prior, text, monkeypatch):
    def failing(*args):
        raise MemoryError("no room")

    monkeypatch.setattr(distillation, "regularization_loss", failing)
    with pytest.raises(InputError, match="out of memory even in the smallest configuration .'pictures in 64 tiles"):
        run(prior, text, config())


def test_predicted_peaks_are_the_measured_ones(prior, text, monkeypatch):
    """Of the step's parts, each in its turn the worst."""
    monkeypatch.setattr(amount, "used_bytes", lambda device: 0)
    settings = config(render__size=32, render__step_size=0.05)
    nerf = field(settings)
    shown = distillation.distillation_workload(nerf, settings)
    plans = step_planner.enumerate_step_plans(shown, prior, text, settings, CPU)
    by_way = {plan.plan: plan for plan in plans}
    weights = 9 * sum(p.numel() * p.element_size() for p in nerf.parameters())
    some = [StepPlan(), StepPlan(4, 1, None, 1), StepPlan(64, 1, None, 1)]
    occupancy = OccupancyGrid(8)
    occupancy.update(nerf.density, generator=generator(), step=0)
    known = [*prior.space.vae.parameters(), *prior.network.unet.parameters(), *nerf.parameters()]
    for way in some:
        guidance = load_guidance(settings.guidance, device=CPU, warn=pytest.fail)
        with measure_memory(CPU, known) as meter:
            for _ in range(2):  # what the first finds there, as the prompt's embedding, counts no more
                nerf.zero_grad(set_to_none=True)
                whole = OptimizationState(nerf, torch.optim.Adam(nerf.parameters()), occupancy, generator(), guidance)
                start = meter.live_bytes()
                meter.reset()
                distillation._backward(whole, way, RayBatch(shown.cameras), 0.7, 0.0, prior, text, settings)
                peak = meter.peak_bytes() - start
        predicted = by_way[way].peak - weights
        assert 0.9 < predicted / peak < 1.1, (way, peak, predicted)


def test_planning_does_with_the_memory_that_is_planned_for(monkeypatch, quick_plans):
    """Of a small device, where some trials do not fit, and of a budget, which they are told."""
    settings, tiled, asked = (config(render__size=16, render__step_size=0.05), render_workload.render_field_tiled, [])
    first, last = render_profiler.COARSE_TILES

    def small(*args, tiles, **options):
        asked.append(tiles)
        if tiles == first:
            raise MemoryError("no room")
        return tiled(*args, tiles=tiles, **options)

    def measured(room):
        shown = distillation.distillation_workload(field(settings), settings)
        return {found.tiles: found for found in RenderProfiler(shown, CPU, room).costs()}

    wanted = measured(math.inf)
    assert set(wanted) == {1, *render_profiler.TILE_COUNTS}
    monkeypatch.setattr(render_workload, "render_field_tiled", small)
    found = measured(math.inf)
    assert {first, last} <= set(asked)
    asked.clear()
    little = measured(0)
    assert first not in asked and last in asked
    for other in (found, little):
        for tiles, row in wanted.items():
            assert other[tiles].kept == pytest.approx(row.kept, rel=0.2)
            assert other[tiles].backward == pytest.approx(row.backward, rel=0.25)


def test_small_questions_are_the_large_one(prior, text):
    from dreamfusion3d.priors.cfg import CFGDenoiser

    cameras = sample_orbit_cameras(VIEWS, generator=generator(), size=8)
    x, t = torch.randn(VIEWS, 4, 8, 8, generator=generator()), torch.full((VIEWS,), 0.4)
    for scale in (0.0, 1.0, 5.0):
        whole = CFGDenoiser(prior, text, cameras, views=1)(x, t, scale)
        for at_once in (1, 2, VIEWS, 100):
            part = CFGDenoiser(prior, text, cameras, views=1, max_batch_size=at_once)(x, t, scale)
            assert torch.allclose(part, whole, atol=1e-5), (scale, at_once)
    assert guidance_loss.StepPlan().query_batch_size is None


def test_painting_has_a_plan_and_ways_of_its_own(prior, text, monkeypatch):
    import numpy as np

    from dreamfusion3d.core.types import Mesh
    from dreamfusion3d.fields.texture_field import TextureField, constant_color
    from dreamfusion3d.training.texture import distill_texture

    monkeypatch.setattr(amount, "used_bytes", lambda device: 0)
    settings, told, found = config(paint__size=SIZE, paint__levels=2, paint__log2_table_size=8), [], []
    corners = np.array([[-0.5, -0.5, 0], [0.5, -0.5, 0], [0, 0.5, 0]], np.float32)
    mesh, normals = Mesh(corners, np.array([[0, 1, 2]])), np.array([[0, 0, 1]] * 3, np.float32)
    for budget in (None, 1):
        nerf = TextureField(settings.texture, constant_color(), generator=generator())
        steps = distill_texture(
            nerf, mesh, normals, prior, text, settings, 2, generator=generator(), budget=budget, on_plan=told.append
        )
        if budget:
            with pytest.raises(InputError, match="too little for a step; the minimum is"):
                list(steps)
        else:
            assert len(list(steps)) == 2
        found.append(nerf)
    assert not told
