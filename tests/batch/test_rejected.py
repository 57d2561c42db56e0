"""Rejected assets are remade with seeds that were never used, and nothing is lost on the way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dreamfusion3d.batch import rejected, reviews, state
from dreamfusion3d.batch.plan import Item
from dreamfusion3d.core.config import resolve_config
from tests.support.fakes import read_seed, run_batch_command, write_fake_item


def reject(out: Path, *names: str) -> None:
    with reviews.edit_reviews(out) as review:
        for name in names:
            change = {"verdict": "reject", "note": f"no {name}"}
            reviews.apply_decision(review, name, rejected.asset_sha256(out / name) or "", change, {})


@pytest.fixture
def batch(fake_workers: None, tmp_path: Path) -> tuple[Path, Path]:
    manifest, out = tmp_path / "m.csv", tmp_path / "out"
    manifest.write_text('prompt,seeds\ngood,\nbetter,"3,4"\n')
    assert run_batch_command(manifest, out) == 0
    return manifest, out


def test_retry_rejected_uses_new_seeds(batch: tuple[Path, Path]) -> None:
    manifest, out = batch
    with reviews.edit_reviews(out) as review:
        sha256 = rejected.asset_sha256(out / "better_s4") or ""
        reviews.apply_decision(review, "better_s4", sha256, {"verdict": "approve"}, {})
    reject(out, "good", "better_s3")
    old = rejected.asset_sha256(out / "good")
    assert run_batch_command(manifest, out, "--retry-rejected", "--dry-run") == 0 and read_seed(out, "good") == 0
    assert run_batch_command(manifest, out, "--retry-rejected") == 0
    assert [read_seed(out, n) for n in ("good", "better_s3", "better_s4")] == [1, 5, 4]
    review = reviews.read_reviews(out)
    assert list(review.decisions) == ["better_s4"], "a verdict does not apply to the new asset"
    first = next(e for e in review.replaced if e["name"] == "good")
    by = {"seed": 1, "sha256": rejected.asset_sha256(out / "good")}
    assert first == {"name": "good", "seed": 0, "sha256": old, "verdict": "reject", "note": "no good", "by": by}
    assert not rejected.staging_folder(out).exists() or not list(rejected.staging_folder(out).glob("*/asset.json"))
    # the plain command finds every item done and makes none
    assert run_batch_command(manifest, out) == 0 and [read_seed(out, n) for n in ("good", "better_s3")] == [1, 5]
    assert json.loads((out / "batch.json").read_text())["there"] == 3
    assert run_batch_command(manifest, out, "--retry-rejected") == 0 and len(reviews.read_reviews(out).replaced) == 2
    reject(out, "good")
    assert run_batch_command(manifest, out, "--retry-rejected") == 0 and read_seed(out, "good") == 2


def test_retry_rejected_prints_only_json(batch: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    manifest, out = batch

    def events(*options: str) -> list[dict[str, object]]:
        capsys.readouterr()
        assert run_batch_command(manifest, out, "--retry-rejected", "--json", *options) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    assert [e["event"] for e in events()] == ["end"]
    reject(out, "better_s3")
    plan, estimate = events("--dry-run")
    assert (plan["event"], plan["name"], plan["seed"]) == ("plan", "better_s3", 5)
    assert plan["standing"] == "rejected"
    assert (estimate["event"], estimate["assets"]) == ("estimate", 1)


def test_retry_rejected_keeps_the_asset_if_it_fails(fake_workers: None, tmp_path: Path) -> None:
    manifest, out = tmp_path / "m.csv", tmp_path / "out"
    manifest.write_text("prompt\npoison\n")
    write_fake_item(out, "poison", "poison")
    reject(out, "poison")
    before = (out / "poison" / "asset.json").read_bytes()
    assert run_batch_command(manifest, out, "--retry-rejected") == 1
    assert (out / "poison" / "asset.json").read_bytes() == before
    review = reviews.read_reviews(out)
    assert review.decisions["poison"]["verdict"] == "reject" and not review.replaced


@pytest.mark.parametrize("moment", ["before the first move", "between the moves"])
def test_complete_interrupted_swaps_after_a_kill(
    batch: tuple[Path, Path], moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, out = batch
    reject(out, "good")
    original = state.remove_asset_folders

    def die(*_: object) -> None:
        if moment == "between the moves":
            original(*_)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(state, "remove_asset_folders", die)
    assert run_batch_command(manifest, out, "--retry-rejected") == 130
    monkeypatch.setattr(state, "remove_asset_folders", original)
    assert run_batch_command(manifest, out) == 0
    assert read_seed(out, "good") == 1 and len(reviews.read_reviews(out).replaced) == 1
    assert json.loads((out / "batch.json").read_text())["there"] == 3


def test_retry_rejected_replaces_the_chosen_seed(fake_workers: None, tmp_path: Path) -> None:
    manifest, out = tmp_path / "m.csv", tmp_path / "out"
    manifest.write_text("prompt\nflawed\n")
    best = ("--seeds", "3", "--keep", "best")
    assert run_batch_command(manifest, out, *best) == 0
    (name,) = (p.parent.name for p in out.glob("*/asset.json"))
    assert name == "flawed_s2"
    reject(out, name)
    assert run_batch_command(manifest, out, *best, "--retry-rejected") == 0 and read_seed(out, name) == 3
    assert run_batch_command(manifest, out, *best) == 0
    assert [p.parent.name for p in out.glob("*/asset.json")] == [name] and read_seed(out, name) == 3


def test_reseed_rejected_gives_unique_seeds(tmp_path: Path) -> None:
    last = 2**63 - 1
    items = [Item(f"m{s}", "a mug", s, resolve_config(), "standard", 1, i) for i, s in enumerate((0, 1, last))]
    for item in items:
        write_fake_item(tmp_path, item.name, "a mug")
    reject(tmp_path, *(item.name for item in items))
    replacements = rejected.reseed_rejected(tmp_path, items, reviews.read_reviews(tmp_path))
    assert [i.seed for i in replacements] == [2, 3, 4]
    assert replacements == rejected.reseed_rejected(tmp_path, items, reviews.read_reviews(tmp_path)), "shards agree"
