"""The pixel prior: its folder, noise schedule, joint views, and errors about bad folders."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from diffusers import UNet2DModel

from dreamfusion3d.cameras.orbit import turntable_cameras
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.types import ObjectHeight, Render
from dreamfusion3d.priors.cfg import CFGDenoiser
from dreamfusion3d.priors.loading import load_prior
from dreamfusion3d.priors.pixel import unet
from dreamfusion3d.priors.pixel.conditioner import Conditioner, camera_features, procedural_vocabulary
from dreamfusion3d.priors.pixel.prior import WEIGHT_FILES, PixelPrior
from dreamfusion3d.priors.pixel.scene_volume import PALETTE_SIZE
from dreamfusion3d.priors.pixel.unet import build_unet
from dreamfusion3d.priors.protocol import Prior, TextEmbedding
from dreamfusion3d.priors.sampling import initial_noise, sample_ddim, write_image_grid
from dreamfusion3d.priors.vocabulary import EMBEDDED, embedded_folder, load_vocabulary, vocabulary_categories
from dreamfusion3d.procedural.objects import ObjectSpec
from dreamfusion3d.procedural.surfaces import DEFAULT_SURFACE
from tests.support.tiny import SIZE, tiny_folder

needs_weights = pytest.mark.skipif(
    not (embedded_folder() / "model_index.json").is_file(), reason="no weights are shipped yet"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("prior") / "tiny")


@pytest.fixture(scope="module")
def prior(folder) -> PixelPrior:
    return PixelPrior(folder, "tiny", mixed_precision=False)


def noise(count, seed=0):
    return torch.randn(count, 4, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def test_alpha_sigma_is_variance_preserving(prior):
    t = torch.linspace(0, 1, 101)
    alpha, sigma = prior.alpha_sigma(t)
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones(101))
    assert (alpha.diff() <= 0).all() and (sigma.diff() >= 0).all()
    assert alpha[0] > 0.99 and sigma[-1] > 0.99


def test_load_prior_of_a_folder(folder):
    prior = load_prior(str(folder))
    assert isinstance(prior, Prior) and prior.name == "tiny"
    text = prior.encode_text(["a mug", ""])
    x0 = prior.denoise(noise(2), torch.full((2,), 0.5), text, turntable_cameras(2, size=SIZE))
    assert x0.shape == (2, 4, SIZE, SIZE) and x0.dtype == torch.float32 and torch.isfinite(x0).all()
    assert prior.sha256 == load_prior(str(folder)).sha256


@pytest.mark.parametrize(("supported", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_bfloat16_autocast_depends_on_the_cpu(monkeypatch, supported, dtype):
    """Without support torch runs bfloat16 convolutions about fifty times slower than float32."""
    monkeypatch.setattr(unet, "_cpu_supports_bfloat16", lambda: supported)
    with unet.bfloat16_autocast(torch.device("cpu")):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


def test_denoise_in_mixed_precision_deviates_little(folder, prior):
    half = PixelPrior(folder, "tiny")
    arguments = (torch.full((2,), 0.5), prior.encode_text(["a mug", "a chair"]), turntable_cameras(2, size=SIZE))
    difference = half.denoise(noise(2), *arguments) - prior.denoise(noise(2), *arguments)
    assert difference.abs().max() < 0.1


def test_predict_image_without_deviation_is_the_scene(prior):
    def zero_network(x, timestep, class_labels):
        return SimpleNamespace(sample=x.new_zeros(len(x), 16 * unet.OUT_CHANNELS, *x.shape[-2:]))

    cameras, text = turntable_cameras(2, size=SIZE), prior.encode_text(["a mug"] * 2)
    _, colors, scene, _ = prior.networks.split_embedding(text)
    scene_images = unet.render_scene_condition(scene, cameras, SIZE, SIZE)
    guess = unet.predict_image(
        zero_network,
        prior.networks.attention,
        noise(2),
        torch.zeros(2),
        scene_images,
        colors,
        torch.zeros(2, 1),
        cameras,
        views=1,
    )
    shading, opacity = scene_images[:, :PALETTE_SIZE].mean((2, 3)), scene_images[:, PALETTE_SIZE].mean((1, 2))
    torch.testing.assert_close(guess.shading.mean((2, 3)), shading, atol=0.02, rtol=0)
    assert guess.residual.abs().max() == 0
    image = guess.image(colors)
    assert image.shape == (2, 4, SIZE, SIZE)
    expected = torch.cat([2 * torch.einsum("bp,bpc->bc", shading, colors) - 1, opacity[:, None]], 1)
    torch.testing.assert_close(image.mean((2, 3)), expected, atol=0.02, rtol=0)


def test_denoise_single_views_are_independent(prior):
    cameras, t = turntable_cameras(4, size=SIZE), torch.full((4,), 0.6)
    text = prior.encode_text(["a red mug"] * 4)
    together = prior.denoise(noise(4), t, text, cameras, views=1)
    for i in range(4):
        row = torch.tensor([i])
        alone = prior.denoise(noise(4)[row], t[row], type(text)(text.embedding[row]), cameras.select(row))
        torch.testing.assert_close(together[row], alone, rtol=1e-4, atol=1e-5)


def test_denoise_joint_views_depend_on_their_scene_only(prior):
    cameras, t = turntable_cameras(4, size=SIZE), torch.full((4,), 0.6)
    text = prior.encode_text(["a red mug"] * 4)
    x = noise(4)
    changed = x.clone()
    changed[3] = noise(4, seed=9)[3]
    difference = [
        (prior.denoise(x, t, text, cameras, views=v) - prior.denoise(changed, t, text, cameras, views=v))
        .abs()
        .amax((1, 2, 3))
        for v in (1, 2, 4)
    ]
    assert (difference[0][:3] == 0).all()
    assert (difference[1][:2] < 1e-5).all() and difference[1][2] > 1e-4
    assert (difference[2] > 1e-4).all()


def test_denoise_depends_on_prompt_and_camera_but_not_on_wording(prior):
    def denoise(prompt, azimuth):
        cameras = turntable_cameras(4, size=SIZE).select(torch.tensor([azimuth]))
        return prior.denoise(noise(1), torch.full((1,), 0.7), prior.encode_text([prompt]), cameras)

    assert torch.equal(denoise("a jug with a single handle", 0), denoise("one-handled pitcher", 0))
    assert not torch.equal(denoise("a red mug", 0), denoise("a blue mug", 0))
    assert not torch.equal(denoise("a red mug", 0), denoise("", 0))
    assert not torch.equal(denoise("a red mug", 0), denoise("a red mug", 1))


@pytest.mark.parametrize("size", [32, 64, 128])
def test_encode_keeps_means_and_gradients(prior, size):
    rgb = torch.rand(1, size, size, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    opacity = torch.full((1, size, size), 0.25)
    x = prior.encode(Render(rgb, opacity, opacity), generator=torch.Generator())
    assert x.shape == (1, 4, 64, 64)
    torch.testing.assert_close(x[:, 3], torch.full((1, 64, 64), -0.5))
    torch.testing.assert_close((x[0, :3].mean((1, 2)) + 1) / 2, rgb[0].mean((0, 1)), rtol=0, atol=0.02)
    x[:, :3].sum().backward()
    assert rgb.grad is not None and (rgb.grad > 0).all()


def test_check_prompt_with_a_narrow_vocabulary(tmp_path):
    """A folder's vocabulary may lack some procedural categories."""
    folder = tiny_folder(tmp_path / "narrow", vocabulary=ObjectSpec("mug", "red", count=1).tokens())
    assert vocabulary_categories(load_vocabulary(str(folder))) == ["mug"]
    narrow = PixelPrior(folder, "narrow", mixed_precision=False)
    assert narrow.check_prompt("a red mug") == []
    assert narrow.check_prompt("a blue mug") == ["this prior was never trained on: color blue"]
    assert "mug option" in narrow.check_prompt("a red mug with a lid")[0]
    wooden = tiny_folder(tmp_path / "wooden", vocabulary=ObjectSpec("table", count=4).tokens())
    assert PixelPrior(wooden, "wooden", mixed_precision=False).check_prompt("a wooden table") == []
    with pytest.raises(InputError, match="it knows: mug. Use"):
        narrow.check_prompt("a chair")


