"""Contact sheet: complete, offline and safe. Batch command: output, exit codes and files."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from dreamfusion3d.batch import contact_sheet
from dreamfusion3d.batch.worker import Task, make_asset
from dreamfusion3d.cli import main, report
from dreamfusion3d.core.config import config_to_dict, resolve_config
from dreamfusion3d.core.progress import QuietProgress
from tests.support.fakes import num_attempts, write_fake_item
from tests.support.pipelines import TINY_SETTINGS, FakePrior, make_ball


def test_render_contact_sheet_escapes_hostile_prompts(tmp_path: Path) -> None:
    hostile = "</script><img src=x onerror=alert(1)> =HYPERLINK(1) {{x}}"
    write_fake_item(tmp_path, "one", hostile)
    write_fake_item(tmp_path, "two", "plain")
    Image.new("RGBA", (512, 512), (255, 0, 0, 128)).save(tmp_path / "two" / "thumbnail.png")
    (tmp_path / "one" / "thumbnail.png").write_bytes(b"no image")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "asset.json").write_text('{"prompt": 3}')
    (tmp_path / "review.json").write_text('{"verdicts": {"two": {"verdict": "reject", "note": "</script>"}}}')
    page = contact_sheet.write_contact_sheet(tmp_path).read_text(encoding="utf-8")
    assert page.count("</script>") == 2 and "<img src=x" not in page
    assert not re.findall(r"(?:src|href)=[\"']?(?!data:,)\w+:|https?://|@import|url\(", page)
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert match
    data = json.loads(match[1])
    assert [a["prompt"] for a in data["assets"]] == [hostile, "plain"]
    assert data["assets"][0]["thumbnail"] is None
    assert data["assets"][1]["thumbnail"].startswith("data:image/webp;base64,")
    assert data["assets"][1]["links"] == ["two.glb"] and data["verdicts"]["two"]["verdict"] == "reject"


def test_batch_command(fake_workers: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest, out = tmp_path / "m.csv", tmp_path / "out"
    manifest.write_text("prompt\ngood\nbetter\n")
    base = ["batch", str(manifest), "--out", str(out)]
    assert report.run_app(main.app, [*base, "--dry-run"]) == 0
    plan = capsys.readouterr().out
    assert "2 assets, 2 to do" in plan and not out.exists(), "--dry-run writes nothing"
    assert report.run_app(main.app, base) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{out / 'contact_sheet.html'}\n" and "2 made" in captured.err
    assert "warning: a warning" in captured.err
    assert report.run_app(main.app, [*base, "--quiet"]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{out / 'contact_sheet.html'}\n" and captured.err == "", "nothing went wrong"
    assert report.run_app(main.app, [*base, "--quiet", "--retry-rejected"]) == 0
    assert capsys.readouterr().err == ""
    manifest.write_text("prompt\ngood\npoison\n")
    assert report.run_app(main.app, [*base, "--json", "--quiet", "--max-attempts", "1", "--shard", "2/2"]) == 1
    captured = capsys.readouterr()
    events = [json.loads(line) for line in captured.out.splitlines()]
    assert [e["event"] for e in events if e.get("name")] == ["started", "stage", "step", "failed"]
    assert events[-1]["event"] == "end" and events[-1]["failed"] == 1
    assert (out / "failures_2_of_2.jsonl").exists() and (out / "batch_2_of_2.json").exists()
    assert num_attempts(out, "good") == 1
    assert report.run_app(main.app, [*base, "--dry-run", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row.get("standing") for row in rows] == ["there", "open", None] and rows[-1]["assets"] == 1


def test_batch_command_reports_bad_rows_by_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest, out = tmp_path / "m.csv", tmp_path / "out"
    manifest.write_text('prompt,faces\na mug,3\n"",\na cup,many\n')
    assert report.run_app(main.app, ["batch", str(manifest), "--out", str(out)]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and not out.exists()
    assert [line.split(": ")[1] for line in captured.err.splitlines()] == [f"{manifest}:2", f"{manifest}:4"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--seeds", "0"], "--seeds"),
        (["--keep", "some"], "all, best"),
        (["--workers", "0"], "--workers"),
        (["--shard", "3/2"], "K/N"),
        (["--timeout", "nan"], "--timeout"),
        (["--max-attempts", "0"], "--max-attempts"),
    ],
)
def test_batch_command_rejects_bad_options(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = tmp_path / "m.csv"
    manifest.write_text("prompt\na mug\n")
    assert report.run_app(main.app, ["batch", str(manifest), "--out", str(tmp_path / "out"), *arguments]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.usefixtures("untrained")
def test_make_asset_equals_text_to_mesh(tmp_path: Path) -> None:
    config = resolve_config(sets=TINY_SETTINGS)
    task = Task("my_ball", "a ball", 0, config_to_dict(config), str(tmp_path / "batch"))
    prior = FakePrior()
    assert make_asset(prior, task, "cpu", QuietProgress()) == "made"
    alone = make_ball(tmp_path / "alone")
    made = tmp_path / "batch" / "my_ball"
    assert (made / "my_ball.glb").read_bytes() == alone.main_file.read_bytes()
    assert json.loads((made / "asset.json").read_text())["slug"] == "my_ball"
    assert make_asset(prior, task, "cpu", QuietProgress()) == "there"
    other = Task(**{**vars(task), "seed": 1})
    before = (made / "asset.json").read_bytes()
    assert make_asset(prior, other, "cpu", QuietProgress()) == "other"
    assert (made / "asset.json").read_bytes() == before
    assert make_asset(prior, Task(**{**vars(other), "overwrite": True}), "cpu", QuietProgress()) == "made"
    assert json.loads((made / "asset.json").read_text())["seed"] == 1
