"""``vocabulary``, ``sample`` and ``train-prior``, with a prior of random weights."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import imageio.v3 as iio
import pytest
import torch
from safetensors.torch import save_file

from dreamfusion3d.cli import main, report
from dreamfusion3d.priors.loading import load_prior
from dreamfusion3d.priors.pixel import train_command
from dreamfusion3d.priors.pixel.train_state import PriorTrainConfig
from dreamfusion3d.procedural import dataset
from dreamfusion3d.procedural.categories import CATEGORIES
from dreamfusion3d.procedural.objects import COLORS
from dreamfusion3d.procedural.prompt_rules import parse_with_rules
from tests.support.tiny import tiny_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("prior") / "tiny")


def run(*arguments: object) -> int:
    return report.run_app(main.app, [str(a) for a in arguments])


def test_vocabulary_lists_every_word(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("vocabulary", "--prior", folder) == 0
    printed = capsys.readouterr().out
    for category in CATEGORIES.values():
        (line,) = [line for line in printed.splitlines() if line.split(" ")[0].rstrip(";") == category.name]
        assert all(noun in line for noun in category.synonyms)
    assert all(color in printed for color in COLORS)
    # the parser understands what is listed
    sizes = printed.splitlines()[-2].removeprefix("sizes: ").split(", ")
    assert sizes and all(not parse_with_rules(f"a {size} mug").unknown_words for size in sizes)


def test_sample(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grids = [tmp_path / "new" / "a.png", tmp_path / "b.png"]
    common = ("sample", "a steampunk mug", "--prior", folder, "--views", 2, "--steps", 2, "--out")
    for out in grids:
        assert run(*common, out) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [str(g) for g in grids]
    assert "steampunk" in captured.err
    assert iio.imread(grids[0]).shape == (64 * 3, 2 * 64 * 3, 3)
    assert grids[0].read_bytes() == grids[1].read_bytes()


def test_sample_strip_and_video(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ("sample", "a mug", "--prior", folder, "--steps", 3)
    assert run(*common, "--views", 2, "--strip", "--out", tmp_path / "strip.png") == 0
    assert iio.imread(tmp_path / "strip.png").shape == (2 * 64 * 3, 3 * 64 * 3, 3)
    assert run(*common, "--to", "a vase", "--frames", 4, "--out", tmp_path / "morph.mp4") == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "morph.mp4")
    import cv2

    video = cv2.VideoCapture(str(tmp_path / "morph.mp4"))
    frames = 0
    while video.read()[0]:
        frames += 1
    assert frames == 4
    assert run(*common, "--to", "a vase", "--out", tmp_path / "morph.png") == 2
    assert "morph.mp4" in capsys.readouterr().err


def test_train_prior_renders_trains_and_resumes(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_command, "SAMPLE_PROMPTS", ("a mug",))
    monkeypatch.setattr(train_command, "LOG_INTERVAL", 1)
    monkeypatch.setattr(train_command, "PriorTrainConfig", functools.partial(PriorTrainConfig, scene_step_fraction=0.0))
    monkeypatch.setattr(dataset, "TRAIN_IMAGE_SIZE", 16)
    out, cache = tmp_path / "out", tmp_path / "cache"
    common = ("train-prior", out, "--init-from", folder, "--cache", cache, "--num-objects", 2, "--device", "cpu")
    assert run(*common, "--num-images", 24) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert len(list(cache.iterdir())) == 1
    assert load_prior(str(out)).sha256 != load_prior(str(folder)).sha256
    assert json.loads((out / "training.json").read_text())["pictures"] == 24
    # with twice the images it trains on the rest
    assert run(*common, "--num-images", 48) == 0
    assert "resuming" in capsys.readouterr().err
    assert json.loads((out / "training.json").read_text())["pictures"] == 48
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [line["pictures"] for line in log] == [24, 48]
    assert iio.imread(out / "samples.png").shape[2] == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sample", "a mug", "--prior", "{tmp}/nowhere"), "there is no prior folder"),
        (("sample", "a mug", "--prior", "{tmp}"), "not a pixel prior"),
        (("sample", "a harmonica", "--prior", "{folder}"), "harmonica"),
        (("sample", "", "--prior", "{folder}"), "empty"),
        (("sample", "a mug", "--prior", "{folder}", "--views", "0"), "views"),
        (("sample", "a mug", "--prior", "{folder}", "--out", "{folder}/model_index.json/x.png"), "--out"),
        (("sample", "a mug", "--prior", "{folder}", "--out", "{tmp}"), "PNG"),
        (("train-prior", "{tmp}/out", "--init-from", "{tmp}/nowhere"), "no prior folder"),
        (("train-prior", "{tmp}/other", "--init-from", "{folder}"), "another network"),
        (("train-prior", "{tmp}/out", "--init-from", "{folder}", "--cache", "{tmp}/bad"), "cannot be read"),
        (("train-prior", "{tmp}/out", "--num-images", "3"), "num-images"),
        (("train-prior", "{tmp}/out", "--device", "abacus", "--cache", "{tmp}/bad"), "device"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    arguments: tuple[str, ...],
    message: str,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # invalid arguments are found before any image is rendered
    monkeypatch.setattr(dataset, "render_dataset", lambda *_, **__: pytest.fail("rendered images first"))
    (tmp_path / "other").mkdir()
    foreign = tmp_path / "other" / "checkpoint.safetensors"
    save_file({"model.x": torch.zeros(1)}, foreign, metadata={"step": "1"})
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "props.safetensors").write_bytes(b"no tensors")
    assert run(*(a.format(tmp=tmp_path, folder=folder) for a in arguments)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = [line for line in captured.err.splitlines() if not line.startswith("[1/")]
    assert len(lines) == 1 and lines[0].startswith("error: ") and message in lines[0]


def test_vocabulary_draws_categories(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tiny_folder(tmp_path / "narrow", vocabulary=["kind:mug", "kind:key"])
    assert run("vocabulary", "--prior", folder, "--image", tmp_path / "vocabulary.png") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(";")[0].split(" ")[0] for line in lines[:2]] == ["key", "mug"]
    image = iio.imread(tmp_path / "vocabulary.png")
    key, mug, blank = (image[:, 128 * i : 128 * (i + 1)] for i in range(3))
    assert key.std() > 5 and mug.std() > 5 and blank.std() == 0
    assert run("vocabulary", "--prior", folder, "--image", tmp_path / "vocabulary.txt") == 2
    assert "vocabulary.png" in capsys.readouterr().err
