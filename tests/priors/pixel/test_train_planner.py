"""A training step in little memory: the same gradient, in pieces and with blocks computed twice."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
import torch

from dreamfusion3d.core.errors import InputError
from dreamfusion3d.memory import budget as amount
from dreamfusion3d.memory.checkpoint_plan import (
    pareto_front,
    recompute_all_schedule,
    save_all_schedule,
    schedule_cost,
    sqrt_schedule,
)
from dreamfusion3d.memory.checkpointed import run_checkpointed
from dreamfusion3d.memory.oom_fallback import CostedPlan, FallbackChain, select_plans
from dreamfusion3d.memory.profiler import extrapolate_chain, measure_memory, profile_chain
from dreamfusion3d.priors.pixel import train as training
from dreamfusion3d.priors.pixel import train_blocks, train_planner
from dreamfusion3d.priors.pixel.losses import pixel_prior_losses, sample_step_randomness, scene_loss
from dreamfusion3d.priors.pixel.train import train_pixel_prior
from dreamfusion3d.priors.pixel.train_blocks import TrainStepContext, backward_in_chunks, train_step_blocks, unet_blocks
from dreamfusion3d.priors.pixel.unet import build_scheduler, install_view_attention
from dreamfusion3d.procedural.dataset import CaptionColors, TrainingBatch
from tests.support.tiny import CONFIG, tiny_batch, tiny_state

CPU = torch.device("cpu")
LEVELS = 1000


@pytest.fixture(autouse=True)
def float32(monkeypatch) -> None:
    """Sums of bfloat16 differ by more than their order: the law is that of float32."""
    for module in (train_blocks, "dreamfusion3d.priors.pixel.losses"):
        name = module if isinstance(module, str) else module.__name__
        monkeypatch.setattr(f"{name}.autocast", lambda device: contextlib.nullcontext())


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(props: int = 3, views: int = 2) -> TrainingBatch:
    """With all that a batch may know."""
    plain = tiny_batch(props, views)
    lot = generator(1)
    lights = torch.rand(props, views, 5, 16, 16, generator=lot)
    return replace(
        plain,
        shading=lights,
        peer_shading=[lights[i : i + 1].repeat(2, 1, 1, 1, 1) for i in range(props)],
        peers=[torch.stack([p, -p]) for p in plain.images],
        occupancy=torch.rand(props, 32, 32, 32, generator=lot),
        caption_colors=CaptionColors(plain.tokens[:2], torch.rand(2, 5, 3, generator=lot)),
    )


def lesson(state, alone: bool = False, joint: bool = True) -> TrainStepContext:
    attention = install_view_attention(state.model.unet)
    levels = build_scheduler().alphas_cumprod
    return TrainStepContext(state.model, 0.5, None if alone else attention, levels, None, joint)


def gradients(state) -> torch.Tensor:
    found = [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in state.model.parameters()]
    state.optimiser.zero_grad(set_to_none=True)
    return torch.cat(found)


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_pieces_add_to_the_same_gradient(alone, count):
    state, shown, told = tiny_state(), batch(), None
    told = lesson(state, alone)
    if alone:
        loss = scene_loss(state.model, shown, 0.3, generator=generator())
    else:
        both = pixel_prior_losses(state.model, told.attention, told.alpha_bar, shown, 0.3, generator=generator())
        loss = both.image + both.shading + 0.5 * both.scene
    loss.backward()
    wanted = gradients(state)
    drawn = sample_step_randomness(shown, 0.3, 0 if alone else LEVELS, generator=generator(), device=CPU)
    schedules: list = [None]
    n = len(train_step_blocks(told, shown, drawn))
    schedules += [way(n) for way in (recompute_all_schedule, sqrt_schedule)]
    schedules.append((tuple((i,) for i in range(n - 1)), n - 1))  # one within another
    kept = None
    for schedule in schedules:
        value = backward_in_chunks(told, shown, drawn, count, schedule)
        assert value == pytest.approx(float(loss.detach()), rel=1e-5)
        found = gradients(state)
        kept = found if kept is None else kept
        assert (found - kept).norm() <= 1e-6 * kept.norm(), (count, schedule)
        # a bias that every cell of the volume adds to is the worst: 2e-6 by the order of its sum
        assert (found - wanted).norm() <= 4e-6 * wanted.norm(), (count, schedule)


def test_the_blocks_of_the_network_are_the_network():
    state = tiny_state()
    unet = state.model.unet
    x = torch.randn(2, unet.config.in_channels, 4, 4, generator=generator())
    condition = torch.randn(2, unet.time_embedding.linear_2.out_features, generator=generator())
    timestep = torch.tensor([3, 700])
    install_view_attention(unet)
    wanted = unet(x, timestep, class_labels=condition).sample
    blocks = unet_blocks(unet, timestep)
    found = run_checkpointed(blocks, save_all_schedule(len(blocks)), {"h": x, "condition": condition})
    assert torch.equal(found["h"], wanted) and set(found) == {"h"}, "all that crossed has ended"


def test_predicted_peaks_are_the_measured_ones():
    """Of schedules for a step of four props, from steps of one and two."""
    state = tiny_state()
    told, parameters = lesson(state), list(state.model.parameters())

    def blocks(props: int):
        shown = replace(batch(props, 2), caption_colors=None)
        drawn = sample_step_randomness(shown, 0.1, LEVELS, generator=generator(), device=CPU)
        return train_step_blocks(told, shown, drawn)

    chain = extrapolate_chain(*(profile_chain(blocks(n), {}, CPU, parameters) for n in (1, 2)), (1, 2), 4)
    assert len(chain) > 10 and any(e.last_consumer - e.producer > 3 for e in chain.edges), "skip connections cross it"
    points, whole = pareto_front(chain), blocks(4)
    known = [
        schedule_cost(chain, way(len(chain))) for way in (save_all_schedule, recompute_all_schedule, sqrt_schedule)
    ]
    for point in known:
        assert [p for p in points if p.peak <= point.peak][-1].seconds <= point.seconds + 1e-9
    for point in (points[0], points[len(points) // 2], points[-1]):
        for p in parameters:
            p.grad = torch.zeros_like(p)
        with measure_memory(CPU, [*parameters, *(p.grad for p in parameters)]) as meter:
            start = meter.live_bytes()
            meter.reset()
            run_checkpointed(whole, point.schedule, {})["loss"].backward()
            peak = meter.peak_bytes() - start
        # the least is dominated by one block, whose parts end sooner than the model says
        least = point is points[0]
        assert -0.15 * least - 0.1 * (not least) < peak / point.peak - 1 < 0.05, (peak, point)


def run(state, steps=3, budget=None, told=None, **options):
    return list(
        train_pixel_prior(
            state,
            lambda n, v, g: batch(n, v),
            steps=steps,
            generator=generator(),
            memory_budget=budget,
            on_plan=(told if told is not None else {}).update,
            **options,
        )
    )


def weights(state) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in state.model.parameters()])


MIXED = replace(CONFIG, scene_step_fraction=0.5, images_per_step=6, learning_rate=1e-4, scene_learning_rate=1e-4)


def test_a_budget_changes_the_way_and_not_the_result(monkeypatch, quick_plans):
    plain, thrifty, told = tiny_state(config=MIXED), tiny_state(config=MIXED), {}
    monkeypatch.setattr(amount, "used_bytes", lambda device: 0)
    with pytest.raises(InputError, match="the least that would do is ") as refused:
        run(tiny_state(config=MIXED), budget=1 << 20)
    least = amount.parse_bytes(str(refused.value).rsplit("is ", 1)[1])
    run(plain)
    steps = run(thrifty, budget=int(1.02 * least), told=told)
    assert len(steps) == 3 and all(s.note is None for s in steps)
    assert any("at a time" in told[kind]["plan"] or "twice" in told[kind]["plan"] for kind in told)
    assert max(told[kind]["predicted_peak_bytes"] for kind in told) <= 1.02 * least
    assert (weights(plain) - weights(thrifty)).abs().max() < 2e-5  # Adam's root enlarges rounding
    told.clear()
    roomy = tiny_state(config=MIXED)
    run(roomy, budget=1 << 36, told=told)
    assert "all 3 props at once" in told["pictures"]["plan"]
    assert torch.equal(weights(roomy), weights(plain)), "with enough memory nothing is done otherwise"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.cuda.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"),
    ],
)
def test_out_of_memory_goes_on_in_smaller_pieces(monkeypatch, error):
    """The planted error strikes after a part of the gradient is there already."""
    undisturbed, state = tiny_state(config=MIXED), tiny_state(config=MIXED)
    wanted = run(undisturbed)
    left, true_errors = [2], train_blocks.losses_from_prediction

    def failing(*args, **kwargs):
        if left[0] > 0:
            left[0] -= 1
            raise error
        return true_errors(*args, **kwargs)

    monkeypatch.setattr(train_blocks, "losses_from_prediction", failing)
    monkeypatch.setattr("dreamfusion3d.priors.pixel.losses.losses_from_prediction", failing)
    steps = run(state)
    assert [s.index for s in steps] == [1, 2, 3] and left == [0]
    for a, b in zip(steps, wanted, strict=True):
        assert a.alone == b.alone and a.loss == pytest.approx(b.loss, rel=1e-4)
    notes = [s.note for s in steps if s.note]
    assert len(notes) == 1 and notes[0].count("out of memory; going on with less") == 2
    assert "1 of 3 props at a time" in notes[0] and "\n" not in notes[0]
    assert (weights(state) - weights(undisturbed)).abs().max() < 2e-5


def test_an_error_of_another_kind_is_not_hidden(monkeypatch):
    def wrong(*args, **kwargs):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(training, "pixel_prior_losses", wrong)
    with pytest.raises(RuntimeError, match="shapes differ"):
        run(tiny_state())


def test_no_way_left_is_one_line():
    ladder = FallbackChain([CostedPlan("a", "much"), CostedPlan("b", "little")], CPU)
    undone = []

    def run_out(choice):
        raise MemoryError("no room")

    with pytest.raises(InputError, match="no way of taking a step needs less than 'little'"):
        ladder.run(run_out, lambda: undone.append(1))
    assert len(undone) == 2


def test_plans_within_a_budget_are_the_fastest_first():
    plans = [
        CostedPlan(i, str(i), peak, seconds)
        for i, (peak, seconds) in enumerate([(2 << 20, 9.0), (3 << 20, 5.0), (4 << 20, 6.0), (8 << 20, 1.0)])
    ]
    assert [p.plan for p in select_plans(plans, 8 << 20, "it")] == [3, 1, 0]
    assert [p.plan for p in select_plans(plans, 5 << 20, "it")] == [1, 0]
    with pytest.raises(InputError, match="too little for it: the least that would do is 3 MB"):
        select_plans(plans, 1 << 20, "it")


def test_props_are_halved_to_single_ones():
    assert [train_planner._chunk_counts(n) for n in (1, 4, 6)] == [[1], [1, 2, 4], [1, 2, 4, 6]]
