"""`doctor` reports what is installed, what is missing and how to get it; nothing missing is an error."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import save_file

from dreamfusion3d import doctor
from dreamfusion3d.cli import main, report
from dreamfusion3d.cli.doctor import format_report
from dreamfusion3d.core.config import PriorConfig, presets, resolve_config
from dreamfusion3d.pipelines.step_timing import estimate_total_seconds
from dreamfusion3d.priors.locate import count_parameters, locate_prior, prior_weight_bytes
from dreamfusion3d.priors.pretrained import hub
from dreamfusion3d.priors.vocabulary import embedded_folder
from tests.support.tiny import tiny_folder

CPU = torch.device("cpu")
MODEL = "someone/model"


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("asked the network"))


def run(*arguments: object) -> int:
    return report.run_app(main.app, ["doctor", *map(str, arguments)])


def test_system_report_as_json_and_table(tmp_path: Path, capsys: pytest.CaptureFixture[str], quick_plans: None) -> None:
    folder = tiny_folder(tmp_path / "tiny", vocabulary=["kind:key", "word:corgi"])
    assert run("--prior", folder, "--json") == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert "--no-step" in captured.err
    step = result["step"]
    assert step["small_seconds"] > 0 and step["large_seconds"] > 0 and step["prior"] == "tiny"
    seconds = step["steps_of_an_asset_seconds"]
    assert 0 < seconds["draft"] <= seconds["standard"] <= seconds["high"]
    assert result["prior"]["state"] == "folder" and result["prior"]["fits"]
    assert [p["name"] for p in result["presets"]] == presets.preset_names()
    assert result["machine"]["cores"] >= 1
    assert result["machine"]["memory_bytes"] > result["machine"]["memory_free_bytes"] > 0
    table = list(format_report(result))
    for word in ("Machine", "Extras", "Presets", "  high asset", "fast", "estimate", "pip install"):
        if word != "pip install" or not all(e["present"] for e in result["extras"].values()):
            assert any(word in line for line in table), word
    assert run("--prior", folder, "--no-step") == 0
    captured = capsys.readouterr()
    assert "not timed" in captured.out and captured.err == ""


def test_estimate_total_seconds_of_coarse_and_full_steps() -> None:
    config = resolve_config(sets=["optim.steps=1000", "render.coarse_fraction=0.25"])
    assert estimate_total_seconds(config, 1.0, 3.0, False) == pytest.approx(250 * 1 + 750 * 3)
    assert estimate_total_seconds(config, 1.0, 3.0, True) == pytest.approx((250 * 1 + 750 * 3) / 2)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no/where/at/all", "there is no prior folder"),
        ("nope", "there is no prior folder nope"),
        (MODEL, "not on this machine"),
    ],
)
def test_doctor_reports_a_missing_prior_after_the_report(
    name: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--prior", name) == 2
    captured = capsys.readouterr()
    assert "Machine" in captured.out and "not timed" in captured.out
    (error,) = captured.err.splitlines()  # a missing prior is not announced as being timed
    assert error.startswith("error: ") and words in error


def test_check_extras_names_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"transformers": "4.45.0", "sentencepiece": "0.2.0", "protobuf": "5.0", "accelerate": "1.0"}

    def version(name: str) -> str:
        if name not in installed:
            raise importlib.metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    extras = doctor.check_extras()
    assert set(extras) == set(doctor.EXTRA_PURPOSES)
    assert extras["clip"]["present"] and not extras["usd"]["present"]
    assert extras["priors"]["lacking"] == ["transformers>=4.56"], "too old counts as missing"
    assert extras["usd"]["install"] == "pip install 'dreamfusion3d[usd]'"
    assert doctor.package_versions()["torch"] == "absent"


def test_total_and_free_memory_respects_a_containers_limit(tmp_path: Path) -> None:
    total = psutil.virtual_memory().total
    assert doctor.total_and_free_memory(tmp_path)[0] == total
    (tmp_path / "memory.current").write_text("1000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert doctor.total_and_free_memory(tmp_path)[0] == total
    (tmp_path / "memory.max").write_text(f"{2 * total}\n")
    assert doctor.total_and_free_memory(tmp_path)[0] == total
    (tmp_path / "memory.max").write_text("5000\n")
    assert doctor.total_and_free_memory(tmp_path) == (5000, 4000)
    (tmp_path / "memory.current").write_text("6000\n")
    assert doctor.total_and_free_memory(tmp_path) == (5000, 0)


def write_model(folder: Path, index: dict[str, Any] | None = None) -> Path:
    """Write a Stable Diffusion folder with ten parameters in the encoder and six in the other networks."""
    parts = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
    for part, count in zip(parts, (4, 2, 10, 0, 0), strict=True):
        (folder / part).mkdir(parents=True)
        (folder / part / "config.json").write_text("{}")
        if count:
            name = "model" if part == "text_encoder" else "diffusion_pytorch_model"
            save_file({"x": torch.zeros(count, dtype=torch.float16)}, folder / part / f"{name}.safetensors")
    listed = {part: ["library", "class"] for part in parts} | {"unet": ["diffusers", "UNet2DConditionModel"]}
    (folder / hub.MODEL_INDEX).write_text(json.dumps(index or {"_class_name": "StableDiffusionPipeline", **listed}))
    return folder


def test_locate_prior_and_its_weight_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_model(tmp_path / "sd")
    settings = PriorConfig(name=str(folder))
    found = locate_prior(settings)
    assert (found.state, found.is_available) == ("folder", True)
    assert prior_weight_bytes(found, settings, CPU) == 10 * 4, "the encoder is freed before the networks are loaded"
    half = PriorConfig(name=str(folder), dtype="float16")
    assert prior_weight_bytes(found, half, CPU) == 10 * 2
    other = write_model(tmp_path / "other", {"_class_name": "AudioPipeline"})
    assert prior_weight_bytes(locate_prior(PriorConfig(name=str(other))), settings, CPU) is None
    (folder / "unet/diffusion_pytorch_model.safetensors").write_bytes(b"damaged")
    assert count_parameters(folder / "unet/diffusion_pytorch_model.safetensors") == 0
    embedded = PriorConfig()
    if (embedded_folder() / "model_index.json").exists():
        weights = prior_weight_bytes(locate_prior(embedded), embedded, CPU)
        assert weights is not None and 8e6 < weights / 4 < 2e7
    # by hub id: only complete models in the cache count
    assert locate_prior(PriorConfig(name="a--b/c")).state == "absent"
    assert (
        locate_prior(PriorConfig(name=MODEL)).state == "absent"
        and locate_prior(PriorConfig(name=MODEL)).is_downloadable
    )
    snapshot = write_model(tmp_path / "snapshot")
    monkeypatch.setattr(hub, "cached_snapshot", lambda *_: snapshot)
    assert locate_prior(PriorConfig(name=MODEL)).state == "cached"
    (snapshot / "unet/diffusion_pytorch_model.safetensors").unlink()
    assert locate_prior(PriorConfig(name=MODEL)).state == "absent"


def test_locate_prior_of_a_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dreamfusion3d.core.plugins.plugin_names", lambda _: ["toy"])
    found = locate_prior(PriorConfig(name="toy"))
    assert found.state == "plug-in" and prior_weight_bytes(found, PriorConfig(name="toy"), CPU) is None


def test_prior_report_fits(tmp_path: Path) -> None:
    settings = PriorConfig(name=str(write_model(tmp_path / "sd")))
    for free, fits in ((50, True), (49, False), (None, None)):
        assert doctor.prior_report(settings, CPU, free)["fits"] is fits
    gone = next(iter(hub.MIRRORS))
    for name, copy in ((MODEL, None), (gone, hub.MIRRORS[gone])):
        facts = doctor.prior_report(PriorConfig(name=name), CPU, 10**12)
        assert (facts["state"], facts["fits"], facts["copy"]) == ("absent", False, copy)
