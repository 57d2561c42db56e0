"""Images of the user: reading, framing and training; the trained prior knows their words."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import torch

from dreamfusion3d.cameras.orbit import turntable_cameras
from dreamfusion3d.cli import main, report
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.progress import QuietProgress
from dreamfusion3d.priors.loading import load_pixel_prior
from dreamfusion3d.priors.pixel.conditioner import UNKNOWN_CAMERA_DEG
from dreamfusion3d.priors.pixel.image_folder import (
    METADATA_FILE,
    OBJECT_FILL,
    ImageFolderDataset,
    read_image_folder,
    read_image_metadata,
    read_rgba_image,
)
from dreamfusion3d.priors.pixel.tokens import tokenize_caption, tokenize_prompt
from dreamfusion3d.priors.pixel.train_command import train_prior_folder
from tests.support.tiny import CONFIG, tiny_folder

COLORS = {"red": (220, 30, 30), "green": (30, 160, 40), "blue": (30, 60, 210)}
ANIMALS = ("corgi", "walrus")


def disc(color: tuple[int, int, int], size: int = 80, radius: int = 12, *, center: int | None = None) -> Any:
    """A disc on a transparent background."""
    y, x = np.mgrid[:size, :size]
    center = size // 2 if center is None else center
    inside = (x - center) ** 2 + (y - center) ** 2 < radius**2
    return np.concatenate([np.broadcast_to(color, (size, size, 3)), 255 * inside[..., None]], -1).astype(np.uint8)


def write(folder: Path, lines: list[dict[str, Any]]) -> Path:
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return folder


def make_folder(folder: Path, *, cameras: bool) -> Path:
    """Twelve images: two animals in three colors, each twice."""
    folder.mkdir()
    lines = []
    for i, (animal, color, azimuth) in enumerate((a, c, t) for a in ANIMALS for c in COLORS for t in (0.0, 90.0)):
        iio.imwrite(folder / f"{i}.png", disc(COLORS[color], radius=12 + 8 * ANIMALS.index(animal)))
        line = {"file_name": f"{i}.png", "text": f"A {color} {animal}", "licence": "mine"}
        if cameras:
            line |= {"azimuth_deg": azimuth, "elevation_deg": 10, "group": i // 2}
        lines.append(line)
    return write(folder, lines)


def read_dataset(folder: Path) -> ImageFolderDataset:
    return read_image_folder(folder)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("images") / "plain", cameras=False)


@pytest.fixture(scope="module")
def posed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("images") / "posed", cameras=True)


def test_tokenize_caption():
    assert tokenize_caption("a red corgi") == ["word:red", "word:corgi"]
    assert tokenize_caption("a steampunk mug") == [*tokenize_caption("a mug"), "word:steampunk"]
    assert not any(t.startswith("word:") for t in tokenize_caption("a red mug with one handle"))
    assert tokenize_caption("R2D2 the corgi") == ["word:corgi"], "words of letters alone"


def test_tokenize_prompt_with_trained_words():
    known = {"word:corgi", "word:red", "word:horse", *tokenize_caption("a mug")}
    assert tokenize_prompt("a RED corgi", known, None).tokens == tokenize_caption("a red corgi")
    result = tokenize_prompt("a tiny corgi", known, None)
    assert (result.tokens, result.ignored_words) == (["word:corgi"], ["tiny"])
    assert tokenize_prompt("a mug", known, None).tokens == tokenize_caption("a mug")
    # an unknown category does not hide the known words
    assert tokenize_prompt("a red corgi in a house", known, None).tokens == ["word:red", "word:corgi"]
    assert not tokenize_prompt("a house", known, None).tokens and not tokenize_prompt("a harmonica", known, None).tokens


def test_read_image_folder_recenters_images_without_cameras_only(plain, posed):
    free, kept = read_dataset(plain), read_dataset(posed)
    assert (
        not free.has_cameras and kept.has_cameras and free.num_backgrounds_removed == kept.num_backgrounds_removed == 0
    )
    assert len(free.groups) == 12 and [len(g) for g in kept.groups] == [2] * 6
    opacity = free.pixels[:, 3].float() / 255
    assert torch.allclose(opacity.amax((1, 2)), torch.ones(12))
    # recentered discs fill OBJECT_FILL of the side; the others keep 24 or 40 of 80 pixels
    ball = torch.pi / 4 * OBJECT_FILL**2
    torch.testing.assert_close(opacity.mean((1, 2)), torch.full((12,), ball), rtol=0.06, atol=0)
    areas = (kept.pixels[:, 3].float() / 255).mean((1, 2))
    expected = torch.tensor([torch.pi * r**2 / 80**2 for r in (12, 20) for _ in range(6)])
    torch.testing.assert_close(areas, expected, rtol=0.06, atol=0)
    # premultiplied: transparent pixels are black
    assert free.pixels[:, :3][(free.pixels[:, 3:] == 0).expand(-1, 3, -1, -1)].max() == 0
    middle = free.pixels[0, :3, 32, 32].tolist()
    assert middle == pytest.approx(COLORS["red"], abs=2)


def test_read_rgba_image_removes_a_plain_background(tmp_path):
    rgba = disc((200, 40, 40), 120, 20, center=30)
    flat = np.where(rgba[..., 3:] > 0, rgba[..., :3], 250).astype(np.uint8)
    flat[25:36, 25:36] = 250  # a background-colored patch inside the object stays
    iio.imwrite(tmp_path / "a.jpg", flat, quality=95)
    straight, transparent = read_rgba_image(tmp_path / "a.jpg")
    assert not transparent
    assert np.abs((straight[..., 3] > 0.5).astype(int) - (rgba[..., 3] > 0)).mean() < 0.01
    found = read_dataset(write(tmp_path, [{"file_name": "a.jpg", "text": "a ball"}]))
    assert found.num_backgrounds_removed == 1
    opacity = found.pixels[0, 3].float()
    center = (opacity.sum(0) * torch.arange(64)).sum() / opacity.sum()
    assert float(center) == pytest.approx(31.5, abs=0.6)


def test_batch_groups_the_views_of_an_object(plain, posed):
    generator = torch.Generator().manual_seed(0)
    alone = read_dataset(plain).batch(6, 4, generator=generator)
    assert alone.images.shape == (24, 1, 4, 64, 64) and len(alone.tokens) == 24
    assert alone.images.min() == -1 and alone.images.max() <= 1
    assert set(alone.azimuth_deg.flatten().tolist()) == {UNKNOWN_CAMERA_DEG[0]}
    dataset = read_dataset(posed)
    batch = dataset.batch(6, 4, generator=generator)
    assert batch.images.shape == (12, 2, 4, 64, 64), "as many views as an object has"
    assert all(sorted(azimuths.tolist()) == [0.0, 90.0] for azimuths in batch.azimuth_deg)
    for views, tokens in zip(batch.images, batch.tokens, strict=True):
        color = tokens[0].removeprefix("word:")
        rgb = (views[:, :3, 32, 32] + 1) * 127.5
        torch.testing.assert_close(rgb, torch.tensor([COLORS[color]] * 2).float(), atol=2, rtol=0)
    again = dataset.batch(6, 4, generator=torch.Generator().manual_seed(1))
    assert torch.equal(again.images, dataset.batch(6, 4, generator=torch.Generator().manual_seed(1)).images)


class LogRecorder(QuietProgress):
    """A progress that keeps its lines."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def log(self, message: str) -> None:
        self.lines.append(message)


