"""The closed-form prior of a few objects: its limits, joint denoising, and sampling from it."""

from __future__ import annotations

import pytest
import torch

from dreamfusion3d.cameras.orbit import turntable_cameras
from dreamfusion3d.priors.protocol import Prior
from dreamfusion3d.priors.sampling import sample_ddim
from dreamfusion3d.procedural.objects import ObjectSpec, sample_objects
from tests.support.oracle import OraclePrior

SIZE, VIEWS, COUNT = 24, 2, 3


@pytest.fixture(scope="module")
def prior():
    generator = torch.Generator().manual_seed(0)
    objects = sample_objects("mushroom", 0, "normal", COUNT, generator=generator)
    return OraclePrior(
        objects, ObjectSpec("mushroom"), num_camera_sets=2, views=VIEWS, resolution=SIZE, generator=generator
    )


def denoise(prior, x_t, t, views=VIEWS):
    cameras = prior.camera_bank.select(torch.arange(VIEWS))
    return prior.denoise(x_t, torch.full((VIEWS,), t), prior.encode_text([""] * VIEWS), cameras, views=views)


def images_of(prior, instance):
    return prior.images[:VIEWS, instance]


def test_oracle_prior_protocol(prior):
    assert isinstance(prior, Prior)
    assert prior.images.shape == (4, COUNT, 4, SIZE, SIZE)
    assert prior.images.min() == -1 and prior.images.max() <= 1
    alpha, sigma = prior.alpha_sigma(torch.linspace(0, 1, 11))
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones(11))


@pytest.mark.parametrize("instance", range(COUNT))
def test_denoise_at_low_noise_returns_the_nearest_object(prior, instance):
    alpha, sigma = (c[0] for c in prior.alpha_sigma(torch.tensor([0.05])))
    noise = torch.randn(images_of(prior, instance).shape, generator=torch.Generator().manual_seed(1))
    x0 = denoise(prior, alpha * images_of(prior, instance) + sigma * noise, 0.05)
    torch.testing.assert_close(x0, images_of(prior, instance), rtol=0, atol=1e-3)


def test_denoise_of_pure_noise_returns_the_mean(prior):
    noise = torch.randn(VIEWS, 4, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(denoise(prior, noise, 1.0), prior.images[:VIEWS].mean(1), rtol=0, atol=1e-3)


def test_denoise_joint_views_agree_on_one_object(prior):
    """An ambiguous view follows the one beside it."""
    t = 0.2
    alpha = prior.alpha_sigma(torch.tensor([t]))[0][0]
    x_t = alpha * images_of(prior, 1)
    x_t[0] = alpha * prior.images[0, :2].mean(0)  # as near to 0 as to 1
    joint, alone = denoise(prior, x_t, t, views=VIEWS), denoise(prior, x_t, t, views=1)
    torch.testing.assert_close(joint[0], images_of(prior, 1)[0], rtol=0, atol=1e-2)
    assert (alone[0] - images_of(prior, 1)[0]).abs().max() > 0.1
    torch.testing.assert_close(joint[1], alone[1], rtol=0, atol=1e-2)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_sample_ddim_converges_to_one_object(prior, seed):
    cameras = prior.camera_bank.select(torch.arange(VIEWS))
    generator = torch.Generator().manual_seed(seed)
    *_, x0 = sample_ddim(
        prior,
        prior.encode_text(["", ""]),
        cameras,
        steps=20,
        scale=1.0,
        views=VIEWS,
        noise=torch.randn(len(cameras), 4, cameras.height, cameras.width, generator=generator),
    )
    off = [(x0 - images_of(prior, k)).abs().max() for k in range(COUNT)]
    assert min(off) < 1e-2, "both views show the same object"


def test_sample_cameras_draws_a_set_of_the_bank(prior):
    cameras = prior.sample_cameras(VIEWS, generator=torch.Generator().manual_seed(0))
    gap = (cameras.azimuth_deg[1] - cameras.azimuth_deg[0]) % 360
    assert gap.item() == pytest.approx(180, abs=1e-3)
    with pytest.raises(ValueError, match="sets of 2"):
        prior.sample_cameras(3, generator=torch.Generator())
    with pytest.raises(ValueError, match="sample_cameras"):
        prior.denoise(torch.zeros(1, 4, SIZE, SIZE), torch.ones(1), prior.encode_text([""]), turntable_cameras(1))
