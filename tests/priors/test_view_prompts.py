"""What a prior is asked: weights of views, sentences, negative prompts, Perp-Neg."""

from __future__ import annotations

import math

import pytest
import torch

from dreamfusion3d.cameras.orbit import OrbitCameras, orbit_cameras
from dreamfusion3d.core.config import Config, PromptConfig, override_config
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.priors.cfg import CFGDenoiser, perpendicular_component
from dreamfusion3d.priors.protocol import TextEmbedding
from dreamfusion3d.priors.view_prompts import (
    VIEW_NAMES,
    ViewPrompts,
    encode_prompts,
    format_view_prompts,
    perp_neg_strength,
    prompt_warnings,
    view_weights,
)


class Words:
    """A prior whose prediction is a picture of its sentence: a direction of its own for each."""

    name, sha256 = "words", ""

    def __init__(self, camera_conditioned: bool = False) -> None:
        self.camera_conditioned = camera_conditioned
        self.encoded: list[str] = []
        self.calls: list[int] = []

    def check_prompt(self, prompt: str) -> list[str]:
        if "quixnar" in prompt:
            raise InputError("unknown")
        return []

    def encode_text(self, prompts: list[str]) -> TextEmbedding:
        self.encoded += prompts
        return TextEmbedding(torch.stack([self.row(p) for p in prompts]))

    @staticmethod
    def row(prompt: str) -> torch.Tensor:
        return torch.randn(48, generator=torch.Generator().manual_seed(sum(map(ord, prompt)) + 1))

    def alpha_sigma(self, t):
        return 1 - t, t

    def encode(self, render, *, generator):
        raise NotImplementedError

    def denoise(self, x_t, t, text: TextEmbedding, cameras: OrbitCameras, *, views: int = 1):
        self.calls.append(len(x_t))
        return text.embedding.view(-1, 3, 4, 4)


def at(*azimuths: float, elevation: float = 0.0) -> OrbitCameras:
    return orbit_cameras([float(a) for a in azimuths], elevation)


def test_view_weights_sum_to_one_everywhere():
    around, up = torch.arange(-180.0, 540, 5), torch.arange(-90.0, 91, 5)
    azimuth, elevation = torch.meshgrid(around, up, indexing="ij")
    weights = view_weights(azimuth.flatten(), elevation.flatten())
    torch.testing.assert_close(weights.sum(1), torch.ones(len(weights)))
    assert weights.min() >= 0


@pytest.mark.parametrize(
    ("azimuth", "elevation", "view"),
    [(0, 0, "front"), (360, 20, "front"), (90, 0, "side"), (-90, 45, "side"), (180, -10, "back"), (30, 80, "overhead")],
)
def test_each_view_is_seen_from_where_it_is(azimuth, elevation, view):
    (weights,) = view_weights(torch.tensor([float(azimuth)]), torch.tensor([float(elevation)]))
    assert weights[VIEW_NAMES.index(view)] == pytest.approx(1.0, abs=1e-6)


def test_view_weights_are_smooth():
    """No jumps and no kinks: first and second differences shrink with the step."""
    for vary in ("azimuth", "elevation"):
        line = torch.linspace(-100, 280, 3801).double()
        other = torch.full_like(line, 30.0)
        pair = (line, other) if vary == "azimuth" else (other, line)
        first = view_weights(*pair).diff(dim=0).abs().max()
        assert first < 0.1 * 0.06, "a hundredth of a turn changes little"
        slope = view_weights(*pair).diff(dim=0) / 0.1
        assert slope.diff(dim=0).abs().max() < 0.1 * 0.01, "no kink"


def test_left_and_right_are_alike():
    azimuth = torch.linspace(0, 180, 37)
    same = torch.zeros(37)
    torch.testing.assert_close(view_weights(azimuth, same), view_weights(-azimuth, same), atol=1e-6, rtol=0)


