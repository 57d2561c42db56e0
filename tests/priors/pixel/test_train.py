"""Training: it learns, it is taken up where it was, and what it leaves can be loaded."""

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
from dreamfusion3d.priors.pixel.losses import denoising_targets, pixel_prior_losses, sample_timesteps, scene_loss
from dreamfusion3d.priors.pixel.scene_volume import OCCUPANCY_RESOLUTION, PALETTE_SIZE, voxel_opacity
from dreamfusion3d.priors.pixel.train import (
    load_checkpoint,
    save_checkpoint,
    save_pixel_prior,
    train_pixel_prior,
    validation_loss,
)
from dreamfusion3d.priors.pixel.train_state import new_train_state, train_state_from_folder
from dreamfusion3d.priors.pixel.unet import ImagePrediction, build_scheduler, install_view_attention
from dreamfusion3d.procedural.dataset import CaptionColors, render_dataset
from tests.support.tiny import CONFIG, tiny_batch, tiny_state

CPU = torch.device("cpu")


def batch_of(props, views, generator):
    return tiny_batch(props, views)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def loss_of(state) -> float:
    """At the same noise and times whenever it is asked."""
    attention = install_view_attention(state.model.unet)
    alpha_bar = build_scheduler().alphas_cumprod
    with torch.no_grad():
        values = [
            pixel_prior_losses(state.model, attention, alpha_bar, tiny_batch(), 0.0, generator=generator(s)).image
            for s in range(4)
        ]
    return float(torch.stack(values).mean())


def steps(state, count, seed=0):
    return list(train_pixel_prior(state, batch_of, steps=count, generator=generator(seed)))


def test_the_loss_falls():
    state = tiny_state()
    before = loss_of(state)
    taken = steps(state, 15)
    assert loss_of(state) < 0.75 * before
    assert [s.index for s in taken] == list(range(1, 16)) and taken[-1].pictures == 15 * CONFIG.images_per_step
    assert all(s.loss > 0 and s.gradient_norm > 0 for s in taken)
    # the average follows the weights and is not them
    pairs = list(zip(state.ema_model.parameters(), state.model.parameters(), strict=True))
    assert all(not a.requires_grad for a, _ in pairs)
    distance = sum((a - b).square().sum() for a, b in pairs)
    start = sum(
        (a - b).square().sum() for a, b in zip(tiny_state().model.parameters(), state.model.parameters(), strict=True)
    )
    assert 0 < distance < start


def test_a_checkpoint_takes_the_same_next_step(tmp_path):
    state = tiny_state()
    steps(state, 2)
    save_checkpoint(state, tmp_path / "checkpoint.safetensors")
    (expected,) = steps(state, 1, seed=7)
    other = tiny_state(seed=5)
    assert load_checkpoint(other, tmp_path / "checkpoint.safetensors")
    assert (other.step, other.images_seen) == (2, 2 * CONFIG.images_per_step)
    (taken,) = steps(other, 1, seed=7)
    assert taken == expected
    for name in ("model", "average"):
        mine, theirs = getattr(state, name).state_dict(), getattr(other, name).state_dict()
        assert all(torch.equal(mine[k], theirs[k]) for k in mine)


def test_a_missing_or_damaged_checkpoint_changes_nothing(tmp_path):
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


def test_a_batch_that_is_not_finite_is_left_out():
    state = tiny_state()
    before = [p.clone() for p in state.model.parameters()]
    bad = tiny_batch()
    bad.images[0, 0, 0, 0, 0] = float("nan")
    (step,) = train_pixel_prior(state, lambda *_: bad, steps=1, generator=generator())
    assert step.index == 0 and step.loss != step.loss
    assert all(torch.equal(a, b) for a, b in zip(before, state.model.parameters(), strict=True))


