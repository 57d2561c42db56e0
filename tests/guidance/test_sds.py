"""SDS in its two forms, and classifier-free guidance on a closed-form prior."""

from __future__ import annotations

import math

import pytest
import torch

from dreamfusion3d.cameras.orbit import OrbitCameras, turntable_cameras
from dreamfusion3d.guidance import sds
from dreamfusion3d.priors.cfg import CFGDenoiser
from dreamfusion3d.priors.protocol import Prior, TextEmbedding

SHAPE = (3, 4, 8, 8)


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def cosine(t):
    return torch.cos(t * math.pi / 2), torch.sin(t * math.pi / 2)


def some_network(x_t, t):
    """A prediction of x_0 that depends on both arguments."""
    return torch.tanh(0.7 * x_t) * (1 - t.view(-1, 1, 1, 1))


@pytest.fixture
def case():
    x = draw(*SHAPE).requires_grad_()
    t = torch.tensor([0.2, 0.5, 0.9])
    return x, t, draw(*SHAPE, seed=1)


def noise_form(x, t, noise):
    """DreamFusion's eps_hat - eps, from the network's prediction of x_0."""
    alpha, sigma = (c.view(-1, 1, 1, 1) for c in cosine(t))
    x_t = alpha * x + sigma * noise
    return (x_t - alpha * some_network(x_t, t)) / sigma - noise


def test_sds_residuals_agree_up_to_alpha_over_sigma(case):
    x, t, noise = case
    alpha, sigma = (c.view(-1, 1, 1, 1) for c in cosine(t))
    x_hat = sds(x, t, cosine(t), some_network, noise=noise).x0
    torch.testing.assert_close(noise_form(x, t, noise), alpha / sigma * (x - x_hat), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("weighting", ["x0", "sds"])
def test_sds_gradient_is_dreamfusions_up_to_the_documented_factor(case, weighting):
    x, t, noise = case
    alpha, sigma = (c.view(-1, 1, 1, 1) for c in cosine(t))
    loss = sds(x, t, cosine(t), some_network, noise=noise, weighting=weighting).loss
    (gradient,) = torch.autograd.grad(loss, x)
    # sds: w = sigma^2. x0: |x - x0_hat|^2 alone, that is w = sigma / alpha.
    w = sigma**2 if weighting == "sds" else sigma / alpha
    expected = w * noise_form(x, t, noise) / x.numel()  # a mean over images and pixels
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-8)


def test_sds_default_weighting_is_x0(case):
    x, t, noise = case
    guidance = sds(x, t, cosine(t), some_network, noise=noise)
    assert guidance.loss.item() == pytest.approx(0.5 * (x - guidance.x0).square().mean().item())


def test_sds_holds_the_reconstruction_constant(case):
    """No gradient passes through the prior, even if it would give one."""
    x, t, noise = case
    guidance = sds(x, t, cosine(t), some_network, noise=noise)
    assert not guidance.x0.requires_grad
    (gradient,) = torch.autograd.grad(guidance.loss, x)
    torch.testing.assert_close(gradient, (x - guidance.x0).detach() / x.numel())


def test_sds_leaves_images_that_the_prior_reproduces(case):
    x, t, noise = case
    guidance = sds(x, t, cosine(t), lambda x_t, t: x.detach(), noise=noise)
    (gradient,) = torch.autograd.grad(guidance.loss, x)
    assert guidance.loss == 0 and gradient.abs().max() == 0


class ClosedFormPrior:
    """Predicts the prompt's number plus a fraction of the image, and records its calls."""

    name, sha256, camera_conditioned = "formula", "", True

    def __init__(self) -> None:
        self.queries: list[tuple[int, int]] = []

    def check_prompt(self, prompt: str) -> list[str]:
        return []

    def encode_text(self, prompts: list[str]) -> TextEmbedding:
        return TextEmbedding(torch.tensor([[float(len(p))] for p in prompts]))

    def alpha_sigma(self, t):
        return cosine(t)

    def encode(self, render, *, generator):
        raise NotImplementedError

    def denoise(self, x_t, t, text: TextEmbedding, cameras: OrbitCameras, *, views: int = 1):
        assert len(x_t) == len(t) == len(text.embedding) == len(cameras)
        self.queries.append((len(x_t), views))
        lift = text.embedding[:, :1, None, None] * (1 + cameras.azimuth_deg.view(-1, 1, 1, 1) / 360)
        return lift + 0.1 * x_t


def query_prior(scale, rescale=0.0):
    prior = ClosedFormPrior()
    assert isinstance(prior, Prior)
    x_t, t = draw(*SHAPE), torch.full((3,), 0.5)
    text = prior.encode_text(["mug", ""])
    x0 = CFGDenoiser(prior, text, turntable_cameras(3, size=8), views=3, rescale=rescale)(x_t, t, scale)
    lift = 3.0 * (1 + torch.arange(3) / 3).view(-1, 1, 1, 1)
    return prior, x0, lift + 0.1 * x_t, 0.1 * x_t  # cond and uncond


def test_cfg_denoise_queries_once_at_scales_zero_and_one_and_both_at_once_otherwise():
    prior, x0, cond, _ = query_prior(1.0)
    assert prior.queries == [(3, 3)]
    torch.testing.assert_close(x0, cond)
    assert query_prior(0.0)[0].queries == [(3, 3)]
    assert query_prior(7.5)[0].queries == [(6, 3)]


@pytest.mark.parametrize("scale", [0.0, 0.5, 2.0, 7.5, 100.0])
def test_cfg_denoise_is_linear_in_scale(scale):
    _, x0, cond, uncond = query_prior(scale)
    torch.testing.assert_close(x0, uncond + scale * (cond - uncond))


def test_cfg_denoise_rescale_restores_the_conditional_deviation():
    _, x0, cond, _ = query_prior(7.5, rescale=1.0)
    torch.testing.assert_close(x0.flatten(1).std(1), cond.flatten(1).std(1), rtol=1e-4, atol=1e-5)
    _, half, _, _ = query_prior(7.5, rescale=0.5)
    _, none, _, _ = query_prior(7.5)
    torch.testing.assert_close(half, (x0 + none) / 2)


def test_text_embedding_repeat_interleaves_rows():
    text = TextEmbedding(torch.tensor([[1.0], [2.0]]))
    assert text.repeat(2).embedding.flatten().tolist() == [1, 1, 2, 2]
    assert TextEmbedding.cat([text, text]).embedding.flatten().tolist() == [1, 2, 1, 2]