def train(out: Path, images: Path, init_from: Path | str, num_images: int) -> str:
    """Train a tiny prior and return the lines of its progress."""
    progress = LogRecorder()
    train_prior_folder(
        out,
        cache_dir=out / "no cache",
        num_images=num_images,
        num_objects=0,
        init_from=str(init_from),
        device=torch.device("cpu"),
        seed=0,
        save_minutes=5.0,
        progress=progress,
        image_folder=images,
        config=replace(CONFIG, scene_steps=1, scene_step_fraction=0.5, learning_rate=6e-4, views_per_object=4),
    )
    return "\n".join(progress.lines)


def test_train_prior_folder_of_images_without_cameras(plain, tmp_path, capsys):
    out = tmp_path / "out"
    assert "no cameras" in train(out, plain, "scratch", 24)
    record = json.loads((out / "training.json").read_text())
    assert record["pictures_from"] == {"pictures": 12, "objects": 12, "cameras": False}
    prior = load_pixel_prior(str(out), mixed_precision=False)
    assert not prior.camera_conditioned
    assert prior.vocabulary == [f"word:{w}" for w in ("red", "corgi", "green", "blue", "walrus")]
    assert prior.check_prompt("a blue corgi") == []
    assert "'flying'" in prior.check_prompt("a flying walrus")[0]
    with pytest.raises(InputError, match="knows no noun in 'a mug'.*the words blue, corgi"):
        prior.check_prompt("a mug")
    text = prior.encode_text(["a red corgi", "The corgi: red!", "a red walrus", ""]).embedding
    assert torch.equal(text[0], text[1]) and not torch.equal(text[0], text[2])
    # independent of the camera and of the other views
    x = torch.randn(1, 4, 64, 64, generator=torch.Generator().manual_seed(0)).expand(2, -1, -1, -1)
    text = prior.encode_text(["a red corgi"] * 2)
    front, side = prior.denoise(x, torch.full((2,), 0.5), text, turntable_cameras(2), views=2)
    torch.testing.assert_close(front, side)
    assert report.run_app(main.app, ["vocabulary", "--prior", str(out)]) == 0
    assert capsys.readouterr().out == "words from its training images: blue, corgi, green, red, walrus\n"


