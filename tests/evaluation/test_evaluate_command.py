"""The command evaluate: input errors, the report, and weak categories."""

from __future__ import annotations

import json

import pytest

from dreamfusion3d.cli import main, report
from dreamfusion3d.priors.image_text import loading
from dreamfusion3d.priors.loading import load_prior
from tests.support.evaluation import MeanColorEncoder, write_asset
from tests.support.tiny import tiny_folder


@pytest.fixture(autouse=True)
def mean_color_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "load_image_text_encoder", lambda name: MeanColorEncoder())


def test_evaluate_input_errors_are_one_line(tmp_path, capsys):
    unknown = tmp_path / "unknown.txt"
    unknown.write_text("  # a comment\na harmonica\n")
    for arguments, words in (
        (("--prompts", unknown), "supports none"),
        (("--prompts", unknown, "--set", "mesh.formats=obj"), "GLB"),
        ((), "either a folder"),
        ((tmp_path,), "no finished asset"),
        ((tmp_path, "--prompts", "reporting"), "either a folder"),
        (("--prompts", tmp_path / "none.txt"), "development or reporting"),
    ):
        out = ("--out", tmp_path / "report", "--quiet")
        assert report.run_app(main.app, ["evaluate", *map(str, (*arguments, *out))]) == 2
        captured = capsys.readouterr()
        assert words in captured.err.splitlines()[-1] and captured.out == ""


def test_evaluate_mark_weak_hides_categories_from_vocabulary(tmp_path, capsys):
    folder = tiny_folder(tmp_path / "prior")
    write_asset(tmp_path / "assets" / "duck", "a duck", shown="a blue chair")
    write_asset(tmp_path / "assets" / "mug", "a red mug with one handle")
    arguments = ["evaluate", str(tmp_path / "assets"), "--out", str(tmp_path / "report")]
    assert report.run_app(main.app, [*arguments, "--prior", str(folder), "--mark-weak"]) == 0
    assert "weak categories: duck" in capsys.readouterr().err
    vocabulary = ["vocabulary", "--prior", str(folder)]
    for arguments, listed in ((vocabulary, False), ([*vocabulary, "--all"], True)):
        assert report.run_app(main.app, arguments) == 0
        lines = capsys.readouterr().out.splitlines()
        assert any(line.startswith("duck") for line in lines) == listed
        assert any(line.startswith("mug") for line in lines)
    prior = load_prior(str(folder))
    assert any("weak at" in warning for warning in prior.check_prompt("a duck"))
    assert not any("weak at" in warning for warning in prior.check_prompt("a mug"))
    (folder / "weak_kinds.json").write_text("[]")
    assert report.run_app(main.app, vocabulary) == 2
    assert "weak_kinds.json is damaged" in capsys.readouterr().err


def test_evaluate_writes_a_report(tmp_path, capsys):
    for name, prompt in (("red_mug", "a red mug with one handle"), ("blue_chair", "a blue chair")):
        write_asset(tmp_path / "assets" / name, prompt)
    # a renamed folder is evaluated, one with a damaged GLB is reported and skipped
    (tmp_path / "assets" / "red_mug").rename(tmp_path / "assets" / "my mug")
    write_asset(tmp_path / "assets" / "broken", "a duck")
    (tmp_path / "assets" / "broken" / "broken.glb").write_bytes(b"")
    out = tmp_path / "report"
    assert report.run_app(main.app, ["evaluate", str(tmp_path / "assets"), "--out", str(out)]) == 0
    captured = capsys.readouterr()
    assert "skipped" in captured.err and "broken" in captured.err
    assert captured.out == f"{out / 'report.html'}\n"
    record = json.loads((out / "report.json").read_text())
    assert set(record["summary"]) == {"assets", "ground truth", "mislabeled"}
    assert record["candidate_prompts"] == 62
    summary = record["summary"]["assets"]
    assert summary["assets"] == 2
    assert summary["category_correct"] == summary["genus_correct"] == summary["colors_correct"] == 1
    assert record["summary"]["mislabeled"]["category_correct"] == 0
    page = (out / "report.html").read_text()
    assert page.count("<div class=card>") == 2 and "a blue chair" in page and "http" not in page
    assert sorted(p.name for p in out.iterdir()) == ["report.html", "report.json"]
