"""Score distillation with a perfect prior, so that whatever goes wrong is the optimization's fault."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import imageio.v3 as iio
import pytest
import torch

from dreamfusion3d.core.config import Config
from dreamfusion3d.core.types import InitialVolume
from dreamfusion3d.fields.initialization import FieldInit
from dreamfusion3d.fields.nerf import NerfField
from dreamfusion3d.rendering.occupancy_grid import OccupancyGrid
from dreamfusion3d.rendering.volume import RenderSettings, render_field_with_aux
from dreamfusion3d.training.loop import remaining_steps
from dreamfusion3d.training.regularizers import regularizers
from tests.support.oracle import OraclePrior
from tests.support.training import (
    IMAGE_SIZE,
    NUM_STEPS,
    NUM_VIEWS,
    VSD,
    RecordingPrior,
    distill_oracle,
    distillation_config,
    make_field,
    make_generator,
    render_bank,
    same_parameters,
    silhouette_iou,
)


def test_distill_field_recovers_the_object(oracle_prior: OraclePrior) -> None:
    field = make_field()
    before = silhouette_iou(field, oracle_prior)
    steps = list(distill_oracle(oracle_prior, field))
    assert [s.index for s in steps] == list(range(1, NUM_STEPS + 1)) and steps[0].total == NUM_STEPS
    assert all(math.isfinite(s.gradient_norm) and s.warning is None for s in steps)
    after = silhouette_iou(field, oracle_prior)
    assert after > 0.75 and after > before + 0.1
    assert float(field.sharpness) == pytest.approx(distillation_config().optim.sharpness)
    render = render_bank(field, oracle_prior)
    color = render.rgb[render.opacity > 0.9].mean(0)
    assert color[0] > 1.5 * color[2], "the cap is red"


def plain_distillation(
    field: NerfField, prior: OraclePrior, config: Config, generator: torch.Generator
) -> Iterator[dict[str, float]]:
    """Slow, obvious twin of `distill_field`: SDS at scale 1 in plain torch; yields the losses of each step."""
    optim, guidance, prompts = config.optim, config.guidance, prior.encode_text(["a mushroom", ""])
    occupancy = OccupancyGrid(config.render.occupancy_grid_resolution)
    mlp = [parameter for name, parameter in field.named_parameters() if name != "table"]
    optimizer = torch.optim.Adam([{"params": [field.table]}, {"params": mlp}], betas=(0.9, 0.99), eps=1e-15)
    for step in range(optim.steps):
        progress = step / (optim.steps - 1)
        field.set_sharpness(optim.sharpness ** min(max((progress - 0.2) / (0.8 - 0.2), 0), 1))
        for group, lr in zip(optimizer.param_groups, (optim.lr_hashgrid, optim.lr_mlp), strict=True):
            group["lr"] = lr * optim.lr_final_factor ** max((progress - 0.5) / 0.5, 0)
        if step % optim.occupancy_update_interval == 0:
            occupancy.update(field.density, generator=generator, step=step)
        cameras = prior.sample_cameras(optim.num_views, generator=generator)
        settings = RenderSettings(step_size=config.render.step_size)
        image, aux = render_field_with_aux(field, cameras, occupancy=occupancy, generator=generator, settings=settings)
        x = prior.encode(image, generator=generator)
        low, high = (a + (b - a) * progress for a, b in zip(guidance.t_range_start, guidance.t_range_end, strict=True))
        t = (low + (high - low) * torch.rand(1, generator=generator)).expand(optim.num_views)
        alpha, sigma = (level.view(-1, 1, 1, 1) for level in prior.alpha_sigma(t))
        noise = torch.randn(x.shape, generator=generator)
        with torch.no_grad():
            x0 = prior.denoise(alpha * x + sigma * noise, t, prompts, cameras, views=optim.num_views)
        losses = {"guidance": guidance.weight * 0.5 * (x - x0).square().mean()}
        losses |= regularizers(field, occupancy, cameras, image, aux, config.losses, progress, generator=generator)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        yield {name: float(loss.detach()) for name, loss in losses.items()}


def test_distill_field_takes_the_steps_of_a_plain_loop(oracle_prior: OraclePrior) -> None:
    config, field, twin = distillation_config(20), make_field(), make_field()
    losses = [step.losses for step in distill_oracle(oracle_prior, field, steps=20)]
    assert losses == list(plain_distillation(twin, oracle_prior, config, make_generator(1)))
    for parameter, other in zip(field.parameters(), twin.parameters(), strict=True):
        assert torch.equal(parameter, other)


def test_distill_field_takes_the_same_steps_with_the_same_seed(oracle_prior: OraclePrior) -> None:
    first, again, other = make_field(), make_field(), make_field()
    for field, seed in ((first, 1), (again, 1), (other, 2)):
        list(distill_oracle(oracle_prior, field, steps=4, seed=seed))
    assert same_parameters(first, again) and not same_parameters(first, other)


@pytest.mark.parametrize("guidance", ["sds", "vsd"])
def test_distill_field_resumes_to_the_same_bits(oracle_prior: OraclePrior, tmp_path: Path, guidance: str) -> None:
    overrides = {**VSD, "guidance.type": guidance}  # vsd has a state of its own
    whole, part, resumed = make_field(), make_field(), make_field(seed=5)
    list(distill_oracle(oracle_prior, whole, steps=12, overrides=overrides, checkpoint_every=6))
    options = {
        "steps": 12,
        "overrides": overrides,
        "checkpoint": tmp_path / "checkpoint.safetensors",
        "checkpoint_every": 6,
    }
    for step in distill_oracle(oracle_prior, part, **options):
        if step.index == 8:
            break  # two steps after the checkpoint
    steps = list(distill_oracle(oracle_prior, resumed, seed=99, **options))
    assert [s.index for s in steps] == list(range(7, 13)) and steps[0].warning is None
    assert same_parameters(whole, resumed)


def test_distill_field_draws_a_time_per_noise_sample_and_dreamtime_never_grows(oracle_prior: OraclePrior) -> None:
    prior = RecordingPrior(oracle_prior)
    list(distill_oracle(prior, make_field(), steps=2, overrides={"guidance.noise_samples": 3}))
    assert len(set(prior.times)) == 6
    prior = RecordingPrior(oracle_prior)
    list(distill_oracle(prior, make_field(), steps=5, overrides={"guidance.schedule": "dreamtime"}))
    assert prior.times == sorted(prior.times, reverse=True)
    assert prior.times[0] == pytest.approx(0.98) and prior.times[-1] == pytest.approx(0.05)


def test_distill_field_skips_steps_and_noise_after_an_initial_volume(oracle_prior: OraclePrior) -> None:
    density, gray = torch.full((9, 9, 9), 2.0), torch.full((9, 9, 9, 3), 0.5)
    volume = FieldInit.from_initial_volume(InitialVolume(density, gray), torch.device("cpu"))
    overrides = {
        "guidance.t_range_start": (0.98, 0.98),
        "guidance.t_range_end": (0.05, 0.05),
        "optim.init_skip_fraction": 0.25,
    }
    assert remaining_steps(8, 0.25) == 6
    for init, total, first_time in ((None, 8, 0.98), (volume, 6, 0.98 + (0.05 - 0.98) / 4)):
        prior = RecordingPrior(oracle_prior)
        field = NerfField(distillation_config().field, generator=make_generator(), init=init)
        steps = list(distill_oracle(prior, field, steps=8, overrides=overrides))
        assert len(steps) == total and steps[0].total == total
        assert prior.times[0] == pytest.approx(first_time) and prior.times[-1] == pytest.approx(0.05)


@pytest.mark.parametrize("init", ["blob", "solid", "volume"])
def test_distill_field_hollows_only_a_blob(oracle_prior: OraclePrior, init: str) -> None:
    """A user's solid and a prior's volume have settled the inside: hollowed, a mushroom came in two halves."""
    density, gray = torch.full((9, 9, 9), 0.2), torch.full((9, 9, 9, 3), 0.5)
    cpu = torch.device("cpu")
    starts = {
        "blob": None,
        "solid": FieldInit.from_solid(density, gray, cpu),
        "volume": FieldInit.from_initial_volume(InitialVolume(density, gray), cpu),
    }
    field = NerfField(distillation_config().field, generator=make_generator(), init=starts[init])
    (step,) = distill_oracle(oracle_prior, field, steps=1)
    assert ("interior" in step.losses) == (init == "blob")


def test_distill_field_leaves_the_global_generator_alone(oracle_prior: OraclePrior) -> None:
    torch.manual_seed(4)
    before = torch.get_rng_state()
    list(distill_oracle(oracle_prior, make_field(), steps=2))
    assert torch.equal(torch.get_rng_state(), before)


def test_distill_field_previews_the_views_side_by_side(oracle_prior: OraclePrior, tmp_path: Path) -> None:
    path = tmp_path / "preview.png"
    list(distill_oracle(oracle_prior, make_field(), steps=1, preview=path))
    image = iio.imread(path)
    assert image.shape == (2 * IMAGE_SIZE, 2 * IMAGE_SIZE * NUM_VIEWS, 3)
    assert abs(int(image[0, 0, 0]) - 217) <= 1, "the background is light gray"