def test_extend_vocabulary_keeps_existing_tokens():
    old = Conditioner(["kind:mug", "kind:vase", "size:tall"], 8)
    new = old.extend_vocabulary(["kind:mug", "kind:sword", "finish:metal"])
    assert new.vocabulary == [*old.vocabulary, "kind:sword", "finish:metal"]
    view = torch.tensor([30.0]), torch.tensor([10.0])
    for tokens in (["kind:mug"], ["kind:vase", "size:tall"], []):
        one, other = (c(c.embed([c.token_ids(tokens)]), *view) for c in (old, new))
        torch.testing.assert_close(one, other)
    added = new.embedding.weight[len(old.vocabulary) + 1 :]
    assert len(added) == 2 and (added[0] - added[1]).norm() > 0.5 * old.embedding.weight.norm(dim=1).mean()
    assert torch.equal(added, old.extend_vocabulary(new.vocabulary).embedding.weight[-2:]), "the same every time"


def test_check_prompt(prior):
    assert prior.check_prompt("a red mug") == []
    (warning,) = prior.check_prompt("a steampunk mug")
    assert "steampunk" in warning
    assert "not 2" in prior.check_prompt("a chair with two handles")[0]
    with pytest.raises(InputError, match="harmonica.*it knows: airplane"):
        prior.check_prompt("a harmonica")


