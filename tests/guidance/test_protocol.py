"""Every guidance against its equation, on closed-form predictions."""

from __future__ import annotations

import math

import pytest
import torch

from dreamfusion3d.core.config import GuidanceConfig
from dreamfusion3d.guidance import ScoreModel, csd, ism, load_guidance, sds, vsd
from tests.support.mixture import Mixture, square_mixture

SHAPE = (3, 4, 6, 6)
WEIGHTINGS = ("x0", "sds", "uniform")


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cosine(t):
    return torch.cos(t * math.pi / 2), torch.sin(t * math.pi / 2)


def prompted(x_t, t):
    return torch.tanh(0.7 * x_t) * (1 - t.view(-1, 1, 1, 1))


def empty(x_t, t):
    return 0.3 * x_t - 0.1 * t.view(-1, 1, 1, 1)


def guided(scale):
    return lambda x_t, t: empty(x_t, t) + scale * (prompted(x_t, t) - empty(x_t, t))


@pytest.fixture
def case():
    t = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    return draw(*SHAPE).requires_grad_(), t, draw(*SHAPE, seed=1)


def predicted_noise(predict, x_t, t):
    """Convert a prediction of x_0 into one of the noise."""
    alpha, sigma = (c.view(-1, 1, 1, 1) for c in cosine(t))
    return (x_t - alpha * predict(x_t, t)) / sigma


def noised(x, t, noise):
    alpha, sigma = (c.view(-1, 1, 1, 1) for c in cosine(t))
    return (alpha * x + sigma * noise).detach()


def w(t, weighting):
    """The papers' w(t), before a difference of noise predictions."""
    alpha, sigma = (c.view(-1, 1, 1, 1) for c in cosine(t))
    return {"sds": sigma**2, "uniform": torch.ones_like(sigma), "x0": sigma / alpha}[weighting]


def gradient(output, x):
    return torch.autograd.grad(output.loss, x)[0] * x.numel()  # the loss is a mean


def close(actual, expected):
    assert float((actual - expected).abs().max()) < 1e-6
    assert float(expected.abs().max()) > 1e-2, "otherwise nothing is compared"


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("scale", [0.0, 1.0, 7.5])
def test_sds_is_w_times_the_noise_residual(case, weighting, scale):
    x, t, noise = case
    found = gradient(sds(x, t, cosine(t), guided(scale), noise=noise, weighting=weighting), x)
    close(found, w(t, weighting) * (predicted_noise(guided(scale), noised(x, t, noise), t) - noise))


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_csd_is_w_times_the_classifier_residual(case, weighting):
    x, t, noise = case
    found = gradient(csd(x, t, cosine(t), prompted, empty, noise=noise, scale=3.0, weighting=weighting), x)
    x_t = noised(x, t, noise)
    close(found, 3 * w(t, weighting) * (predicted_noise(prompted, x_t, t) - predicted_noise(empty, x_t, t)))


@pytest.mark.parametrize("scale", [0.0, 1.0, 7.5])
def test_sds_is_its_unconditional_part_and_csd(case, scale):
    x, t, noise = case
    whole = gradient(sds(x, t, cosine(t), guided(scale), noise=noise), x)
    prior = gradient(sds(x, t, cosine(t), empty, noise=noise), x)
    close(whole, prior + gradient(csd(x, t, cosine(t), prompted, empty, noise=noise, scale=scale), x))


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_vsd_is_w_times_the_difference_of_two_scores(case, weighting):
    x, t, noise = case
    found = gradient(vsd(x, t, cosine(t), guided(7.5), prompted, noise=noise, weighting=weighting), x)
    x_t = noised(x, t, noise)
    close(found, w(t, weighting) * (predicted_noise(guided(7.5), x_t, t) - predicted_noise(prompted, x_t, t)))


