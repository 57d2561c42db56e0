"""View-dependent prompts: weights of views, templates, negative prompts, Perp-Neg."""

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


class PromptPrior:
    """A prior that predicts a random image per prompt."""

    name, sha256 = "prompts", ""

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


def cameras_at(*azimuths: float, elevation: float = 0.0) -> OrbitCameras:
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
def test_view_weights_at_the_center_of_each_view(azimuth, elevation, view):
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


def test_view_weights_are_symmetric():
    azimuth = torch.linspace(0, 180, 37)
    same = torch.zeros(37)
    torch.testing.assert_close(view_weights(azimuth, same), view_weights(-azimuth, same), atol=1e-6, rtol=0)


def test_format_view_prompts_with_templates():
    settings = PromptConfig(back_template="{prompt} from behind, {prompt}!", overhead_template="a red disc")
    assert format_view_prompts("a mug", settings) == [
        "a mug, front view",
        "a mug, side view",
        "a mug from behind, a mug!",
        "a red disc",
    ]


def test_conditioning_blends_the_views_of_a_camera():
    prior = PromptPrior()
    prompts = encode_prompts(prior, "a mug", PromptConfig())
    assert prior.encoded == [*(f"a mug, {view} view" for view in VIEW_NAMES), ""]
    conditioning = prompts.conditioning(cameras_at(0.0, 45.0, 180.0))
    front, side, back = (prior.row(f"a mug, {view} view") for view in VIEW_NAMES[:3])
    expected = torch.stack([front, (front + side) / 2, back])
    torch.testing.assert_close(conditioning.cond.embedding, expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(conditioning.uncond.embedding, prior.row("").expand(3, -1)) and conditioning.negatives == ()


@pytest.mark.parametrize("negative", [None, "ugly"])
def test_encode_prompts_of_a_camera_conditioned_prior(negative):
    prior = PromptPrior(camera_conditioned=True)
    settings = PromptConfig(negative=negative, perp_neg=1.0)
    prompts = encode_prompts(prior, "a mug", settings)
    assert isinstance(prompts, TextEmbedding) and prior.encoded == ["a mug", negative or ""]


def test_encode_prompts_without_view_dependence():
    prior = PromptPrior()
    prompts = encode_prompts(prior, "a mug", PromptConfig(view_dependent=False, negative="ugly"))
    assert prior.encoded == ["a mug", "ugly"]
    conditioning = prompts.conditioning(cameras_at(0.0, 180.0))
    assert torch.equal(conditioning.cond.embedding, prior.row("a mug").expand(2, -1))
    assert torch.equal(conditioning.uncond.embedding, prior.row("ugly").expand(2, -1))


def test_encode_prompts_with_perp_neg_and_a_negative_prompt():
    prior = PromptPrior()
    prompts = encode_prompts(prior, "a mug", PromptConfig(view_dependent=False, negative="ugly", perp_neg=2.0))
    assert isinstance(prompts, ViewPrompts) and prior.encoded == ["a mug", "", "ugly"]
    conditioning = prompts.conditioning(cameras_at(0.0, 180.0))
    ((text, strength),) = conditioning.negatives
    assert torch.equal(text.embedding, prior.row("ugly").expand(2, -1)) and strength.tolist() == [2, 2]
    assert torch.equal(conditioning.uncond.embedding, prior.row("").expand(2, -1))


def test_conditioning_perp_neg_excludes_unseen_views():
    prompts = encode_prompts(PromptPrior(), "a mug", PromptConfig(perp_neg=1.0))
    cameras = cameras_at(*range(0, 361, 15))
    (front, front_strength), (side, side_strength) = prompts.conditioning(cameras).negatives
    assert torch.equal(front.embedding[0], PromptPrior.row("a mug, front view"))
    assert torch.equal(side.embedding[0], PromptPrior.row("a mug, side view"))
    pairs = zip(front_strength.tolist(), side_strength.tolist(), strict=True)
    by_azimuth = dict(zip(range(0, 361, 15), pairs, strict=True))
    most = 1 - math.exp(-0.5)
    assert by_azimuth[0] == pytest.approx((0, most), abs=1e-6)
    assert by_azimuth[90] == pytest.approx((most, 0), abs=1e-6)
    assert by_azimuth[180] == pytest.approx((most, most), abs=1e-6)
    view_weight = torch.linspace(0, 1, 11)
    assert (perp_neg_strength(view_weight).diff() < 0).all() and float(
        perp_neg_strength(view_weight)[-1]
    ) == pytest.approx(0, abs=1e-7)


def test_perpendicular_component_is_orthogonal_and_complete():
    generator = torch.Generator().manual_seed(0)
    x, direction = (torch.randn(5, 3, 4, 4, generator=generator) for _ in range(2))
    orthogonal = perpendicular_component(x, direction)
    torch.testing.assert_close((orthogonal * direction).flatten(1).sum(1), torch.zeros(5), atol=1e-4, rtol=0)
    ratio = ((x - orthogonal) / direction).flatten(1)  # the rest is a multiple of ``direction``
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio), atol=1e-3, rtol=1e-3)
    assert torch.equal(perpendicular_component(x, torch.zeros_like(direction)), x), "nothing to be perpendicular to"


