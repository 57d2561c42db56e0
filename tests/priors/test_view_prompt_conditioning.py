"""View prompts on the optimal denoiser of captioned images, and that denoiser against a slow reference."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from dreamfusion3d.cameras.orbit import orbit_cameras, turntable_cameras
from dreamfusion3d.core.config import PromptConfig
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.priors.view_prompts import VIEW_NAMES, encode_prompts, view_weights
from tests.support.caption_oracle import CaptionOracle
from tests.support.captioned_images import named_side, write_captioned_images


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> CaptionOracle:
    folder: Path = tmp_path_factory.mktemp("oracle")
    counts = write_captioned_images(folder, ["duck"], 16, 2, seed=0)
    assert counts["bare"] == 16 and all(counts[view] for view in VIEW_NAMES)
    return CaptionOracle(folder)


def test_view_weights_favor_the_captions_side() -> None:
    generator = torch.Generator().manual_seed(0)
    azimuth, elevation = 720 * torch.rand(200, generator=generator), 80 * torch.rand(200, generator=generator)
    weights = view_weights(azimuth, elevation)
    for i in range(200):
        side = VIEW_NAMES.index(named_side(float(azimuth[i]), float(elevation[i])))
        overhead = float(weights[i, 3])
        if abs(overhead - 0.5) > 0.1:  # where it is neither, three may share
            assert side == 3 if overhead > 0.5 else side == int(weights[i, :3].argmax())


def test_denoise_is_the_posterior_mean(oracle: CaptionOracle) -> None:
    x_t = torch.randn(3, 4, 64, 64, generator=torch.Generator().manual_seed(1))
    t, text = torch.tensor([0.5, 0.97, 0.99]), oracle.encode_text(["a duck", "a duck, side view", ""])
    found = oracle.denoise(x_t, t, text, turntable_cameras(3))
    for i, caption in enumerate(("a duck", "a duck, side view", None)):
        alpha, sigma = math.cos(float(t[i]) * math.pi / 2), math.sin(float(t[i]) * math.pi / 2)
        known = torch.stack(
            [p for p, c in zip(oracle.images, oracle.captions, strict=True) if caption in (None, c)]
        ).double()
        misfit = torch.stack([((x_t[i] - alpha * p) ** 2).sum() for p in known])
        slow = torch.einsum("n,nchw->chw", (-misfit / (2 * sigma**2)).softmax(0), known)
        torch.testing.assert_close(found[i].double(), slow, atol=1e-3, rtol=1e-3)


def test_encode_prompts_with_the_side_gives_that_side(oracle: CaptionOracle) -> None:
    """From behind the bare prompt is answered by fronts, the one that names the side by backs."""
    behind, t = orbit_cameras([180.0], 0.0), torch.full((1,), 0.5)
    back = oracle.captions.index("a duck, back view")
    alpha, sigma = oracle.alpha_sigma(t)
    x_t = float(alpha) * oracle.images[back : back + 1] + float(sigma) * torch.randn(
        1, 4, 64, 64, generator=torch.Generator().manual_seed(2)
    )
    answers = {}
    for views in (False, True):
        asked = encode_prompts(oracle, "a duck", PromptConfig(view_dependent=views)).conditioning(behind)
        nearest = torch.cdist(oracle.denoise(x_t, t, asked.cond, behind).flatten(1), oracle.images.flatten(1))
        answers[views] = int(nearest.argmin())
    assert answers[True] == back and oracle.captions[answers[False]] == "a duck"


def test_check_prompt_refuses_an_unknown_caption(oracle: CaptionOracle) -> None:
    with pytest.raises(InputError, match="no image has the caption"):
        oracle.check_prompt("a goose")