def test_object_height(prior, tmp_path):
    assert prior.object_height("a red mug") == ObjectHeight(0.1, "usual height of a mug")
    assert prior.object_height("a tiny cup").source == "usual height of a small mug"
    for prompt in ("a 30 cm mug", "a mug, thirty centimeters tall"):
        assert prior.object_height(prompt) == ObjectHeight(0.3, "the prompt")
        assert prior.check_prompt(prompt) == []
        text = prior.encode_text([prompt, "a mug", "a huge mug"]).embedding
        for row in text[1:]:
            torch.testing.assert_close(row, text[0], msg="the networks see no height")
    for refuse in (prior.object_height, prior.check_prompt, prior.check_solid):
        with pytest.raises(InputError, match="the prompt says 10000 m, but .* between 1 mm and 1 km"):
            refuse("a 10 km mug")
    assert "ignoring '3 cm'" in prior.check_prompt("a mug with a 3 cm handle")[0]
    narrow = tiny_folder(tmp_path / "narrow", vocabulary=ObjectSpec("mug", count=1).tokens())
    assert PixelPrior(narrow, "narrow", mixed_precision=False).object_height("a chair") is None


def test_conditioner_round_trip_and_camera_periodicity(tmp_path):
    torch.manual_seed(0)
    conditioner = Conditioner(procedural_vocabulary(), 16)
    conditioner.save(tmp_path)
    again = Conditioner.load(tmp_path)
    assert again.vocabulary == conditioner.vocabulary
    rows = [conditioner.token_ids(["kind:mug", "colour:red"]), conditioner.token_ids(["no such token"])]
    assert len(rows[0]) == 2 and rows[1] == [0]
    torch.testing.assert_close(again.embed(rows), conditioner.embed(rows), rtol=0, atol=2e-3)
    torch.testing.assert_close(  # a bag of tokens
        conditioner.embed([rows[0][::-1]]), conditioner.embed([rows[0]])
    )
    elevation = torch.tensor([20.0])
    torch.testing.assert_close(
        camera_features(torch.tensor([-90.0]), elevation),
        camera_features(torch.tensor([270.0]), elevation),
        rtol=0,
        atol=1e-5,
    )


def remove_all(folder: Path) -> None:
    shutil.rmtree(folder)


def empty(folder: Path) -> None:
    remove_all(folder)
    folder.mkdir()


def truncate(part: str):
    def damage(folder: Path) -> None:
        data = (folder / part).read_bytes()
        (folder / part).write_bytes(data[: len(data) // 2])

    return damage


def overwrite(part: str, text: str):
    def damage(folder: Path) -> None:
        (folder / part).write_text(text)

    return damage


def use_an_older_network(folder: Path) -> None:
    """The first networks had no output for the shading of palette colors."""
    older = UNet2DModel(**{**build_unet((32, 64)).config, "out_channels": 64})
    older.save_pretrained(folder / "unet", safe_serialization=True)


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (remove_all, "there is no prior folder"),
        (empty, "model_index.json is missing"),
        (lambda f: (f / WEIGHT_FILES[1]).unlink(), "conditioner/model.safetensors is missing"),
        (truncate(WEIGHT_FILES[0]), "damaged"),
        (truncate(WEIGHT_FILES[1]), "damaged"),
        (overwrite(WEIGHT_FILES[0], ""), "damaged"),
        (overwrite("unet/config.json", "{"), "damaged"),
        (overwrite("unet/config.json", "{}"), "damaged"),
        (overwrite("scheduler/scheduler_config.json", "no"), "damaged"),
        (overwrite("conditioner/config.json", "{}"), "damaged"),
        (overwrite("conditioner/config.json", '{"vocabulary": ["a"], "width": 128}'), "damaged"),
        (use_an_older_network, "trained by an incompatible version"),
    ],
)
def test_load_prior_reports_a_bad_folder_in_one_line(folder, tmp_path, damage, expected):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    damage(copy)
    with pytest.raises(InputError, match=expected) as caught:
        load_prior(str(copy)).check_prompt("a mug")
    message = str(caught.value)
    assert "\n" not in message and str(copy) in message and "omit --prior" in message