def test_cfg_denoiser_perp_neg_keeps_the_prompts_direction():
    """Its equation: uncond + s (d - sum w n_perp), so the part along the prompt is plain guidance's."""
    prior, cameras = PromptPrior(), cameras_at(20.0, 100.0, 170.0)
    x_t, t, scale = torch.zeros(3, 3, 4, 4), torch.full((3,), 0.5), 3.0

    def denoise(prompts):
        return CFGDenoiser(prior, prompts, cameras, views=1)(x_t, t, scale)

    plain = denoise(encode_prompts(prior, "a mug", PromptConfig()))
    prompts = encode_prompts(prior, "a mug", PromptConfig(negative="ugly", perp_neg=1.5))
    mixed = denoise(prompts)
    assert prior.calls == [6, 15], "one call for all prompts"
    conditioning = prompts.conditioning(cameras)
    cond, uncond = (text.embedding.view(3, 3, 4, 4) for text in (conditioning.cond, conditioning.uncond))
    direction = cond - uncond
    difference = mixed - plain
    torch.testing.assert_close((difference * direction).flatten(1).sum(1), torch.zeros(3), atol=1e-3, rtol=0)
    by_hand = uncond + scale * direction
    for text, strength in conditioning.negatives:
        for i in range(3):
            n, d = (text.embedding[i].view(3, 4, 4) - uncond[i]).flatten(), direction[i].flatten()
            by_hand[i] -= scale * strength[i] * (n - (n @ d) / (d @ d) * d).view(3, 4, 4)
    torch.testing.assert_close(mixed, by_hand, atol=1e-4, rtol=1e-4)
    assert difference.abs().max() > 0.1


def test_cfg_denoiser_at_scale_0_and_1():
    prior, cameras = PromptPrior(), cameras_at(20.0, 100.0)
    prompts, zero = encode_prompts(prior, "a mug", PromptConfig(negative="ugly")), torch.zeros(2, 3, 4, 4)
    conditioning = prompts.conditioning(cameras)
    for scale, text in ((0.0, conditioning.uncond), (1.0, conditioning.cond)):
        x0 = CFGDenoiser(prior, prompts, cameras, views=1)(zero, torch.zeros(2), scale)
        torch.testing.assert_close(x0.flatten(1), text.embedding)


def test_text_embedding_mix_includes_the_pooled_vector():
    text = TextEmbedding(torch.eye(2)[:, None, :], torch.tensor([[1.0], [3.0]]))
    mixed = text.mix(torch.tensor([[0.25, 0.75]]))
    assert mixed.embedding.tolist() == [[[0.25, 0.75]]] and mixed.pooled.tolist() == [[2.5]]
    assert len(TextEmbedding.cat([text, mixed])) == 3 and TextEmbedding.cat([text, mixed]).pooled.shape == (3, 1)


@pytest.mark.parametrize(
    ("values", "camera_conditioned", "expected"),
    [
        ({"guidance.scale": 100.0}, False, None),
        ({}, True, None),
        ({}, False, "guidance.scale = 1 is low"),
        ({"prompts.negative": "ugly"}, True, "raise guidance.scale"),
        ({"prompts.negative": "a quixnar", "guidance.scale": 9.0}, True, "'prompts' knows none of its words"),
        ({"prompts.perp_neg": 1.0}, True, "perp_neg has no effect"),
        ({"prompts.perp_neg": 1.0, "prompts.negative": "ugly", "guidance.scale": 50.0}, False, None),
    ],
)
def test_prompt_warnings_about_settings_without_effect(values, camera_conditioned, expected):
    warnings = prompt_warnings(PromptPrior(camera_conditioned), "a mug", override_config(Config(), values))
    assert (warnings == []) if expected is None else any(expected in warning for warning in warnings)


def test_prompt_warnings_raises_for_an_unknown_prompt():
    with pytest.raises(InputError, match="unknown"):
        prompt_warnings(PromptPrior(), "a quixnar", Config())
