"""Training steps in little memory: the same gradient in chunks and with recomputed blocks."""

from __future__ import annotations

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
from dreamfusion3d.priors.pixel import train_blocks, train_planner, unet
from dreamfusion3d.priors.pixel.losses import (
    NoisyImages,
    StepRandomness,
    losses_from_prediction,
    scene_loss as compute_scene_loss,
)
from dreamfusion3d.priors.pixel.train import train_pixel_prior
from dreamfusion3d.priors.pixel.train_blocks import (
    TrainStepContext,
    backward_in_chunks,
    step_losses,
    train_step_blocks,
    unet_blocks,
)
from dreamfusion3d.priors.pixel.unet import (
    build_scheduler,
    install_view_attention,
    predict_image,
    render_scene_condition,
)
from dreamfusion3d.procedural.dataset import CaptionColors, TrainingBatch, batch_cameras
from tests.support.tiny import CONFIG, tiny_batch, tiny_state

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def float32(monkeypatch) -> None:
    """Compare gradients in float32; in bfloat16 they depend on the order of sums."""
    monkeypatch.setattr(unet, "_cpu_supports_bfloat16", lambda: False)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def full_batch(num_objects: int = 3, views: int = 2) -> TrainingBatch:
    """A batch with every optional part."""
    plain = tiny_batch(num_objects, views)
    g = generator(1)
    shading = torch.rand(num_objects, views, 5, 16, 16, generator=g)
    return replace(
        plain,
        shading=shading,
        peer_shading=[shading[i : i + 1].repeat(2, 1, 1, 1, 1) for i in range(num_objects)],
        peers=[torch.stack([p, -p]) for p in plain.images],
        occupancy=torch.rand(num_objects, 32, 32, 32, generator=g),
        caption_colors=CaptionColors(plain.tokens[:2], torch.rand(2, 5, 3, generator=g)),
    )


def step_context(state, scene_only: bool = False) -> TrainStepContext:
    attention = install_view_attention(state.model.unet)
    alpha_bar = build_scheduler().alphas_cumprod
    return TrainStepContext(state.model, 0.5, alpha_bar, None if scene_only else attention)


def reference_loss(context: TrainStepContext, batch: TrainingBatch, randomness: StepRandomness) -> torch.Tensor:
    """The loss of a step without blocks."""
    model, cameras, size = context.model, batch_cameras(batch), batch.images.shape[-2:]
    text, volumes, colors = model.predict_scene(batch, randomness.prompt_dropped)
    scene_images = render_scene_condition(volumes, cameras, *size, jitter=randomness.jitter)
    if context.attention is None:
        return compute_scene_loss(model, volumes, scene_images, colors, batch)
    noisy = NoisyImages.from_batch(batch, randomness, context.alpha_bar)
    condition = model.conditioner(text, batch.azimuth_deg.flatten(), batch.elevation_deg.flatten())
    views = batch.images.shape[1] if context.joint else 1
    predicted = predict_image(
        model.unet, context.attention, noisy.x_t, noisy.timestep, scene_images, colors, condition, cameras, views=views
    )
    losses = losses_from_prediction(model, batch, randomness, noisy, predicted, volumes, scene_images, colors)
    return losses.image + losses.shading + 0.5 * losses.scene


def take_gradients(state) -> torch.Tensor:
    found = [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in state.model.parameters()]
    state.optimizer.zero_grad(set_to_none=True)
    return torch.cat(found)


@pytest.mark.parametrize("scene_only", [False, True])
@pytest.mark.parametrize("joint", [False, True])
def test_step_losses_are_those_without_blocks(scene_only, joint):
    state, example = tiny_state(), full_batch()
    context = replace(step_context(state, scene_only), joint=joint)
    randomness = context.sample_randomness(example, 0.3, generator())
    expected = reference_loss(context, example, randomness)
    expected.backward()
    expected_gradients = take_gradients(state)
    loss = step_losses(context, example, randomness).total(0.5)
    loss.backward()
    assert torch.equal(loss, expected) and torch.equal(take_gradients(state), expected_gradients)