def test_vsd_of_a_distribution_that_knows_its_noise_is_sds(case):
    """For a single picture the exact score's prediction is the picture: equation 9 becomes SDS."""
    x, t, noise = case
    found = gradient(vsd(x, t, cosine(t), prompted, lambda x_t, t: x.detach(), noise=noise), x)
    close(found, gradient(sds(x, t, cosine(t), prompted, noise=noise), x))


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_ism_compares_the_ends_of_the_inversions_last_interval(case, weighting):
    x, t, noise = case
    found = gradient(
        ism(x, t, cosine, guided(7.5), empty, noise=noise, interval=0.1, stride=0.3, weighting=weighting), x
    )
    for row, (now, want) in enumerate(zip(t.tolist(), found, strict=True)):
        # the largest s is 0.8, so all walk from 0.02 to their s in three steps
        times = [0.02 + (now - 0.1 - 0.02) * i / 3 for i in range(4)] + [now]
        x_s = math.cos(0.01 * math.pi) * x[row : row + 1].detach()
        x_s = x_s + math.sin(0.01 * math.pi) * noise[row : row + 1]
        for at, after in zip(times[:-1], times[1:], strict=True):
            eps = predicted_noise(empty, x_s, torch.tensor([at], dtype=torch.float64))
            known = (x_s - math.sin(at * math.pi / 2) * eps) / math.cos(at * math.pi / 2)
            x_s = math.cos(after * math.pi / 2) * known + math.sin(after * math.pi / 2) * eps
        last = torch.tensor([now], dtype=torch.float64)
        close(want, (w(last, weighting) * (predicted_noise(guided(7.5), x_s, last) - eps))[0])


def test_ism_below_min_time_is_csd_at_min_time(case):
    x, _, noise = case
    t = torch.full((3,), 0.02, dtype=torch.float64)
    found = gradient(ism(x, t - 0.01, cosine, prompted, empty, noise=noise, weighting="uniform"), x)
    close(found, gradient(csd(x, t, cosine(t), prompted, empty, noise=noise, weighting="uniform"), x))


def mixture_case():
    mixture: Mixture = square_mixture()
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(200, 2, 1, 1, generator=generator).requires_grad_()
    return mixture, x, torch.full((200,), 0.3), generator


def test_csd_climbs_the_classifier():
    """Its noise residual is -sigma grad log p(y | x_t), taken here from the densities."""
    mixture, x, t, generator = mixture_case()
    noise = torch.randn(x.shape, generator=generator)
    score_model = mixture.score_model(GuidanceConfig(), 200)
    found = gradient(
        csd(
            x,
            t,
            mixture.alpha_sigma(t),
            score_model.conditional,
            score_model.unconditional,
            noise=noise,
            weighting="uniform",
        ),
        x,
    )
    x_t = noised(x, t, noise).requires_grad_()
    cond, uncond = (mixture.log_density(x_t, t, s).logsumexp(1).sum() for s in (mixture.cond, mixture.uncond))
    (climb,) = torch.autograd.grad(cond - uncond, x_t)
    torch.testing.assert_close(found, -math.sin(0.15 * math.pi) * climb, rtol=1e-3, atol=1e-4)


def test_ism_hardly_depends_on_its_noise_and_sds_does():
    mixture, x, t, generator = mixture_case()
    spreads = {}
    for name in ("sds", "ism"):
        guidance, score_model = load_guidance(GuidanceConfig(type=name)), mixture.score_model(GuidanceConfig(), 200)
        found = torch.stack(
            [torch.autograd.grad(guidance(x, t, score_model, generator=generator).loss, x)[0] for _ in range(8)]
        )
        spreads[name] = float(found.std(0).mean())
    assert spreads["ism"] < 0.2 * spreads["sds"]


def test_ism_leaves_images_on_the_priors_trajectory():
    """Without a prompt and with a short interval, there is nothing to match; SDS still pulls."""
    mixture, x, t, generator = mixture_case()
    score_model = ScoreModel(
        GuidanceConfig(ism_interval=0.005, ism_stride=0.02),
        mixture.alpha_sigma,
        lambda x_t, t, scale: mixture.denoise(x_t, t, mixture.uncond),
        torch.zeros(200, 0),
    )
    pulls = {}
    for name in ("sds", "ism"):
        loss = load_guidance(GuidanceConfig(type=name))(x, t, score_model, generator=generator).loss
        pulls[name] = float(torch.autograd.grad(loss, x)[0].abs().mean())
    assert pulls["ism"] < 0.1 * pulls["sds"]
