"""What lets the host run ahead of a GPU changes nothing that a step computes. Here on a CPU."""

from __future__ import annotations

import math

import pytest
import torch

from dreamfusion3d.cameras.orbit import orbit_cameras
from dreamfusion3d.core.async_scalar import AsyncScalar, DelayedScalar
from dreamfusion3d.rendering.occupancy_grid import OccupancyGrid
from dreamfusion3d.rendering.shading_budget import ShadedFraction, select_samples_to_shade
from dreamfusion3d.rendering.tiled import render_field_tiled
from dreamfusion3d.rendering.volume import RenderSettings, render_field_with_aux, sample_camera_rays_async
from dreamfusion3d.training import distillation as loop
from dreamfusion3d.training.prefetch import Prefetcher, RayBatch
from tests.training import test_distillation as small
from tests.training.test_distillation import Stumbling, begin, field, same

prior = small.prior
SETTINGS = RenderSettings(step_size=0.05)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(autouse=True)
def as_on_a_gpu(leading):
    leading()


def test_a_field_becomes_the_prop_all_the_same(prior):
    nerf = field()
    steps = list(begin(prior, nerf))
    assert [s.index for s in steps] == list(range(1, len(steps) + 1))
    assert small.silhouette_iou(nerf, prior) > 0.75


def test_a_resumed_run_takes_the_same_steps(prior, tmp_path, monkeypatch):
    """The next view is drawn before a checkpoint is written, which must not make it another one."""
    monkeypatch.setattr(loop, "KEEP_EVERY", 6)
    whole, part, resumed = field(), field(), field(seed=5)
    list(begin(prior, whole, steps=14))
    checkpoint = tmp_path / "checkpoint.safetensors"
    for step in begin(prior, part, steps=14, checkpoint=checkpoint):
        if step.index == 8:
            break
    steps = list(begin(prior, resumed, steps=14, seed=1, checkpoint=checkpoint))
    assert [s.index for s in steps] == list(range(7, 15)) and same(whole, resumed)


@pytest.mark.parametrize(
    ("bad", "indices", "said"),
    [
        (5, [1, 2, 3, 4, 5, 3, 4, 5, 6, 7, 8], 5),  # seen with the sixth
        (6, [1, 2, 3, 4, 5, 3, 4, 5, 6, 7, 8], 6),  # not kept: the step that is kept waits for its own
        (8, [1, 2, 3, 4, 5, 6, 7, 6, 7, 8], 8),  # nor does the last one pass unseen
    ],
)
def test_a_bad_step_is_not_taken_and_seen_a_step_late(prior, monkeypatch, bad, indices, said):
    monkeypatch.setattr(loop, "KEEP_EVERY", 3)
    nerf = field()
    steps = list(begin(Stumbling(prior, {bad}), nerf, steps=8))
    assert [s.index for s in steps] == indices
    (note,) = [s.note for s in steps if s.note]
    assert note.startswith(f"step {said} gave a gradient that is not finite")
    assert all(torch.isfinite(p).all() for p in nerf.parameters())


def test_a_bad_gradient_leaves_a_fused_optimiser_as_it_was():
    from dreamfusion3d.core.optimizers import step_if_finite

    weight = torch.nn.Parameter(torch.ones(3))
    adam = torch.optim.Adam([weight], fused=True)
    weight.grad = torch.tensor([1.0, 2.0, 2.0])
    assert step_if_finite(adam).read() == 3.0
    before, state = weight.detach().clone(), {k: v.clone() for k, v in adam.state[weight].items()}
    weight.grad = torch.tensor([1.0, math.nan, 0.0])
    assert math.isnan(step_if_finite(adam).read())
    assert torch.equal(weight, before)
    assert all(torch.equal(adam.state[weight][k], v) for k, v in state.items())