@pytest.mark.parametrize("scene_only", [False, True])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_backward_in_chunks_gives_the_same_gradient(scene_only, count):
    state, example = tiny_state(), full_batch()
    context = step_context(state, scene_only)
    randomness = context.sample_randomness(example, 0.3, generator())
    loss = reference_loss(context, example, randomness)
    loss.backward()
    expected = take_gradients(state)
    schedules: list = [None]
    n = len(train_step_blocks(context, example, randomness))
    schedules += [make_schedule(n) for make_schedule in (recompute_all_schedule, sqrt_schedule)]
    schedules.append((tuple((i,) for i in range(n - 1)), n - 1))  # nested
    first = None
    for schedule in schedules:
        value = backward_in_chunks(context, example, randomness, count, schedule)
        assert value == pytest.approx(float(loss.detach()), rel=1e-5)
        found = take_gradients(state)
        first = found if first is None else first
        assert (found - first).norm() <= 1e-6 * first.norm(), (count, schedule)
        # a bias that all voxels contribute to is the worst: 2e-6 by the order of its sum
        assert (found - expected).norm() <= 4e-6 * expected.norm(), (count, schedule)


def test_unet_blocks_are_the_network():
    state = tiny_state()
    network = state.model.unet
    x = torch.randn(2, network.config.in_channels, 4, 4, generator=generator())
    condition = torch.randn(2, network.time_embedding.linear_2.out_features, generator=generator())
    timestep = torch.tensor([3, 700])
    install_view_attention(network)
    expected = network(x, timestep, class_labels=condition).sample
    blocks = unet_blocks(network, timestep)
    found = run_checkpointed(blocks, save_all_schedule(len(blocks)), {"h": x, "condition": condition})
    assert torch.equal(found["h"], expected) and set(found) == {"h"}, "every skip connection is consumed"


def test_extrapolate_chain_predicts_measured_peaks():
    """Peaks of a step of four objects, from steps of one and two."""
    state = tiny_state()
    context, parameters = step_context(state), list(state.model.parameters())

    def blocks(num_objects: int):
        example = replace(full_batch(num_objects, 2), caption_colors=None)
        return train_step_blocks(context, example, context.sample_randomness(example, 0.1, generator()))

    chain = extrapolate_chain(*(profile_chain(blocks(n), {}, CPU, parameters) for n in (1, 2)), (1, 2), 4)
    assert len(chain) > 10 and any(e.last_consumer - e.producer > 3 for e in chain.edges), "skip connections cross it"
    points, whole = pareto_front(chain), blocks(4)
    for make_schedule in (save_all_schedule, recompute_all_schedule, sqrt_schedule):
        point = schedule_cost(chain, make_schedule(len(chain)))
        assert [p for p in points if p.peak <= point.peak][-1].seconds <= point.seconds + 1e-9
    for point in (points[0], points[len(points) // 2], points[-1]):
        for p in parameters:
            p.grad = torch.zeros_like(p)
        with measure_memory(CPU, [*parameters, *(p.grad for p in parameters)]) as meter:
            start = meter.live_bytes()
            meter.reset()
            run_checkpointed(whole, point.schedule, {})["loss"].backward()
            peak = meter.peak_bytes() - start
        # the smallest peak is that of a single block, which frees its tensors earlier than the model assumes
        least = point is points[0]
        assert -0.15 * least - 0.1 * (not least) < peak / point.peak - 1 < 0.05, (peak, point)


def train(state, steps=3, budget=None, plans=None):
    return list(
        train_pixel_prior(
            state,
            lambda n, v, g: full_batch(n, v),
            steps=steps,
            generator=generator(),
            memory_budget=budget,
            on_plan=(plans if plans is not None else {}).update,
        )
    )


def weights(state) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in state.model.parameters()])


MIXED = replace(CONFIG, scene_step_fraction=0.5, images_per_step=6, learning_rate=1e-4, scene_learning_rate=1e-4)