def test_load_prior_of_an_incomplete_installation(monkeypatch, tmp_path):
    for module in ("vocabulary", "pixel.prior", "pixel.folder"):
        monkeypatch.setattr(f"dreamfusion3d.priors.{module}.embedded_folder", lambda: tmp_path / "none")
    with pytest.raises(InputError, match="install dreamfusion3d again") as caught:
        load_prior(EMBEDDED)
    assert "--prior" not in str(caught.value)


def test_initial_volume_has_the_surfaces_of_the_prompt(prior):
    text = prior.encode_text(["a red metal mug", "", "a mug"])
    spec = ObjectSpec("mug", "red", count=1, material="metal")
    metal, unknown, natural = (prior.initial_volume(text.select(slice(i, i + 1)), 9).material for i in range(3))
    assert metal[..., 1].all() and metal[0, 0, 0].tolist() == pytest.approx(list(spec.part_surfaces()[0]))
    assert torch.equal(unknown, torch.tensor(DEFAULT_SURFACE).expand(9, 9, 9, 2))
    assert not natural[..., 1].any() and natural[..., 0].max() < 0.5, "glazed"


def test_sample_ddim_is_repeatable(prior):
    def sample():
        cameras = turntable_cameras(2, size=SIZE)
        text = prior.encode_text(["a mug", ""])
        *_, x0 = sample_ddim(prior, text, cameras, steps=3, views=2, noise=initial_noise(cameras, seed=3))
        return x0

    assert torch.equal(sample(), sample())
    assert sample().abs().max() <= 1


def test_cfg_denoiser_with_one_prompt_per_image(prior):
    """The video that morphs between two prompts relies on it."""
    cameras = turntable_cameras(2, size=SIZE)
    mug, vase, empty = prior.encode_text(["a mug", "a vase", ""]).embedding.split(1)
    x, t = noise(2), torch.full((2,), 0.7)
    both = CFGDenoiser(prior, TextEmbedding(torch.cat([mug, vase, empty])), cameras, views=1)(x, t, 3.0)
    for row, prompt in enumerate((mug, vase)):
        alone = CFGDenoiser(prior, TextEmbedding(torch.cat([prompt, empty])), cameras, views=1)(x, t, 3.0)
        torch.testing.assert_close(both[row], alone[row], atol=1e-5, rtol=1e-4)


def test_write_image_grid_over_a_checkerboard(tmp_path):
    import imageio.v3 as iio

    red = torch.full((3, 4, 8, 8), -1.0)
    red[:2, 0], red[:2, 3] = 1, 1
    write_image_grid(red, tmp_path / "grid.png", columns=2, upscale=2)
    grid = iio.imread(tmp_path / "grid.png")
    assert grid.shape == (32, 32, 3)
    assert (grid[:16] == [255, 0, 0]).all()
    assert grid[16:, :16].min() > 200 and (grid[16:, 16:] == 255).all()


@needs_weights
def test_load_prior_embedded_weights():
    size = sum(p.stat().st_size for p in embedded_folder().rglob("*") if p.is_file())
    assert size <= 64e6
    prior = load_prior()
    assert prior.name == EMBEDDED
    cameras, text = turntable_cameras(4), prior.encode_text(["a red mug", ""])
    *_, x0 = sample_ddim(prior, text, cameras, steps=12, scale=2.0, views=4, noise=initial_noise(cameras, seed=0))
    rgb, opacity = (x0[:, :3] + 1) / 2, (x0[:, 3] + 1) / 2
    is_opaque = opacity > 0.9
    assert 0.05 < is_opaque.float().mean() < 0.7
    color = rgb.permute(0, 2, 3, 1)[is_opaque].mean(0)
    assert color[0] > 2 * color[1] and color[0] > 2 * color[2]
    assert opacity[:, 0].mean() < 0.1, "the border is empty"