def test_rays_sent_early_are_the_rays():
    """Also if the grid has changed since."""
    nerf, occupancy = field(), OccupancyGrid(16)
    occupancy.update(nerf.density, generator=generator(), step=0)
    cameras = orbit_cameras([10.0, 130.0], 20.0, height=16, width=16)
    wanted, _ = render_field_with_aux(nerf, cameras, occupancy=occupancy, generator=generator(1), settings=SETTINGS)
    marched = sample_camera_rays_async(cameras, occupancy, SETTINGS, generator(1))
    occupancy.estimator.binaries.fill_(False)
    for tiled in (False, True):
        seen = {"occupancy": occupancy, "generator": generator(2), "settings": SETTINGS, "pending": marched}
        found = (
            render_field_tiled(nerf, cameras, tiles=3, **seen).render
            if tiled
            else render_field_with_aux(nerf, cameras, **seen)[0]
        )
        assert torch.allclose(found.rgb, wanted.rgb, atol=1e-6)


def test_a_guess_lights_the_heaviest():
    weight = torch.rand(400, generator=generator()).pow(6)
    exact = select_samples_to_shade(weight, 0.01, 200)
    share = ShadedFraction()
    first = select_samples_to_shade(weight, 0.01, 200, share)
    assert torch.equal(first, exact), "the first is no guess"
    assert share.pending is not None
    more = select_samples_to_shade(weight, 0.01, 400, share)
    assert set(exact.tolist()) < set(more.tolist()) and torch.equal(more, more.sort().values)
    assert weight[more].min() >= weight[[i for i in range(400) if i not in set(more.tolist())]].max()
    share = ShadedFraction(fraction=0.1)
    few = select_samples_to_shade(weight, 0.01, 400, share)
    assert len(few) == math.ceil(1.25 * 0.1 * 400) and share.latest() == (weight > 0.01).sum() / 400
    assert len(select_samples_to_shade(weight[:0], 0.01, 0, share)) == 0


def test_a_step_taken_again_makes_the_same_guess(prior, monkeypatch):
    """Where memory runs out, the second try must light what the first one lit."""
    plain, twice = field(), field()
    list(begin(prior, plain, steps=4))
    backward, failed = loop._backward, []

    def fails_once(run, *args):
        picture = backward(run, *args)
        if run.index == 2 and not failed:
            failed.append(run.index)
            raise MemoryError("planted")
        return picture

    monkeypatch.setattr(loop, "_backward", fails_once)
    steps = list(begin(prior, twice, steps=4))
    assert failed and "out of memory" in "".join(s.note or "" for s in steps)
    for a, b in zip(plain.parameters(), twice.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-4)


def test_views_are_drawn_once_and_in_turn():
    lead, drawn = Prefetcher(generator()), []

    def draw(eyes):
        drawn.append(float(torch.rand((), generator=eyes)))
        return RayBatch(orbit_cameras([360 * drawn[-1]], 0.0, height=4, width=4))

    taken = []
    for _ in range(3):
        taken.append(float(lead.take(draw).cameras.azimuth_deg))
        lead.prefetch(draw)
    assert len(drawn) == 4 and taken == pytest.approx([360 * d for d in drawn[:3]])
    state = lead.tensors()
    again = Prefetcher(generator(9))
    again.restore(state, keep_generator=False)
    assert float(again.take(draw).cameras.azimuth_deg) == pytest.approx(360 * drawn[3])


def test_numbers_trail_by_a_step():
    def number(value: float) -> AsyncScalar:
        return AsyncScalar(torch.tensor(value))

    late, prompt = DelayedScalar(delayed=True), DelayedScalar(delayed=False)
    assert [late.update(number(v)) for v in (1.0, 2.0, 3.0)] == [1.0, 1.0, 2.0]
    assert [prompt.update(number(v)) for v in (1.0, 2.0, 3.0)] == [1.0, 2.0, 3.0]
    assert late.update(number(4.0), sync=True) == 4.0 and late.age == 0
    assert late.update(number(math.nan)) == 4.0
    assert math.isnan(late.update(number(5.0), sync=True)) and late.age == 1
    late.reset()
    assert late.update(number(6.0)) == 6.0
    assert AsyncScalar(torch.tensor(7)).read() == 7 and isinstance(AsyncScalar(torch.tensor(7)).read(), int)