def test_train_prior_folder_continues_a_prior_with_cameras(posed, tmp_path):
    start, out = tiny_folder(tmp_path / "tiny"), tmp_path / "out"
    train(out, posed, start, 24)
    prior = load_pixel_prior(str(out), mixed_precision=False)
    assert prior.camera_conditioned and prior.check_prompt("a red corgi") == []
    assert prior.check_prompt("a red mug") == [], "it still knows its first words"
    x = torch.randn(1, 4, 64, 64, generator=torch.Generator().manual_seed(0)).expand(2, -1, -1, -1)
    text = prior.encode_text(["a red corgi"] * 2)
    front, back = prior.denoise(x, torch.full((2,), 0.5), text, turntable_cameras(2))
    assert not torch.allclose(front, back)
    assert "resuming" in train(out, posed, start, 48)


PNG = {"file_name": "0.png", "text": "a corgi"}


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (None, "has no metadata.jsonl"),
        ([], "is empty"),
        (["no json"], "line 1 .* is not a JSON object"),
        ([PNG, [1]], "line 2 .* is not a JSON object"),
        ([{"text": "a corgi"}], "has no file_name"),
        ([PNG | {"text": " "}], "has no text"),
        ([{"file_name": "0.png"}], "has no text"),
        ([PNG | {"text": "the 3d model of it"}], "name the object"),
        ([PNG | {"file_name": "gone.png"}], "names gone.png, which is not in"),
        ([PNG | {"file_name": "small.png"}], "40 x 20 pixels, which is too small"),
        ([PNG | {"file_name": "text.png"}], "cannot read the image"),
        ([PNG | {"file_name": "void.png"}], "is empty"),
        ([PNG | {"file_name": "busy.png"}], "neither transparency nor a plain background"),
        ([PNG | {"azimuth_deg": 3}], "two numbers"),
        ([PNG | {"azimuth_deg": "left", "elevation_deg": 0}], "two numbers"),
        ([PNG | {"azimuth_deg": 3, "elevation_deg": 91}], "between -90 and 90"),
        ([PNG | {"azimuth_deg": 3, "elevation_deg": 9}, PNG], "1 of 2 lines"),
        ([PNG | {"group": [1]}], "must be a name or an integer"),
    ],
)
def test_read_image_folder_reports_a_bad_folder_in_one_line(lines, expected, tmp_path):
    iio.imwrite(tmp_path / "0.png", disc((9, 9, 9)))
    iio.imwrite(tmp_path / "small.png", disc((9, 9, 9), 40, 5)[:20])
    iio.imwrite(tmp_path / "void.png", disc((9, 9, 9), radius=0))
    noise = np.random.default_rng(0).integers(0, 255, (80, 80, 3), dtype=np.uint8)
    iio.imwrite(tmp_path / "busy.png", noise)
    (tmp_path / "text.png").write_text("no picture")
    if lines is not None:
        raw = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
        (tmp_path / "metadata.jsonl").write_text(raw)
    with pytest.raises(InputError, match=expected) as caught:  # before the error of a prior that does not exist
        train(tmp_path / "out", tmp_path, tmp_path / "no prior", 24)
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_read_image_metadata_with_a_bom_and_unknown_keys(tmp_path):
    iio.imwrite(tmp_path / "0.png", disc((9, 9, 9)))
    raw = json.dumps(PNG | {"mood": "\u2028"}, ensure_ascii=False)  # a line separator in Unicode, not in JSON
    (tmp_path / "metadata.jsonl").write_text(f"\ufeff{raw}\r\n\n", "utf-8")
    (line,) = read_image_metadata(tmp_path)
    assert (line.text, line.camera_deg, line.group) == ("a corgi", None, None)
    with pytest.raises(InputError, match="there is no folder"):
        read_image_metadata(tmp_path / "nowhere")
    assert METADATA_FILE == "metadata.jsonl"
