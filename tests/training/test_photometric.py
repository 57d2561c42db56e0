"""A known scene is recovered from its photos, in the same steps whether the run is interrupted or not."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dreamfusion3d.cameras.capture import Photos
from dreamfusion3d.cameras.orbit import OrbitCameras, orbit_cameras, sample_orbit_cameras
from dreamfusion3d.core.config import RECONSTRUCTION_QUALITY_PRESETS, Config, ReconstructionConfig, resolve_config
from dreamfusion3d.core.types import Render
from dreamfusion3d.fields.nerf import NerfField
from dreamfusion3d.priors.image_text.image_encoder import load_image_encoder
from dreamfusion3d.procedural.objects import default_spec, sample_objects_for_spec
from dreamfusion3d.procedural.posed_photos import render_photos
from dreamfusion3d.training import loop
from dreamfusion3d.training.distillation_loss import DistillationLoss
from dreamfusion3d.training.loop import Step
from dreamfusion3d.training.novel_views import SemanticConsistencyLoss
from dreamfusion3d.training.photometric import (
    NovelViewLoss,
    estimate_background,
    evaluate_views,
    fit_photos,
    photo_colors,
)
from tests.support.training import RedPrior, make_generator

SETTINGS = ["optim.steps=80", "reconstruction.rays_per_step=512", "field.max_resolution=48", "render.step_size=0.04"]


def make_config(*settings: str) -> Config:
    return resolve_config(sets=[*SETTINGS, *settings], quality_presets=RECONSTRUCTION_QUALITY_PRESETS)


@pytest.fixture(scope="module")
def photos() -> Photos:
    spec = default_spec("mushroom")
    objects = sample_objects_for_spec(spec, 1, generator=make_generator(0))
    cameras = sample_orbit_cameras(20, generator=make_generator(1), size=32)
    return render_photos(objects, 0, spec, cameras)


def make_field(config: Config) -> NerfField:
    return NerfField(config.field, generator=make_generator(2))


def test_fit_photos_recovers_a_known_scene(photos: Photos) -> None:
    config = make_config()
    training_photos, eval_photos = photos.split(4)
    field = make_field(config)
    before = evaluate_views(field, eval_photos, config, generator=make_generator(3))
    steps = list(fit_photos(field, training_photos, config, generator=make_generator(3)))
    after = evaluate_views(field, eval_photos, config, generator=make_generator(3))
    assert len(after.psnr) == 4 and after.means[0] > before.means[0] + 8 and after.means[0] > 22, after
    assert after.means[1] > before.means[1] and after.means[1] > 0.8
    assert steps[-1].index == 80 and (steps[-1].metric or "").endswith(" dB")
    assert all(list(step.losses) == ["photometric"] for step in steps)


def test_fit_photos_puts_opaque_photos_over_the_color_of_their_border(photos: Photos) -> None:
    gray = 90
    alpha = photos.rgba[..., 3:].float() / 255
    flat = (photos.rgba[..., :3] * alpha + (1 - alpha) * gray).round()
    opaque = torch.cat([flat, torch.full_like(alpha, 255)], -1).to(torch.uint8)
    unmasked = dataclasses.replace(photos, rgba=opaque, masked=False)
    background = estimate_background(unmasked)
    assert not background.random and background.border_std < 0.01
    assert background.color == pytest.approx((gray / 255,) * 3, abs=1e-6)
    config = make_config("optim.steps=40")
    field = make_field(config)
    before = evaluate_views(field, unmasked, config, generator=make_generator(3)).means[0]
    for _ in fit_photos(field, unmasked, config, generator=make_generator(3)):
        pass
    assert evaluate_views(field, unmasked, config, generator=make_generator(3)).means[0] > before + 4
    noisy = dataclasses.replace(unmasked, rgba=torch.randint_like(opaque, 256))
    assert estimate_background(noisy).border_std > 0.2


def test_fit_photos_resumes_to_the_same_bits(photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 4)
    config = make_config(
        "optim.steps=14",
        "reconstruction.novel_view_interval=2",
        "reconstruction.num_novel_views=1",
        "render.resolution=24",
    )

    def start(field: NerfField, checkpoint: Path | None) -> Iterator[Step]:
        encoder = load_image_encoder("embedded")
        return fit_photos(
            field,
            photos,
            config,
            generator=make_generator(3),
            novel_view_loss=SemanticConsistencyLoss.from_photos(
                encoder, photos, config.reconstruction, (1.0, 1.0, 1.0)
            ),
            checkpoint=checkpoint,
            preview=tmp_path / "preview.png" if checkpoint else None,
        )

    whole, part, resumed = make_field(config), make_field(config), make_field(config)
    for _ in start(whole, None):
        pass
    for step in start(part, tmp_path / "c.safetensors"):
        if step.index == 10:
            break
    indices = [step.index for step in start(resumed, tmp_path / "c.safetensors")]
    assert indices[0] == 9, "from the checkpoint, not from the start"
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert (tmp_path / "preview.png").exists()


def test_photo_colors_are_the_photos_over_the_background(photos: Photos) -> None:
    pixels = torch.arange(photos.rgba[..., 0].numel())
    red = torch.tensor([1.0, 0, 0]).expand(len(pixels), 3)
    colors = photo_colors(photos, pixels, red).view(*photos.rgba.shape[:3], 3)
    transparent, opaque = photos.rgba[..., 3] == 0, photos.rgba[..., 3] == 255
    assert transparent.any() and (colors[transparent] == torch.tensor([1.0, 0, 0])).all()
    assert torch.allclose(colors[opaque], photos.rgba[..., :3][opaque] / 255)


def test_semantic_consistency_loss_is_least_for_the_photo_itself(photos: Photos) -> None:
    photo, encoder = photos.select([0]), load_image_encoder("embedded")
    settings = ReconstructionConfig(semantic_weight=0.5)
    semantic = SemanticConsistencyLoss.from_photos(encoder, photo, settings, (1.0, 1.0, 1.0))
    rgba = photo.rgba.float() / 255
    rgb = (rgba[..., :3] * rgba[..., 3:]).requires_grad_(True)

    def loss(rgb: torch.Tensor) -> torch.Tensor:
        image = Render(rgb, rgba[..., 3], torch.zeros_like(rgba[..., 3]))
        return semantic(image, orbit_cameras([0.0], 0.0), 0.5, generator=make_generator(3))

    assert float(loss(rgb).detach()) == pytest.approx(0, abs=1e-5)
    other = (rgb.detach().flip(-1) * 0.7).requires_grad_(True)
    other_loss = loss(other)
    assert 0.5 * 2 >= float(other_loss.detach()) > 0.02
    other_loss.backward()
    assert other.grad is not None and other.grad.abs().sum() > 0
    with torch.no_grad():
        assert loss(other - 2e-3 * other.grad.sign()) < other_loss, "it falls along its gradient"
    assert not any(p.requires_grad for p in encoder.net.parameters())


def test_fit_photos_applies_the_novel_view_loss_at_its_interval(photos: Photos) -> None:
    """Every ``novel_view_interval`` steps, to ``num_novel_views`` renders; its gradient reaches the field."""
    config = make_config(
        "optim.steps=5",
        "reconstruction.novel_view_interval=2",
        "reconstruction.num_novel_views=3",
        "render.resolution=16",
    )
    view_counts: list[int] = []

    class OpacityLoss:
        guidance, end_fraction = None, 0.5

        def __call__(
            self, image: Render, cameras: OrbitCameras, progress: float, *, generator: torch.Generator
        ) -> torch.Tensor:
            view_counts.append(len(cameras))
            assert image.rgb.shape == (3, 16, 16, 3)
            return 100 * image.opacity.mean()

    plain, supervised = make_field(config), make_field(config)
    assert all("novel_view" not in s.losses for s in fit_photos(plain, photos, config, generator=make_generator(3)))
    options = {"generator": make_generator(3), "novel_view_loss": OpacityLoss()}
    steps = list(fit_photos(supervised, photos, config, **options))
    # steps 0 and 2; step 4 is after ``end_fraction``
    assert view_counts == [3, 3] and ["novel_view" in s.losses for s in steps] == [True, False, True, False, False]
    points = torch.rand(500, 3, generator=make_generator(3)) * 2 - 1
    assert supervised.density(points).mean() < plain.density(points).mean()


def test_distillation_loss_is_a_novel_view_loss(photos: Photos) -> None:
    """It asks the prior about novel views until the last step, and its guidance goes into checkpoints."""
    settings = ["reconstruction.novel_view_interval=1", "render.resolution=16", "guidance.scale=1"]
    config, prior = make_config("optim.steps=3", *settings), RedPrior()
    prompts = prior.encode_text(["a mug", ""])
    loss = DistillationLoss.from_config(prior, prompts, config, torch.device("cpu"), pytest.fail)
    assert isinstance(loss, NovelViewLoss) and loss.end_fraction == 1.0 and loss.guidance is not None
    steps = list(fit_photos(make_field(config), photos, config, generator=make_generator(3), novel_view_loss=loss))
    assert [list(step.losses) for step in steps] == [["photometric", "novel_view"]] * 3