def test_sentences_and_overrides():
    settings = PromptConfig(back_template="{prompt} from behind, {prompt}!", overhead_template="a red disc")
    assert format_view_prompts("a mug", settings) == [
        "a mug, front view",
        "a mug, side view",
        "a mug from behind, a mug!",
        "a red disc",
    ]


def test_a_camera_is_asked_the_mean_of_what_it_sees():
    prior = Words()
    prompts = encode_prompts(prior, "a mug", PromptConfig())
    assert prior.encoded == [*(f"a mug, {view} view" for view in VIEW_NAMES), ""]
    asked = prompts.conditioning(at(0.0, 45.0, 180.0))
    front, side, back = (prior.row(f"a mug, {view} view") for view in VIEW_NAMES[:3])
    expected = torch.stack([front, (front + side) / 2, back])
    torch.testing.assert_close(asked.cond.embedding, expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(asked.uncond.embedding, prior.row("").expand(3, -1)) and asked.negatives == ()


@pytest.mark.parametrize("negative", [None, "ugly"])
def test_a_prior_that_is_told_the_camera_gets_two_plain_rows(negative):
    prior = Words(camera_conditioned=True)
    settings = PromptConfig(negative=negative, perp_neg=1.0)
    prompts = encode_prompts(prior, "a mug", settings)
    assert isinstance(prompts, TextEmbedding) and prior.encoded == ["a mug", negative or ""]


def test_without_view_words_all_sides_are_asked_the_same():
    prior = Words()
    prompts = encode_prompts(prior, "a mug", PromptConfig(view_dependent=False, negative="ugly"))
    assert prior.encoded == ["a mug", "ugly"]
    asked = prompts.conditioning(at(0.0, 180.0))
    assert torch.equal(asked.cond.embedding, prior.row("a mug").expand(2, -1))
    assert torch.equal(asked.uncond.embedding, prior.row("ugly").expand(2, -1))


def test_perp_neg_keeps_a_negative_prompt_apart():
    prior = Words()
    prompts = encode_prompts(prior, "a mug", PromptConfig(view_dependent=False, negative="ugly", perp_neg=2.0))
    assert isinstance(prompts, ViewPrompts) and prior.encoded == ["a mug", "", "ugly"]
    asked = prompts.conditioning(at(0.0, 180.0))
    ((text, strength),) = asked.negatives
    assert torch.equal(text.embedding, prior.row("ugly").expand(2, -1)) and strength.tolist() == [2, 2]
    assert torch.equal(asked.uncond.embedding, prior.row("").expand(2, -1))


def test_perp_neg_forbids_the_views_that_a_camera_does_not_see():
    prompts = encode_prompts(Words(), "a mug", PromptConfig(perp_neg=1.0))
    cameras = at(*range(0, 361, 15))
    (front, of_front), (side, of_side) = prompts.conditioning(cameras).negatives
    assert torch.equal(front.embedding[0], Words.row("a mug, front view"))
    assert torch.equal(side.embedding[0], Words.row("a mug, side view"))
    pairs = zip(of_front.tolist(), of_side.tolist(), strict=True)
    by_azimuth = dict(zip(range(0, 361, 15), pairs, strict=True))
    most = 1 - math.exp(-0.5)
    assert by_azimuth[0] == pytest.approx((0, most), abs=1e-6)
    assert by_azimuth[90] == pytest.approx((most, 0), abs=1e-6)
    assert by_azimuth[180] == pytest.approx((most, most), abs=1e-6)
    share = torch.linspace(0, 1, 11)
    assert (perp_neg_strength(share).diff() < 0).all() and float(perp_neg_strength(share)[-1]) == pytest.approx(
        0, abs=1e-7
    )


def test_perpendicular_parts_are_orthogonal_and_complete():
    generator = torch.Generator().manual_seed(0)
    of, to = (torch.randn(5, 3, 4, 4, generator=generator) for _ in range(2))
    across = perpendicular_component(of, to)
    torch.testing.assert_close((across * to).flatten(1).sum(1), torch.zeros(5), atol=1e-4, rtol=0)
    along = of - across  # a multiple of ``to``
    ratio = (along / to).flatten(1)
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio), atol=1e-3, rtol=1e-3)
    assert torch.equal(perpendicular_component(of, torch.zeros_like(to)), of), "nothing to be perpendicular to"


