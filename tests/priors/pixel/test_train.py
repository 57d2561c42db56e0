"""Training of a pixel prior: it learns, resumes, and writes a loadable folder."""

from __future__ import annotations

import json
from dataclasses import replace

import imageio.v3 as iio
import numpy as np
import pytest
import torch

from dreamfusion3d.priors.loading import load_prior
from dreamfusion3d.priors.pixel.conditioner import procedural_vocabulary
from dreamfusion3d.priors.pixel.loss_plot import plot_training_log
from dreamfusion3d.priors.pixel.losses import denoising_targets, sample_step_randomness, sample_timesteps
from dreamfusion3d.priors.pixel.scene_volume import OCCUPANCY_RESOLUTION, PALETTE_SIZE, voxel_opacity
from dreamfusion3d.priors.pixel.train import (
    load_checkpoint,
    save_checkpoint,
    save_pixel_prior,
    train_pixel_prior,
    validation_loss,
)
from dreamfusion3d.priors.pixel.train_blocks import TrainStepContext, step_losses
from dreamfusion3d.priors.pixel.train_state import new_train_state, train_state_from_folder
from dreamfusion3d.priors.pixel.unet import build_scheduler, install_view_attention
from dreamfusion3d.procedural.dataset import CaptionColors, render_dataset
from tests.support.tiny import CONFIG, tiny_batch, tiny_state

CPU = torch.device("cpu")


def make_batch(num_objects, views, generator):
    return tiny_batch(num_objects, views)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def step_context(state, scene_only=False) -> TrainStepContext:
    attention = install_view_attention(state.model.unet)
    return TrainStepContext(state.model, 0.5, build_scheduler().alphas_cumprod, None if scene_only else attention)


@torch.no_grad()
def image_loss(state) -> float:
    """The loss at fixed noise and times."""
    context = step_context(state)
    draws = [context.sample_randomness(tiny_batch(), 0.0, generator(s)) for s in range(4)]
    return float(torch.stack([step_losses(context, tiny_batch(), randomness).image for randomness in draws]).mean())


def train(state, count, seed=0):
    return list(train_pixel_prior(state, make_batch, steps=count, generator=generator(seed)))


def test_train_pixel_prior_reduces_the_loss():
    state = tiny_state()
    before = image_loss(state)
    taken = train(state, 15)
    assert image_loss(state) < 0.75 * before
    assert [s.index for s in taken] == list(range(1, 16)) and taken[-1].images_seen == 15 * CONFIG.images_per_step
    assert all(s.loss > 0 and s.gradient_norm > 0 for s in taken)
    # the average follows the weights but differs from them
    pairs = list(zip(state.ema_model.parameters(), state.model.parameters(), strict=True))
    assert all(not a.requires_grad for a, _ in pairs)
    distance = sum((a - b).square().sum() for a, b in pairs)
    start = sum(
        (a - b).square().sum() for a, b in zip(tiny_state().model.parameters(), state.model.parameters(), strict=True)
    )
    assert 0 < distance < start


def test_load_checkpoint_takes_the_same_next_step(tmp_path):
    state = tiny_state()
    train(state, 2)
    save_checkpoint(state, tmp_path / "checkpoint.safetensors")
    (expected,) = train(state, 1, seed=7)
    other = tiny_state(seed=5)
    assert load_checkpoint(other, tmp_path / "checkpoint.safetensors")
    assert (other.step, other.images_seen) == (2, 2 * CONFIG.images_per_step)
    (taken,) = train(other, 1, seed=7)
    assert taken == expected
    for name in ("model", "ema_model"):
        mine, theirs = getattr(state, name).state_dict(), getattr(other, name).state_dict()
        assert all(torch.equal(mine[k], theirs[k]) for k in mine)


