"""Loading weights does not draw from torch's or numpy's global generator."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from dreamfusion3d.priors.image_text.embedded_clip import EmbeddedClip, embedded_clip_folder
from dreamfusion3d.priors.loading import load_pixel_prior, load_prior
from dreamfusion3d.priors.pixel.prior import TEXT_ENCODER_FOLDER
from dreamfusion3d.priors.pixel.text_encoder import PromptTextEncoder
from dreamfusion3d.priors.vocabulary import embedded_folder


def parse_a_prompt() -> None:
    prior = load_prior()
    prior.check_prompt("a rde jug thingy wiht two hndles")  # the rules fail: the text encoder is used
    prior.encode_text(["a red mug", ""])


@pytest.mark.parametrize(
    "load",
    [
        load_prior,
        load_pixel_prior,
        parse_a_prompt,
        lambda: PromptTextEncoder.load(embedded_folder() / TEXT_ENCODER_FOLDER),
        lambda: EmbeddedClip.load(embedded_clip_folder()),
    ],
    ids=["prior", "pixel prior", "prompt", "text encoder", "clip"],
)
def test_load_keeps_the_global_generators(load: Callable[[], object]) -> None:
    torch.manual_seed(5)
    before, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    load()
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpy_state)