def test_perp_neg_leaves_the_prompts_direction_alone():
    """Its equation: uncond + s (d - sum w n_perp), so the part along the prompt is plain guidance's."""
    prior, cameras = Words(), at(20.0, 100.0, 170.0)
    x_t, t, scale = torch.zeros(3, 3, 4, 4), torch.full((3,), 0.5), 3.0

    def ask(prompts):
        return CFGDenoiser(prior, prompts, cameras, views=1)(x_t, t, scale)

    plain = ask(encode_prompts(prior, "a mug", PromptConfig()))
    prompts = encode_prompts(prior, "a mug", PromptConfig(negative="ugly", perp_neg=1.5))
    mixed = ask(prompts)
    assert prior.calls == [6, 15], "one call, for all the sentences at once"
    asked = prompts.conditioning(cameras)
    cond, uncond = (text.embedding.view(3, 3, 4, 4) for text in (asked.cond, asked.uncond))
    direction = cond - uncond
    difference = mixed - plain
    torch.testing.assert_close((difference * direction).flatten(1).sum(1), torch.zeros(3), atol=1e-3, rtol=0)
    by_hand = uncond + scale * direction
    for text, strength in asked.negatives:
        for i in range(3):
            n, d = (text.embedding[i].view(3, 4, 4) - uncond[i]).flatten(), direction[i].flatten()
            by_hand[i] -= scale * strength[i] * (n - (n @ d) / (d @ d) * d).view(3, 4, 4)
    torch.testing.assert_close(mixed, by_hand, atol=1e-4, rtol=1e-4)
    assert difference.abs().max() > 0.1


def test_guidance_of_zero_and_one():
    prior, cameras = Words(), at(20.0, 100.0)
    prompts, zero = encode_prompts(prior, "a mug", PromptConfig(negative="ugly")), torch.zeros(2, 3, 4, 4)
    asked = prompts.conditioning(cameras)
    for scale, text in ((0.0, asked.uncond), (1.0, asked.cond)):
        x0 = CFGDenoiser(prior, prompts, cameras, views=1)(zero, torch.zeros(2), scale)
        torch.testing.assert_close(x0.flatten(1), text.embedding)


def test_mixing_takes_the_pooled_vector_along():
    text = TextEmbedding(torch.eye(2)[:, None, :], torch.tensor([[1.0], [3.0]]))
    mixed = text.mix(torch.tensor([[0.25, 0.75]]))
    assert mixed.embedding.tolist() == [[[0.25, 0.75]]] and mixed.pooled.tolist() == [[2.5]]
    assert len(TextEmbedding.cat([text, mixed])) == 3 and TextEmbedding.cat([text, mixed]).pooled.shape == (3, 1)


@pytest.mark.parametrize(
    ("values", "told", "words"),
    [
        ({"guidance.scale": 100.0}, False, None),
        ({}, True, None),
        ({}, False, "guidance.scale = 1 is low"),
        ({"prompts.negative": "ugly"}, True, "raise it"),
        ({"prompts.negative": "a quixnar", "guidance.scale": 9.0}, True, "'words' does not know it"),
        ({"prompts.perp_neg": 1.0}, True, "perp_neg has no effect"),
        ({"prompts.perp_neg": 1.0, "prompts.negative": "ugly", "guidance.scale": 50.0}, False, None),
    ],
)
def test_what_has_no_effect_is_said(values, told, words):
    notes = prompt_warnings(Words(told), "a mug", override_config(Config(), values))
    assert (notes == []) if words is None else any(words in note for note in notes)


def test_a_prompt_that_cannot_be_served_is_an_error():
    with pytest.raises(InputError, match="unknown"):
        prompt_warnings(Words(), "a quixnar", Config())