def test_train_pixel_prior_with_a_budget_gives_the_same_weights(monkeypatch, quick_plans):
    plain, limited, plans = tiny_state(config=MIXED), tiny_state(config=MIXED), {}
    monkeypatch.setattr(amount, "used_bytes", lambda device: 0)
    with pytest.raises(InputError, match="the minimum is ") as refused:
        train(tiny_state(config=MIXED), budget=1 << 20)
    least = amount.parse_bytes(str(refused.value).rsplit("is ", 1)[1])
    train(plain)
    steps = train(limited, budget=int(1.02 * least), plans=plans)
    assert len(steps) == 3 and all(s.warning is None for s in steps)
    assert any("at a time" in plan["plan"] or "recomputed" in plan["plan"] for plan in plans.values())
    assert max(plan["predicted_peak_bytes"] for plan in plans.values()) <= 1.02 * least
    assert (weights(plain) - weights(limited)).abs().max() < 2e-5  # Adam's root enlarges rounding
    plans.clear()
    roomy = tiny_state(config=MIXED)
    train(roomy, budget=1 << 36, plans=plans)
    assert "all 3 objects at once" in plans["pictures"]["plan"]
    assert torch.equal(weights(roomy), weights(plain)), "with enough memory the step is the usual one"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.cuda.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"),
    ],
)
def test_train_pixel_prior_out_of_memory_continues_in_smaller_chunks(monkeypatch, error):
    """The error comes after part of the gradient has been accumulated."""
    undisturbed, state = tiny_state(config=MIXED), tiny_state(config=MIXED)
    expected = train(undisturbed)
    left, original = [2], train_blocks.losses_from_prediction

    def failing(*args, **kwargs):
        if left[0] > 0:
            left[0] -= 1
            raise error
        return original(*args, **kwargs)

    monkeypatch.setattr(train_blocks, "losses_from_prediction", failing)
    steps = train(state)
    assert [s.index for s in steps] == [1, 2, 3] and left == [0]
    for a, b in zip(steps, expected, strict=True):
        assert a.scene_only == b.scene_only and a.loss == pytest.approx(b.loss, rel=1e-4)
    warnings = [s.warning for s in steps if s.warning]
    assert len(warnings) == 1 and warnings[0].count("out of memory; continuing with") == 2
    assert "1 of 3 objects at a time" in warnings[0] and "\n" not in warnings[0]
    assert (weights(state) - weights(undisturbed)).abs().max() < 2e-5


def test_train_pixel_prior_raises_other_errors(monkeypatch):
    def wrong(*args, **kwargs):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(train_blocks, "losses_from_prediction", wrong)
    with pytest.raises(RuntimeError, match="shapes differ"):
        train(tiny_state())


def test_fallback_chain_without_a_plan_left():
    chain = FallbackChain([CostedPlan("a", "much"), CostedPlan("b", "little")], CPU)
    undone = []

    def run_out(plan):
        raise MemoryError("no room")

    with pytest.raises(InputError, match="even in the smallest configuration .'little'"):
        chain.run(run_out, lambda: undone.append(1))
    assert len(undone) == 2


def test_select_plans_orders_by_time_within_the_budget():
    plans = [
        CostedPlan(i, str(i), peak, seconds)
        for i, (peak, seconds) in enumerate([(2 << 20, 9.0), (3 << 20, 5.0), (4 << 20, 6.0), (8 << 20, 1.0)])
    ]
    assert [p.plan for p in select_plans(plans, 8 << 20, "it")] == [3, 1, 0]
    assert [p.plan for p in select_plans(plans, 5 << 20, "it")] == [1, 0]
    with pytest.raises(InputError, match="too little for it; the minimum is 3 MB"):
        select_plans(plans, 1 << 20, "it")


def test_chunk_counts_double_to_single_objects():
    assert [train_planner._chunk_counts(n) for n in (1, 4, 6)] == [[1], [1, 2, 4], [1, 2, 4, 6]]
