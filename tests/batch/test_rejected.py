"""Rejected assets are made with seeds that were never tried, and nothing is lost on the way."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from dreamfusion3d.batch import rejected, reviews, state
from dreamfusion3d.batch.plan import Item
from dreamfusion3d.cli import main, report
from dreamfusion3d.core.config import resolve_config
from tests.batch import test_contact_sheet as test_sheet

faked = test_sheet.faked


def call(manifest: Path, out: Path, *more: str) -> int:
    return report.run_app(
        main.app, ["batch", str(manifest), "--out", str(out), "--quiet", "--max-attempts", "1", *more]
    )


def reject(out: Path, *names: str) -> None:
    with reviews.edit_reviews(out) as review:
        for name in names:
            change = {"verdict": "reject", "note": f"no {name}"}
            reviews.apply_decision(review, name, rejected.asset_sha256(out / name) or "", change, {})


def seed_of(out: Path, name: str) -> int:
    return json.loads((out / name / "asset.json").read_text())["seed"]


@pytest.fixture
def batch(faked: None, tmp_path: Path) -> tuple[Path, Path]:
    manifest, out = tmp_path / "m.csv", tmp_path / "out"
    manifest.write_text('prompt,seeds\ngood,\nbetter,"3,4"\n')
    assert call(manifest, out) == 0
    return manifest, out


def test_rejected_rows_are_made_with_new_seeds(batch: tuple[Path, Path]) -> None:
    manifest, out = batch
    with reviews.edit_reviews(out) as review:
        sha256 = rejected.asset_sha256(out / "better_s4") or ""
        reviews.apply_decision(review, "better_s4", sha256, {"verdict": "approve"}, {})
    reject(out, "good", "better_s3")
    old = rejected.asset_sha256(out / "good")
    assert call(manifest, out, "--retry-rejected", "--dry-run") == 0 and seed_of(out, "good") == 0
    assert call(manifest, out, "--retry-rejected") == 0
    assert [seed_of(out, n) for n in ("good", "better_s3", "better_s4")] == [1, 5, 4]
    review = reviews.read_reviews(out)
    assert list(review.decisions) == ["better_s4"], "a verdict is not carried to the new asset"
    first = next(e for e in review.replaced if e["name"] == "good")
    by = {"seed": 1, "sha256": rejected.asset_sha256(out / "good")}
    assert first == {"name": "good", "seed": 0, "sha256": old, "verdict": "reject", "note": "no good", "by": by}
    assert not rejected.staging_folder(out).exists() or not list(rejected.staging_folder(out).glob("*/asset.json"))
    # the plain command finds every row done, and makes none
    assert call(manifest, out) == 0 and [seed_of(out, n) for n in ("good", "better_s3")] == [1, 5]
    assert json.loads((out / "batch.json").read_text())["there"] == 3
    assert call(manifest, out, "--retry-rejected") == 0 and len(reviews.read_reviews(out).replaced) == 2
    reject(out, "good")
    assert call(manifest, out, "--retry-rejected") == 0 and seed_of(out, "good") == 2


def test_the_plan_as_json_is_json_alone(batch: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    manifest, out = batch

    def events(*more: str) -> list[dict[str, object]]:
        capsys.readouterr()
        assert call(manifest, out, "--retry-rejected", "--json", *more) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    assert [e["event"] for e in events()] == ["end"]
    reject(out, "better_s3")
    plan, estimate = events("--dry-run")
    assert (plan["event"], plan["name"], plan["seed"]) == ("plan", "better_s3", 5)
    assert plan["standing"] == "rejected"
    assert (estimate["event"], estimate["assets"]) == ("estimate", 1)


def test_what_fails_leaves_the_rejected(faked: None, tmp_path: Path) -> None:
    manifest, out = tmp_path / "m.csv", tmp_path / "out"
    manifest.write_text("prompt\npoison\n")
    test_sheet.asset(out, "poison", "poison")
    reject(out, "poison")
    before = (out / "poison" / "asset.json").read_bytes()
    assert call(manifest, out, "--retry-rejected") == 1
    assert (out / "poison" / "asset.json").read_bytes() == before
    review = reviews.read_reviews(out)
    assert review.decisions["poison"]["verdict"] == "reject" and not review.replaced


@pytest.mark.parametrize("moment", ["before the first move", "between the moves"])
def test_a_kill_between_is_made_good(batch: tuple[Path, Path], moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest, out = batch
    reject(out, "good")
    kept = state.remove_asset_folders

    def die(*_: object) -> None:
        if moment == "between the moves":
            kept(*_)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(state, "remove_asset_folders", die)
    assert call(manifest, out, "--retry-rejected") == 130
    monkeypatch.setattr(state, "remove_asset_folders", kept)
    assert call(manifest, out) == 0
    assert seed_of(out, "good") == 1 and len(reviews.read_reviews(out).replaced) == 1
    assert json.loads((out / "batch.json").read_text())["there"] == 3


def test_the_kept_seed_stays_the_only_one(faked: None, tmp_path: Path) -> None:
    manifest, out = tmp_path / "m.csv", tmp_path / "out"
    manifest.write_text("prompt\nflawed\n")
    best = ("--seeds", "3", "--keep", "best")
    assert call(manifest, out, *best) == 0
    (name,) = (p.parent.name for p in out.glob("*/asset.json"))
    assert name == "flawed_s2"
    reject(out, name)
    assert call(manifest, out, *best, "--retry-rejected") == 0 and seed_of(out, name) == 3
    assert call(manifest, out, *best) == 0
    assert [p.parent.name for p in out.glob("*/asset.json")] == [name] and seed_of(out, name) == 3


def test_new_seeds_never_meet(tmp_path: Path) -> None:
    last = 2**63 - 1
    items = [Item(f"m{s}", "a mug", s, resolve_config(), "standard", 1, i) for i, s in enumerate((0, 1, last))]
    for item in items:
        test_sheet.asset(tmp_path, item.name, "a mug")
    reject(tmp_path, *(item.name for item in items))
    found = rejected.reseed_rejected(tmp_path, items, reviews.read_reviews(tmp_path))
    assert [i.seed for i in found] == [2, 3, 4]
    assert found == rejected.reseed_rejected(tmp_path, items, reviews.read_reviews(tmp_path)), "shards agree"


def test_retry_rejected_needs_a_batch_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(tmp_path / "m.csv", tmp_path, "--retry-rejected") == 2
    assert "not the folder of a batch" in capsys.readouterr().err and os.listdir(tmp_path) == []