def test_load_checkpoint_of_a_missing_or_damaged_file(tmp_path):
    state = tiny_state()
    before = {k: v.clone() for k, v in state.model.state_dict().items()}
    path = tmp_path / "checkpoint.safetensors"
    assert not load_checkpoint(state, path)
    for damage in (b"", b"not safetensors at all"):
        path.write_bytes(damage)
        assert not load_checkpoint(state, path)
    save_checkpoint(state, path)
    path.write_bytes(path.read_bytes()[:-1000])
    assert not load_checkpoint(state, path)
    assert state.step == 0 and all(torch.equal(v, before[k]) for k, v in state.model.state_dict().items())


def test_train_pixel_prior_skips_non_finite_batches():
    state = tiny_state()
    before = [p.clone() for p in state.model.parameters()]
    bad = tiny_batch()
    bad.images[0, 0, 0, 0, 0] = float("nan")
    (step,) = train_pixel_prior(state, lambda *_: bad, steps=1, generator=generator())
    assert step.index == 0 and step.loss != step.loss
    assert all(torch.equal(a, b) for a, b in zip(before, state.model.parameters(), strict=True))


def test_new_train_state_is_seeded_and_keeps_the_global_generator():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, again, other = (tiny_state(s).model.unet.conv_in.weight for s in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    train(tiny_state(), 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_save_pixel_prior_writes_averaged_half_precision_weights(tmp_path):
    state = tiny_state()
    train(state, 2)
    save_pixel_prior(state, tmp_path / "prior", seconds=3)
    record = json.loads((tmp_path / "prior" / "training.json").read_text())
    assert record["pictures"] == 8 and record["seconds"] == 3 and record["config"]["widths"] == [32, 64]
    again = train_state_from_folder(tmp_path / "prior", CONFIG, [], device=CPU)
    assert again.images_seen == 8
    for a, b in zip(state.ema_model.parameters(), again.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=2e-3, atol=1e-6)
    assert load_prior(str(tmp_path / "prior")).name == "prior"
    save_pixel_prior(again, tmp_path / "further")
    texts = [p.read_text() for p in (tmp_path / "further").rglob("*.json")]
    assert texts and not any(str(tmp_path) in text for text in texts), "no local paths"


def test_sample_step_randomness_shares_the_time_between_views():
    """Otherwise a clean view would reveal what the noisy one beside it shows."""
    randomness = sample_step_randomness(tiny_batch(4, 2), 0.5, 1000, generator=generator(), device=CPU)
    assert randomness.timestep.shape == (8,)
    by_object = randomness.timestep.view(4, 2)
    assert (by_object == by_object[:, :1]).all() and len(by_object.unique()) > 1


@pytest.mark.parametrize("joint", [True, False])
def test_step_losses_attend_across_views_if_joint(joint):
    context = replace(step_context(tiny_state()), joint=joint)
    step_losses(context, tiny_batch(4, 2), context.sample_randomness(tiny_batch(4, 2), 0.5, generator()))
    assert context.attention.views == (2 if joint else 1)


def test_denoising_targets_are_the_posterior_mean_over_peers():
    """Compare with a loop over the peers, and with the limits of high and low noise."""
    peers = torch.stack([tiny_batch(1, 2, seed).images[0] for seed in (1, 2, 3)])
    shading = torch.rand(3, 2, PALETTE_SIZE, *peers.shape[-2:], generator=generator(1))
    batch = replace(tiny_batch(1, 2), images=peers[:1], peers=[peers], shading=shading[:1], peer_shading=[shading])
    noise = torch.randn(peers[0].shape, generator=generator())
    x0 = batch.images[0]
    for noise_level, expected in ((1.0, peers.mean(0)), (0.999, None), (0.9, x0)):
        sigma = torch.full((2, 1, 1, 1), noise_level)
        alpha = (1 - sigma**2).sqrt()
        mean, mean_shading = denoising_targets(batch, x0, noise, alpha, sigma)
        x_t = alpha * x0 + sigma * noise
        expected_shading = shading[0] if noise_level == 0.9 else shading.mean(0)
        if expected is None:
            log = torch.stack([-((x_t - alpha * p) ** 2).sum() / (2 * noise_level**2) for p in peers])
            posterior = (log - log.max()).exp() / (log - log.max()).exp().sum()
            expected = sum(c * p for c, p in zip(posterior, peers, strict=True))
            expected_shading = sum(c * p for c, p in zip(posterior, shading, strict=True))
            assert posterior.max() < 0.99
        torch.testing.assert_close(mean, expected, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(mean_shading, expected_shading, atol=1e-5, rtol=1e-4)
    alone = replace(batch, peers=[], shading=None, peer_shading=[])
    mean, mean_shading = denoising_targets(alone, x0, noise, alpha, sigma)
    assert torch.equal(mean, x0) and mean_shading is None


def test_palette_loss_learns_colors_from_captions():
    """A color of one category transfers to another category that was never seen in it."""
    captions = [[f"kind:{category}", f"colour:{color}"] for category in "ab" for color in ("red", "blue")]
    rgb = {"red": (0.8, 0.1, 0.1), "blue": (0.1, 0.2, 0.8)}
    state = new_train_state([t for tokens in captions for t in tokens], CONFIG, seed=0, device=CPU)
    colors = torch.tensor([[rgb[tokens[1].split(":")[1]]] * PALETTE_SIZE for tokens in captions])

    def batch(num_objects, views, generator):
        return replace(tiny_batch(num_objects, views), caption_colors=CaptionColors(captions[:3], colors[:3]))

    for _ in train_pixel_prior(state, batch, steps=60, generator=generator()):
        pass
    conditioner = state.model.conditioner
    with torch.no_grad():
        found = state.model.scene.colors(conditioner.embed([conditioner.token_ids(tokens) for tokens in captions]))
    assert (found[:3] - colors[:3]).abs().max() < 0.1
    unseen, red, blue = found[3], colors[0], colors[1]
    assert (unseen - blue).norm() < 0.5 * (unseen - red).norm()


def test_scene_loss_with_occupancy_hollows_the_scene():
    """Images of an opaque block are the same whether it is solid or a shell: the voxels decide."""
    occupancy = torch.zeros(1, OCCUPANCY_RESOLUTION, OCCUPANCY_RESOLUTION, OCCUPANCY_RESOLUTION)
    occupancy[:, 8:24, 8:24, 8:24] = 1.0
    occupancy[:, 11:21, 11:21, 11:21] = 0.0
    state = tiny_state(config=replace(CONFIG, scene_steps=100))

    def batch(num_objects, views, generator):
        return replace(tiny_batch(1, views), occupancy=occupancy)

    for _ in train_pixel_prior(state, batch, steps=80, generator=generator()):
        pass
    conditioner = state.model.conditioner
    rows = conditioner.shape_token_ids(tiny_batch(1, 2).tokens[0])
    with torch.no_grad():
        found = voxel_opacity(state.model.scene(conditioner.embed([rows])))[0]
    assert found[occupancy[0] == 1].mean() > found[12:20, 12:20, 12:20].mean() + 0.3


def test_train_pixel_prior_trains_only_the_scene_at_first():
    config = replace(CONFIG, scene_steps=12)
    state = tiny_state(config=config)
    unet = [p.clone() for p in state.model.unet.parameters()]

    def error():
        with torch.no_grad():
            context, batch = step_context(state, scene_only=True), tiny_batch(2, 3)
            return float(step_losses(context, batch, context.sample_randomness(batch, 0.0, generator())).scene)

    before = error()
    taken = train(state, 12)
    assert error() < 0.7 * before
    assert taken[-1].images_seen == 12 * config.scene_images_per_step
    assert all(torch.equal(a, b) for a, b in zip(unet, state.model.unet.parameters(), strict=True))
    (then,) = train(state, 1)
    assert then.images_seen == 12 * config.scene_images_per_step + config.images_per_step
    assert not all(torch.equal(a, b) for a, b in zip(unet, state.model.unet.parameters(), strict=True))


def test_train_pixel_prior_compiles_the_trained_network(monkeypatch):
    calls = []

    def compiler(network):
        def compiled(*arguments, **named):
            calls.append(network)
            return network(*arguments, **named)

        return compiled

    monkeypatch.setattr(torch, "compile", compiler)
    plain, compiled = tiny_state(), tiny_state()
    losses_of = [
        [s.loss for s in train_pixel_prior(state, make_batch, steps=2, generator=generator(), compile_unet=wanted)]
        for state, wanted in ((plain, False), (compiled, True))
    ]
    assert losses_of[0] == losses_of[1]
    assert len(calls) == 2 and all(network is compiled.model.unet for network in calls)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_train_pixel_prior_on_a_gpu():
    """Rendered and trained on the GPU with a compiled network, the loss falls as on the CPU."""
    *_, (_, data) = render_dataset(4, 4, categories=["mug"], generator=generator(), device="cuda")
    assert data is not None and not data.layers.is_cuda
    data = data.to("cuda")
    state = new_train_state(procedural_vocabulary(), CONFIG, seed=0, device=torch.device("cuda"))
    taken = list(
        train_pixel_prior(
            state, lambda n, v, g: data.batch(n, v, generator=g), steps=40, generator=generator(), compile_unet=True
        )
    )
    first, last = (sum(s.loss for s in part) for part in (taken[:8], taken[-8:]))
    assert last < 0.8 * first


@pytest.mark.parametrize(
    ("num_images", "step", "expected"), [(6, 0, 1), (60, 0, 10), (64, 0, 11), (8, 10, 2), (-5, 3, 0), (16, 8, 3)]
)
def test_steps_for_a_number_of_images(num_images, step, expected):
    state = tiny_state(config=replace(CONFIG, scene_steps=10))
    state.step = step
    assert state.steps_for(num_images) == expected


def test_sample_timesteps_favors_high_noise():
    times = sample_timesteps(20_000, 1000, generator()).float() / 1000
    assert times.min() >= 0 and times.max() < 1
    assert float((times >= 0.8).float().mean()) == pytest.approx(0.6, abs=0.02)
    assert float((times >= 0.97).float().mean()) == pytest.approx(0.26, abs=0.02)


def test_ray_map_differs_between_views():
    """The central ray meets the origin, and opposite views have opposite directions."""
    from dreamfusion3d.cameras.orbit import orbit_cameras
    from dreamfusion3d.priors.pixel.unet import ray_map

    rays = ray_map(orbit_cameras([0.0, 180.0], 0.0, height=64, width=64), 33, 33)
    assert rays.shape == (2, 8, 33, 33)
    torch.testing.assert_close(rays[:, 5:, 16, 16], torch.zeros(2, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(rays[0, 2:5, 16, 16], -rays[1, 2:5, 16, 16], atol=1e-5, rtol=0)


def test_validation_loss_uses_fixed_noise():
    state = tiny_state()
    batches = [tiny_batch(seed=s) for s in range(2)]
    first = validation_loss(state.ema_model, batches, CONFIG)
    assert first == validation_loss(state.ema_model, batches, CONFIG) > 0
    assert first != validation_loss(state.ema_model, batches, CONFIG, seed=1)
    assert not any(p.grad is not None for p in state.ema_model.parameters())


def test_plot_training_log(tmp_path):
    log = tmp_path / "log.jsonl"
    lines = [
        {"pictures": 24 * i, "loss": 0.5 / i} | ({"validation": 0.6 / i} if i % 3 == 0 else {}) for i in range(1, 20)
    ]
    log.write_text("\n".join(json.dumps(line) for line in lines) + '\n{"pictures": 5')
    plot_training_log(log, tmp_path / "log.png")
    plot = iio.imread(tmp_path / "log.png")
    for color in ((31, 119, 180), (214, 93, 14)):
        pixels = np.argwhere((plot == color).all(-1))
        rows = pixels[pixels[:, 0] > 40]
        left, right = rows[rows[:, 1] < 300][:, 0].mean(), rows[rows[:, 1] > 600][:, 0].mean()
        assert left < right, "a falling loss goes down"
    (tmp_path / "empty.jsonl").write_text("")
    plot_training_log(tmp_path / "empty.jsonl", tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
