"""Each guidance on particles under a prior in closed form, and the state of VSD."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dreamfusion3d.core.config import GuidanceConfig
from dreamfusion3d.guidance import ScoreModel, VsdGuidance
from tests.support.mixture import WINDOW, distill_particles, particle_statistics, square_mixture

MIXTURE = square_mixture()
TRUTH = MIXTURE.sample(1000, torch.Generator().manual_seed(9))


def cloud(steps: int = 300, rate: float = 0.03, **settings):
    generator = torch.Generator().manual_seed(0)
    settings = replace(WINDOW, **settings)
    x = distill_particles(MIXTURE, settings, particles=64, steps=steps, rate=rate, generator=generator)
    return particle_statistics(MIXTURE, x, TRUTH)


@pytest.fixture(scope="module")
def clouds():
    return {
        "sds": cloud(type="sds"),
        "csd": cloud(type="csd"),
        "ism": cloud(type="ism", steps=150),
        "vsd": cloud(type="vsd", vsd_lr=0.003, vsd_width=24),
    }


def test_sds_finds_the_modes():
    """At small times, at which the modes are those of the density itself, not of a blurred one."""
    low = cloud(type="sds", t_range_start=(0.02, 0.2), t_range_end=(0.02, 0.2))
    assert low["distance_to_mode"] < 0.06
    assert low["spread"] < 0.3 * MIXTURE.deviation
    assert 0.1 < low["left_fraction"] < 0.9, "a particle goes to the nearest mode"


def test_sds_over_all_times_collapses_to_one_image(clouds):
    assert clouds["sds"]["left_fraction"] == 1.0
    assert clouds["sds"]["spread"] < 0.35 * MIXTURE.deviation


def test_vsd_matches_the_distribution(clouds):
    floor = particle_statistics(MIXTURE, MIXTURE.sample(64, torch.Generator().manual_seed(1)), TRUTH)["energy_distance"]
    assert clouds["vsd"]["energy_distance"] < 0.1 * clouds["sds"]["energy_distance"]
    assert clouds["vsd"]["energy_distance"] < max(10 * floor, 0.05)
    assert clouds["vsd"]["spread"] == pytest.approx(MIXTURE.deviation, rel=0.35)


def test_csd_leaves_the_likely_region(clouds):
    """It climbs p(y | x) and never returns to likely images."""
    assert clouds["csd"]["log_odds_of_prompt"] >= clouds["sds"]["log_odds_of_prompt"]
    assert clouds["csd"]["log_density"] < clouds["sds"]["log_density"] - 5


def test_ism_is_between_csd_and_sds(clouds):
    assert clouds["csd"]["log_density"] <= clouds["ism"]["log_density"] <= clouds["sds"]["log_density"]


def vsd_case(seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    settings = GuidanceConfig(type="vsd", vsd_width=8)
    score_model = ScoreModel(
        settings,
        MIXTURE.alpha_sigma,
        lambda x_t, t, scale: 0.5 * x_t + 0.1 * scale,
        torch.randn(2, 3, generator=generator),
    )
    x = torch.randn(2, 3, 18, 18, generator=generator).requires_grad_()
    return VsdGuidance(settings, torch.device("cpu")), score_model, x, torch.tensor([0.3, 0.6]), generator


def step(guidance, score_model, x, t, generator):
    return torch.autograd.grad(guidance(x, t, score_model, generator=generator).loss, x)[0]


def test_vsd_begins_as_the_prior_itself():
    guidance, score_model, x, t, generator = vsd_case()
    assert guidance.state_dict() == {}
    assert step(guidance, score_model, x, t, generator).abs().max() < 1e-6
    assert step(guidance, score_model, x, t, generator).abs().max() > 1e-6


def test_vsd_resumes_with_the_same_bytes():
    guidance, score_model, x, t, generator = vsd_case()
    for _ in range(3):
        step(guidance, score_model, x, t, generator)
    state = {k: v.clone() for k, v in guidance.state_dict().items()}
    generator_state = generator.get_state()
    continued = [step(guidance, score_model, x, t, generator) for _ in range(2)]
    resumed = vsd_case()[0]
    resumed.load_state_dict(state)
    generator.set_state(generator_state)
    assert all(torch.equal(a, step(resumed, score_model, x, t, generator)) for a in continued)
    assert all(torch.equal(a, resumed.state_dict()[k]) for k, a in guidance.state_dict().items())
    resumed.load_state_dict({})
    assert resumed.state_dict() == {}


def test_vsd_leaves_the_global_generator_and_the_score_model_unchanged():
    guidance, score_model, x, t, generator = vsd_case()
    before = torch.get_rng_state()
    output = guidance(x, t, score_model, generator=generator)
    assert torch.equal(torch.get_rng_state(), before)
    assert not output.x0.requires_grad and x.grad is None


@pytest.mark.parametrize("damage", ["missing", "shape", "foreign"])
def test_vsd_load_state_dict_refuses_states_that_do_not_fit(damage):
    guidance, score_model, x, t, generator = vsd_case()
    step(guidance, score_model, x, t, generator)
    state = dict(guidance.state_dict())
    if damage == "missing":
        del state["network.out.weight"]
    elif damage == "shape":
        state["network.middle.first.weight"] = torch.zeros(3, 3, 3, 3)
    else:
        state = {"other": torch.zeros(1)}
    with pytest.raises((KeyError, ValueError, RuntimeError)):
        vsd_case()[0].load_state_dict(state)


def test_vsd_ignores_non_finite_predictions():
    guidance, score_model, x, t, generator = vsd_case()
    step(guidance, score_model, x, t, generator)
    before = {k: v.clone() for k, v in guidance.state_dict().items()}
    broken = replace(score_model, predict_x0=lambda x_t, t, scale: x_t * float("nan"))
    step(guidance, broken, x, t, generator)
    assert all(torch.equal(v, guidance.state_dict()[k]) for k, v in before.items())