def test_a_seed_is_a_network_and_the_global_generator_is_left_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, again, other = (tiny_state(s).model.unet.conv_in.weight for s in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    steps(tiny_state(), 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_folder_is_the_average_in_half_precision(tmp_path):
    state = tiny_state()
    steps(state, 2)
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
    assert texts and not any(str(tmp_path) in text for text in texts), "weights name no folder of their maker"


@pytest.mark.parametrize("joint", [True, False])
def test_views_of_a_prop_share_their_time(joint, monkeypatch):
    """Otherwise a clean view would tell what the noisy one beside it shows."""
    seen = []

    def spy(unet, attention, x_t, timestep, shown, colours, condition, cameras, *, views):
        seen.append((timestep, views))
        b, _, h, w = x_t.shape
        return ImagePrediction(*(torch.zeros(b, c, h, w) for c in (PALETTE_SIZE, 1, 3)))

    monkeypatch.setattr("dreamfusion3d.priors.pixel.losses.predict_image", spy)
    state = tiny_state()
    pixel_prior_losses(
        state.model,
        install_view_attention(state.model.unet),
        build_scheduler().alphas_cumprod,
        tiny_batch(4, 2),
        0.5,
        generator=generator(),
        joint=joint,
    )
    ((timestep, asked),) = seen
    assert asked == (2 if joint else 1) and timestep.shape == (8,)
    assert (timestep.view(4, 2) == timestep.view(4, 2)[:, :1]).all()
    assert len(timestep.unique()) > 1


def test_the_target_is_the_posterior_mean_over_peers():
    """Written out for each prop, as ``targets`` has it in one sum; and its two ends."""
    peers = torch.stack([tiny_batch(1, 2, seed).images[0] for seed in (1, 2, 3)])
    lights = torch.rand(3, 2, PALETTE_SIZE, *peers.shape[-2:], generator=generator(1))
    batch = replace(tiny_batch(1, 2), images=peers[:1], peers=[peers], shading=lights[:1], peer_shading=[lights])
    noise = torch.randn(peers[0].shape, generator=generator())
    x0 = batch.images[0]
    for noise_share, expected in ((1.0, peers.mean(0)), (0.999, None), (0.9, x0)):
        sigma = torch.full((2, 1, 1, 1), noise_share)
        alpha = (1 - sigma**2).sqrt()
        mean, of_lights = denoising_targets(batch, x0, noise, alpha, sigma)
        x_t = alpha * x0 + sigma * noise
        lit = lights[0] if noise_share == 0.9 else lights.mean(0)
        if expected is None:
            log = torch.stack([-((x_t - alpha * p) ** 2).sum() / (2 * noise_share**2) for p in peers])
            chance = (log - log.max()).exp() / (log - log.max()).exp().sum()
            expected = sum(c * p for c, p in zip(chance, peers, strict=True))
            lit = sum(c * p for c, p in zip(chance, lights, strict=True))
            assert chance.max() < 0.99
        torch.testing.assert_close(mean, expected, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(of_lights, lit, atol=1e-5, rtol=1e-4)
    alone = replace(batch, peers=[], shading=None, peer_shading=[])
    mean, of_lights = denoising_targets(alone, x0, noise, alpha, sigma)
    assert torch.equal(mean, x0) and of_lights is None


def test_a_palette_learns_the_colours_that_captions_name():
    """From captions alone: one kind's, then another kind in a colour that it was never told of."""
    told = [[f"kind:{kind}", f"colour:{colour}"] for kind in "ab" for colour in ("red", "blue")]
    rgb = {"red": (0.8, 0.1, 0.1), "blue": (0.1, 0.2, 0.8)}
    state = new_train_state([t for tokens in told for t in tokens], CONFIG, seed=0, device=CPU)
    colours = torch.tensor([[rgb[tokens[1].split(":")[1]]] * PALETTE_SIZE for tokens in told])

    def batch(props, views, generator):
        return replace(tiny_batch(props, views), caption_colors=CaptionColors(told[:3], colours[:3]))

    for _ in train_pixel_prior(state, batch, steps=60, generator=generator()):
        pass
    known = state.model.conditioner
    with torch.no_grad():
        found = state.model.scene.colors(known.embed([known.token_ids(tokens) for tokens in told]))
    assert (found[:3] - colours[:3]).abs().max() < 0.1
    unseen, red, blue = found[3], colours[0], colours[1]
    assert (unseen - blue).norm() < 0.5 * (unseen - red).norm()


def test_a_scene_is_hollow_where_it_is_told_so():
    """Pictures of an opaque block are the same whether it is solid or a shell: the cells decide."""
    solids = torch.zeros(1, OCCUPANCY_RESOLUTION, OCCUPANCY_RESOLUTION, OCCUPANCY_RESOLUTION)
    solids[:, 8:24, 8:24, 8:24] = 1.0
    solids[:, 11:21, 11:21, 11:21] = 0.0
    state = tiny_state(config=replace(CONFIG, scene_steps=100))

    def batch(props, views, generator):
        return replace(tiny_batch(1, views), occupancy=solids)

    for _ in train_pixel_prior(state, batch, steps=80, generator=generator()):
        pass
    told = state.model.conditioner
    rows = told.shape_token_ids(tiny_batch(1, 2).tokens[0])
    with torch.no_grad():
        found = voxel_opacity(state.model.scene(told.embed([rows])))[0]
    assert found[solids[0] == 1].mean() > found[12:20, 12:20, 12:20].mean() + 0.3


def test_the_scene_learns_alone_at_first_and_the_network_not_at_all():
    config = replace(CONFIG, scene_steps=12)
    state = tiny_state(config=config)
    unet = [p.clone() for p in state.model.unet.parameters()]

    def error():
        with torch.no_grad():
            return float(scene_loss(state.model, tiny_batch(2, 3), 0.0, generator=generator()))

    before = error()
    taken = steps(state, 12)
    assert error() < 0.7 * before
    assert taken[-1].pictures == 12 * config.scene_images_per_step
    assert all(torch.equal(a, b) for a, b in zip(unet, state.model.unet.parameters(), strict=True))
    (then,) = steps(state, 1)
    assert then.pictures == 12 * config.scene_images_per_step + config.images_per_step
    assert not all(torch.equal(a, b) for a, b in zip(unet, state.model.unet.parameters(), strict=True))


def test_what_is_compiled_is_the_network_that_learns(monkeypatch):
    calls = []

    def compiler(network):
        def compiled(*arguments, **named):
            calls.append(network)
            return network(*arguments, **named)

        return compiled

    monkeypatch.setattr(torch, "compile", compiler)
    plain, compiled = tiny_state(), tiny_state()
    losses_of = [
        [s.loss for s in train_pixel_prior(state, batch_of, steps=2, generator=generator(), compile_unet=wanted)]
        for state, wanted in ((plain, False), (compiled, True))
    ]
    assert losses_of[0] == losses_of[1]
    assert len(calls) == 2 and all(network is compiled.model.unet for network in calls)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_learns_too():
    """Drawn, painted and trained there, compiled; the loss falls as on the CPU."""
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
    ("asked", "begun", "expected"), [(6, 0, 1), (60, 0, 10), (64, 0, 11), (8, 10, 2), (-5, 3, 0), (16, 8, 3)]
)
def test_how_many_steps_show_so_many_pictures(asked, begun, expected):
    state = tiny_state(config=replace(CONFIG, scene_steps=10))
    state.step = begun
    assert state.steps_for(asked) == expected


def test_times_favour_the_noisy_end():
    times = sample_timesteps(20_000, 1000, generator()).float() / 1000
    assert times.min() >= 0 and times.max() < 1
    assert float((times >= 0.8).float().mean()) == pytest.approx(0.6, abs=0.02)
    assert float((times >= 0.97).float().mean()) == pytest.approx(0.26, abs=0.02)


def test_rays_tell_the_views_apart():
    """The ray channels are the camera's geometry: the middle ray meets the origin, and views differ."""
    from dreamfusion3d.cameras.orbit import orbit_cameras
    from dreamfusion3d.priors.pixel.unet import ray_map

    rays = ray_map(orbit_cameras([0.0, 180.0], 0.0, height=64, width=64), 33, 33)
    assert rays.shape == (2, 8, 33, 33)
    torch.testing.assert_close(rays[:, 5:, 16, 16], torch.zeros(2, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(rays[0, 2:5, 16, 16], -rays[1, 2:5, 16, 16], atol=1e-5, rtol=0)


def test_the_validation_loss_is_of_fixed_noise():
    state = tiny_state()
    batches = [tiny_batch(seed=s) for s in range(2)]
    first = validation_loss(state.ema_model, batches, CONFIG)
    assert first == validation_loss(state.ema_model, batches, CONFIG) > 0
    assert first != validation_loss(state.ema_model, batches, CONFIG, seed=1)
    assert not any(p.grad is not None for p in state.ema_model.parameters())


def test_the_log_is_plotted(tmp_path):
    log = tmp_path / "log.jsonl"
    lines = [
        {"pictures": 24 * i, "loss": 0.5 / i} | ({"validation": 0.6 / i} if i % 3 == 0 else {}) for i in range(1, 20)
    ]
    log.write_text("\n".join(json.dumps(line) for line in lines) + '\n{"pictures": 5')
    plot_training_log(log, tmp_path / "log.png")
    plot = iio.imread(tmp_path / "log.png")
    for colour in ((31, 119, 180), (214, 93, 14)):
        drawn = np.argwhere((plot == colour).all(-1))
        rows = drawn[drawn[:, 0] > 40]
        left, right = rows[rows[:, 1] < 300][:, 0].mean(), rows[rows[:, 1] > 600][:, 0].mean()
        assert left < right, "a loss that falls goes down"
    (tmp_path / "empty.jsonl").write_text("")
    plot_training_log(tmp_path / "empty.jsonl", tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
