"""Pictures of the user's own: read, framed, learned from; the prior they make serves their words."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import torch

from dreamfusion3d.cameras.orbit import turntable_cameras
from dreamfusion3d.cli import main, report
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.priors.loading import load_pixel_prior
from dreamfusion3d.priors.pixel import image_folder, train_command
from dreamfusion3d.priors.pixel.conditioner import UNKNOWN_CAMERA_DEG
from dreamfusion3d.priors.pixel.image_folder import (
    OBJECT_FILL,
    ImageFolderDataset,
    read_image_folder,
    read_image_metadata,
    read_rgba_image,
)
from dreamfusion3d.priors.pixel.tokens import tokenize_caption, tokenize_prompt
from dreamfusion3d.priors.pixel.train_state import PriorTrainConfig
from tests.support.tiny import CONFIG, tiny_folder

COLOURS = {"red": (220, 30, 30), "green": (30, 160, 40), "blue": (30, 60, 210)}
ANIMALS = ("corgi", "walrus")


def disc(colour: tuple[int, int, int], size: int = 80, radius: int = 12, *, middle: int | None = None) -> Any:
    """A round thing on nothing."""
    y, x = np.mgrid[:size, :size]
    at = size // 2 if middle is None else middle
    inside = (x - at) ** 2 + (y - at) ** 2 < radius**2
    return np.concatenate([np.broadcast_to(colour, (size, size, 3)), 255 * inside[..., None]], -1).astype(np.uint8)


def write(folder: Path, lines: list[dict[str, Any]]) -> Path:
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return folder


def folder_of(folder: Path, *, cameras: bool) -> Path:
    """Twelve pictures: two animals in three colours, each twice."""
    folder.mkdir()
    lines = []
    for i, (animal, colour, turn) in enumerate((a, c, t) for a in ANIMALS for c in COLOURS for t in (0.0, 90.0)):
        iio.imwrite(folder / f"{i}.png", disc(COLOURS[colour], radius=12 + 8 * ANIMALS.index(animal)))
        line = {"file_name": f"{i}.png", "text": f"A {colour} {animal}", "licence": "mine"}
        if cameras:
            line |= {"azimuth_deg": turn, "elevation_deg": 10, "group": i // 2}
        lines.append(line)
    return write(folder, lines)


def pictures_of(folder: Path) -> ImageFolderDataset:
    *_, (_, _, found) = read_image_folder(folder)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of(tmp_path_factory.mktemp("own") / "plain", cameras=False)


@pytest.fixture(scope="module")
def posed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of(tmp_path_factory.mktemp("own") / "posed", cameras=True)


def test_a_caption_is_its_meaning_and_the_words_left_over():
    assert tokenize_caption("a red corgi") == ["word:red", "word:corgi"]
    assert tokenize_caption("a steampunk mug") == [*tokenize_caption("a mug"), "word:steampunk"]
    assert not any(t.startswith("word:") for t in tokenize_caption("a red mug with one handle"))
    assert tokenize_caption("R2D2 the corgi") == ["word:corgi"], "words of letters alone"


def test_a_prompt_is_told_by_the_words_that_were_taught():
    known = {"word:corgi", "word:red", "word:horse", *tokenize_caption("a mug")}
    assert tokenize_prompt("a RED corgi", known, None).tokens == tokenize_caption("a red corgi")
    told = tokenize_prompt("a tiny corgi", known, None)
    assert (told.tokens, told.ignored_words) == (["word:corgi"], ["tiny"])
    assert tokenize_prompt("a mug", known, None).tokens == tokenize_caption("a mug")
    # a kind that was not taught does not take the words along
    assert tokenize_prompt("a red corgi in a house", known, None).tokens == ["word:red", "word:corgi"]
    assert (
        not tokenize_prompt("a house", known, None).has_known_tokens
        and not tokenize_prompt("a hamburger", known, None).has_known_tokens
    )


def test_pictures_keep_their_frame_where_the_camera_explains_it(plain, posed):
    free, kept = pictures_of(plain), pictures_of(posed)
    assert (
        not free.has_cameras and kept.has_cameras and free.num_backgrounds_removed == kept.num_backgrounds_removed == 0
    )
    assert len(free.groups) == 12 and [len(g) for g in kept.groups] == [2] * 6
    opacity = free.pixels[:, 3].float() / 255
    assert torch.allclose(opacity.amax((1, 2)), torch.ones(12))
    # a disc that fills FILL of the side, whatever its size was; in the frame it had, 24 or 40 of 80 pixels
    ball = torch.pi / 4 * OBJECT_FILL**2
    torch.testing.assert_close(opacity.mean((1, 2)), torch.full((12,), ball), rtol=0.06, atol=0)
    areas = (kept.pixels[:, 3].float() / 255).mean((1, 2))
    expected = torch.tensor([torch.pi * r**2 / 80**2 for r in (12, 20) for _ in range(6)])
    torch.testing.assert_close(areas, expected, rtol=0.06, atol=0)
    # premultiplied: nothing is coloured where nothing is
    assert free.pixels[:, :3][(free.pixels[:, 3:] == 0).expand(-1, 3, -1, -1)].max() == 0
    middle = free.pixels[0, :3, 32, 32].tolist()
    assert middle == pytest.approx(COLOURS["red"], abs=2)


def test_an_object_off_the_middle_is_centred_and_a_plain_background_goes(tmp_path):
    picture = disc((200, 40, 40), 120, 20, middle=30)
    flat = np.where(picture[..., 3:] > 0, picture[..., :3], 250).astype(np.uint8)
    flat[25:36, 25:36] = 250  # a white patch within the object is the object's
    iio.imwrite(tmp_path / "a.jpg", flat, quality=95)
    straight, transparent = read_rgba_image(tmp_path / "a.jpg")
    assert not transparent
    assert np.abs((straight[..., 3] > 0.5).astype(int) - (picture[..., 3] > 0)).mean() < 0.01
    found = pictures_of(write(tmp_path, [{"file_name": "a.jpg", "text": "a ball"}]))
    assert found.num_backgrounds_removed == 1
    opacity = found.pixels[0, 3].float()
    place = (opacity.sum(0) * torch.arange(64)).sum() / opacity.sum()
    assert float(place) == pytest.approx(31.5, abs=0.6)


def test_batches_are_of_views_that_belong_together(plain, posed):
    generator = torch.Generator().manual_seed(0)
    alone = pictures_of(plain).batch(6, 4, generator=generator)
    assert alone.images.shape == (24, 1, 4, 64, 64) and len(alone.tokens) == 24
    assert alone.images.min() == -1 and alone.images.max() <= 1
    assert set(alone.azimuth_deg.flatten().tolist()) == {UNKNOWN_CAMERA_DEG[0]}
    pictures = pictures_of(posed)
    batch = pictures.batch(6, 4, generator=generator)
    assert batch.images.shape == (12, 2, 4, 64, 64), "as many views as an object has"
    assert all(sorted(turns.tolist()) == [0.0, 90.0] for turns in batch.azimuth_deg)
    for views, tokens in zip(batch.images, batch.tokens, strict=True):
        colour = tokens[0].removeprefix("word:")
        rgb = (views[:, :3, 32, 32] + 1) * 127.5
        torch.testing.assert_close(rgb, torch.tensor([COLOURS[colour]] * 2).float(), atol=2, rtol=0)
    again = pictures.batch(6, 4, generator=torch.Generator().manual_seed(1))
    assert torch.equal(again.images, pictures.batch(6, 4, generator=torch.Generator().manual_seed(1)).images)


def train(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    small = functools.partial(
        PriorTrainConfig,
        widths=CONFIG.widths,
        scene_channels=CONFIG.scene_channels,
        scene_steps=1,
        scene_images_per_step=6,
        images_per_step=4,
        warmup_steps=1,
    )
    monkeypatch.setattr(train_command, "PriorTrainConfig", small)
    monkeypatch.setattr(train_command, "NUM_CAPTION_SAMPLES", 1)
    return report.run_app(main.app, [str(a) for a in ("train-prior", *arguments, "--device", "cpu")])


def test_without_cameras_the_folder_is_a_prior_that_is_told_none(plain, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    assert train(monkeypatch, out, "--image-folder", plain, "--init-from", "scratch", "--num-images", 24) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{out}\n" and "no cameras" in captured.err
    record = json.loads((out / "training.json").read_text())
    assert record["pictures_from"] == {"pictures": 12, "objects": 12, "cameras": False}
    prior = load_pixel_prior(str(out), mixed_precision=False)
    assert not prior.camera_conditioned
    assert prior.conditioner.vocabulary == [f"word:{w}" for w in ("red", "corgi", "green", "blue", "walrus")]
    assert prior.check_prompt("a blue corgi") == []
    assert "'flying'" in prior.check_prompt("a flying walrus")[0]
    with pytest.raises(InputError, match="knows no noun in 'a mug'.*the words blue, corgi"):
        prior.check_prompt("a mug")
    text = prior.encode_text(["a red corgi", "The corgi: red!", "a red walrus", ""]).embedding
    assert torch.equal(text[0], text[1]) and not torch.equal(text[0], text[2])
    # wherever the camera stands, and whatever is beside it
    x = torch.randn(1, 4, 64, 64, generator=torch.Generator().manual_seed(0)).expand(2, -1, -1, -1)
    asked = prior.encode_text(["a red corgi"] * 2)
    front, side = prior.denoise(x, torch.full((2,), 0.5), asked, turntable_cameras(2), views=2)
    torch.testing.assert_close(front, side)
    assert report.run_app(main.app, ["vocabulary", "--prior", str(out)]) == 0
    assert capsys.readouterr().out == "words from its training images: blue, corgi, green, red, walrus\n"


def test_a_prior_goes_on_with_pictures_and_cameras(posed, tmp_path, monkeypatch, capsys):
    start, out = tiny_folder(tmp_path / "tiny"), tmp_path / "out"
    arguments = (out, "--image-folder", posed, "--init-from", start, "--num-images")
    assert train(monkeypatch, *arguments, 24) == 0
    prior = load_pixel_prior(str(out), mixed_precision=False)
    assert prior.camera_conditioned and prior.check_prompt("a red corgi") == []
    assert prior.check_prompt("a red mug") == [], "what it knew"
    x = torch.randn(1, 4, 64, 64, generator=torch.Generator().manual_seed(0)).expand(2, -1, -1, -1)
    asked = prior.encode_text(["a red corgi"] * 2)
    front, back = prior.denoise(x, torch.full((2,), 0.5), asked, turntable_cameras(2))
    assert not torch.allclose(front, back)
    assert train(monkeypatch, *arguments, 48) == 0
    assert "going on" in capsys.readouterr().err


PNG = {"file_name": "0.png", "text": "a corgi"}


@pytest.mark.parametrize(
    ("lines", "words"),
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
        ([PNG | {"file_name": "text.png"}], "is no picture"),
        ([PNG | {"file_name": "void.png"}], "is empty"),
        ([PNG | {"file_name": "busy.png"}], "neither transparency nor a plain background"),
        ([PNG | {"azimuth_deg": 3}], "two numbers"),
        ([PNG | {"azimuth_deg": "left", "elevation_deg": 0}], "two numbers"),
        ([PNG | {"azimuth_deg": 3, "elevation_deg": 91}], "between -90 and 90"),
        ([PNG | {"azimuth_deg": 3, "elevation_deg": 9}, PNG], "1 of 2 lines"),
        ([PNG | {"group": [1]}], "neither a name nor a number"),
    ],
)
def test_a_bad_folder_is_one_line(lines, words, tmp_path, monkeypatch, capsys):
    iio.imwrite(tmp_path / "0.png", disc((9, 9, 9)))
    iio.imwrite(tmp_path / "small.png", disc((9, 9, 9), 40, 5)[:20])
    iio.imwrite(tmp_path / "void.png", disc((9, 9, 9), radius=0))
    noise = np.random.default_rng(0).integers(0, 255, (80, 80, 3), dtype=np.uint8)
    iio.imwrite(tmp_path / "busy.png", noise)
    (tmp_path / "text.png").write_text("no picture")
    if lines is not None:
        raw = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
        (tmp_path / "metadata.jsonl").write_text(raw)
    monkeypatch.setattr(train_command, "new_train_state", lambda *_, **__: pytest.fail("a network was made first"))
    out = tmp_path / "out"
    assert train(monkeypatch, out, "--image-folder", tmp_path, "--init-from", "scratch") == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    said = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert len(said) == 1
    with pytest.raises(InputError, match=words):
        pictures_of(tmp_path)
    assert said[0] == captured.err.splitlines()[-1]


def test_what_the_metadata_may_hold_besides(tmp_path):
    iio.imwrite(tmp_path / "0.png", disc((9, 9, 9)))
    raw = json.dumps(PNG | {"mood": "\u2028"}, ensure_ascii=False)  # a line's end to Unicode, not to JSON
    (tmp_path / "metadata.jsonl").write_text(f"\ufeff{raw}\r\n\n", "utf-8")
    (line,) = read_image_metadata(tmp_path)
    assert (line.text, line.camera_deg, line.group) == ("a corgi", None, None)
    with pytest.raises(InputError, match="there is no folder"):
        read_image_metadata(tmp_path / "nowhere")
    assert image_folder.METADATA_FILE == "metadata.jsonl"
