"""A known scene is recovered from its photos; the same steps whether interrupted or not."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from dreamfusion3d.cameras.capture import Photos
from dreamfusion3d.cameras.orbit import orbit_cameras, sample_orbit_cameras
from dreamfusion3d.core.config import RECONSTRUCTION_QUALITY_PRESETS, Config, ReconstructionConfig, resolve_config
from dreamfusion3d.core.image_metrics import psnr, ssim
from dreamfusion3d.core.types import Render
from dreamfusion3d.fields.nerf import NerfField
from dreamfusion3d.guidance import load_guidance
from dreamfusion3d.priors.image_text.image_encoder import center_crop, load_image_encoder
from dreamfusion3d.priors.null import NullPrior
from dreamfusion3d.procedural.objects import default_spec, sample_objects_for_spec
from dreamfusion3d.procedural.posed_photos import render_photos
from dreamfusion3d.training.novel_views import DistillationLoss, SemanticConsistencyLoss
from dreamfusion3d.training.photometric import estimate_background, evaluate_views, fit_photos, photo_colors

SETS = ["optim.steps=80", "reconstruction.rays_per_step=512", "field.max_resolution=48", "render.step_size=0.04"]


def config_of(*sets: str) -> Config:
    return resolve_config(sets=[*SETS, *sets], quality_presets=RECONSTRUCTION_QUALITY_PRESETS)


@pytest.fixture(scope="module")
def photos() -> Photos:
    meaning = default_spec("mushroom")
    props = sample_objects_for_spec(meaning, 1, generator=torch.Generator().manual_seed(0))
    cameras = sample_orbit_cameras(20, generator=torch.Generator().manual_seed(1), size=32)
    return render_photos(props, 0, meaning, cameras)


def field_of(config: Config) -> NerfField:
    return NerfField(config.field, generator=torch.Generator().manual_seed(2))


def lot(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_known_scene_is_recovered(photos: Photos) -> None:
    config = config_of()
    fitted, held = photos.split(4)
    field = field_of(config)
    before = evaluate_views(field, held, config, generator=lot())
    steps = list(fit_photos(field, fitted, config, generator=lot()))
    after = evaluate_views(field, held, config, generator=lot())
    assert len(after.psnr) == 4 and after.means[0] > before.means[0] + 8 and after.means[0] > 22, after
    assert after.means[1] > before.means[1] and after.means[1] > 0.8
    assert steps[-1].index == 80 and (steps[-1].metric or "").endswith(" dB")


def test_photos_without_alpha_are_fitted_over_their_border(photos: Photos) -> None:
    grey = 90
    alpha = photos.rgba[..., 3:].float() / 255
    flat = (photos.rgba[..., :3] * alpha + (1 - alpha) * grey).round()
    opaque = torch.cat([flat, torch.full_like(alpha, 255)], -1).to(torch.uint8)
    over = dataclasses.replace(photos, rgba=opaque, masked=False)
    ground = estimate_background(over)
    assert not ground.random and ground.border_std < 0.01
    assert ground.color == pytest.approx((grey / 255,) * 3, abs=1e-6)
    config = config_of("optim.steps=40")
    field = field_of(config)
    before = evaluate_views(field, over, config, generator=lot()).means[0]
    for _ in fit_photos(field, over, config, generator=lot()):
        pass
    assert evaluate_views(field, over, config, generator=lot()).means[0] > before + 4
    noisy = dataclasses.replace(over, rgba=torch.randint_like(opaque, 256))
    assert estimate_background(noisy).border_std > 0.2


def test_resumes_to_the_same_bits(photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dreamfusion3d.training.distillation.KEEP_EVERY", 4)
    config = config_of(
        "optim.steps=14",
        "reconstruction.novel_view_interval=2",
        "reconstruction.num_novel_views=1",
        "render.resolution=24",
    )

    def begun(field: NerfField, checkpoint: Path | None):
        eye = SemanticConsistencyLoss.from_photos(
            load_image_encoder("embedded"), photos, config.reconstruction, (1.0, 1.0, 1.0)
        )
        return fit_photos(
            field,
            photos,
            config,
            generator=lot(),
            novel_view_loss=eye,
            checkpoint=checkpoint,
            preview=tmp_path / "preview.png" if checkpoint else None,
        )

    whole = field_of(config)
    for _ in begun(whole, None):
        pass
    torn = field_of(config)
    for step in begun(torn, tmp_path / "c.safetensors"):
        if step.index == 10:
            break
    again = field_of(config)
    indices = [step.index for step in begun(again, tmp_path / "c.safetensors")]
    assert indices[0] == 9, "from the checkpoint, not from the start"
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert (tmp_path / "preview.png").exists()


def test_true_colours_are_the_photos(photos: Photos) -> None:
    pixels = torch.arange(photos.rgba[..., 0].numel())
    red = torch.tensor([1.0, 0, 0]).expand(len(pixels), 3)
    shown = photo_colors(photos, pixels, red).view(*photos.rgba.shape[:3], 3)
    clear, solid = photos.rgba[..., 3] == 0, photos.rgba[..., 3] == 255
    assert clear.any() and (shown[clear] == torch.tensor([1.0, 0, 0])).all()
    assert torch.allclose(shown[solid], photos.rgba[..., :3][solid] / 255)


def slow_ssim(one: np.ndarray, two: np.ndarray) -> float:
    """Equation 13 of Wang et al. at every place, window by window."""
    place = np.arange(11) - 5
    bell = np.exp(-(place[:, None] ** 2 + place[None] ** 2) / (2 * 1.5**2))
    bell /= bell.sum()
    found = []
    for c in range(one.shape[2]):
        for i in range(one.shape[0] - 10):
            for j in range(one.shape[1] - 10):
                a, b = one[i : i + 11, j : j + 11, c], two[i : i + 11, j : j + 11, c]
                ma, mb = (bell * a).sum(), (bell * b).sum()
                va, vb = (bell * (a - ma) ** 2).sum(), (bell * (b - mb) ** 2).sum()
                cov = (bell * (a - ma) * (b - mb)).sum()
                c1, c2 = 0.01**2, 0.03**2
                top = (2 * ma * mb + c1) * (2 * cov + c2)
                found.append(top / ((ma**2 + mb**2 + c1) * (va + vb + c2)))
    return float(np.mean(found))


def test_ssim_and_psnr_are_their_formulas() -> None:
    one, two = torch.rand(2, 2, 16, 14, 3, generator=lot())
    assert ssim(one, one).tolist() == pytest.approx([1, 1])
    assert ssim(one, two).tolist() == pytest.approx(ssim(two, one).tolist())
    for i in range(2):
        assert float(ssim(one, two)[i]) == pytest.approx(slow_ssim(one[i].numpy(), two[i].numpy()), abs=1e-5)
    assert psnr(0.01) == pytest.approx(20) and psnr(0.0) == 100


def test_the_semantic_loss_asks_for_likeness(photos: Photos) -> None:
    one = photos.select([0])
    eye = load_image_encoder("embedded")
    semantic = SemanticConsistencyLoss.from_photos(eye, one, ReconstructionConfig(semantic_weight=0.5), (1.0, 1.0, 1.0))
    rgba = one.rgba.float() / 255
    rgb = (rgba[..., :3] * rgba[..., 3:]).requires_grad_(True)

    def loss(rgb: torch.Tensor) -> torch.Tensor:
        picture = Render(rgb, rgba[..., 3], torch.zeros_like(rgba[..., 3]))
        return semantic(picture, orbit_cameras([0.0], 0.0), 0.5, generator=lot())

    same = loss(rgb)
    assert float(same.detach()) == pytest.approx(0, abs=1e-5)
    other = (rgb.detach().flip(-1) * 0.7).requires_grad_(True)
    far = loss(other)
    assert 0.5 * 2 >= float(far.detach()) > 0.02
    far.backward()
    assert other.grad is not None and other.grad.abs().sum() > 0
    with torch.no_grad():  # down its gradient it is less
        assert loss(other - 2e-3 * other.grad.sign()) < far
    assert not any(p.requires_grad for p in eye.net.parameters())


def test_squares_are_cut_from_the_middle() -> None:
    wide = torch.arange(10.0).expand(1, 1, 6, 10)
    assert torch.equal(center_crop(wide, 6)[0, 0, 0], torch.arange(2.0, 8.0))
    assert center_crop(wide, 3).shape == (1, 1, 3, 3)


def test_a_prior_is_asked_of_unseen_views_alone(photos: Photos) -> None:
    """Every ``novel_view_interval`` steps, as many views as requested; its gradient reaches the field."""
    config = config_of(
        "optim.steps=5",
        "reconstruction.novel_view_interval=2",
        "reconstruction.num_novel_views=3",
        "render.resolution=16",
    )
    asked: list[int] = []

    class Teacher:
        guidance, until = None, 0.5

        def __call__(self, picture, cameras, progress, *, generator):
            asked.append(len(cameras))
            assert picture.rgb.shape == (3, 16, 16, 3)
            return 100 * picture.opacity.mean()

    plain, taught = field_of(config), field_of(config)
    for field, unseen in ((plain, None), (taught, Teacher())):
        for _ in fit_photos(field, photos, config, generator=lot(), novel_view_loss=unseen):
            pass
    assert asked == [3, 3]  # in steps 0 and 2; step 4 is beyond ``until``
    points = torch.rand(500, 3, generator=lot()) * 2 - 1
    assert taught.density(points).mean() < plain.density(points).mean()


def test_distilled_is_the_guidance_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = []

    def loss(guidance, picture, cameras, prior, text, config, progress, *, generator):
        heard.append((prior, text, progress))
        return torch.tensor(2.0)

    monkeypatch.setattr("dreamfusion3d.training.novel_views.guidance_loss", loss)
    prior, config = NullPrior("a mug"), config_of()
    text = prior.encode_text(["a mug", ""])
    taught = DistillationLoss(prior, text, config, load_guidance(config.guidance))
    picture = Render(*(torch.zeros(1, 2, 2, 3), torch.zeros(1, 2, 2), torch.zeros(1, 2, 2)))
    assert float(taught(picture, orbit_cameras([0.0], 0.0), 0.25, generator=lot())) == 2
    assert len(heard) == 1 and heard[0][0] is prior and heard[0][1] is text and heard[0][2] == 0.25
