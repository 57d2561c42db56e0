"""Guidances and priors of other packages, found by their entry points."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dreamfusion3d.core import plugins
from dreamfusion3d.core.config import BUILTIN_GUIDANCES, GuidanceConfig, PriorConfig, guidance_names, resolve_config
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.guidance import GuidanceOutput, load_guidance
from tests.support.mixture import square_mixture

ROOT = Path(__file__).parents[2]
GROUP = "dreamfusion3d.guidance"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the example package with pip into a folder that is not on sys.path."""
    folder = tmp_path_factory.mktemp("plugin")
    source = folder / "source"
    shutil.copytree(ROOT / "examples" / "plugin", source)  # builds leave files beside the source
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "--no-index",
            "--target",
            str(folder / "target"),
            str(source),
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    return folder / "target"


def test_load_guidance_finds_the_example_plugin(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "toy" not in guidance_names()
    monkeypatch.syspath_prepend(str(installed))
    assert guidance_names()[:4] == BUILTIN_GUIDANCES and "toy" in guidance_names()
    assert "toy_plugin.guidance" not in sys.modules, "nothing is imported before it is used"
    settings = resolve_config(sets=["guidance.type=toy"]).guidance
    guidance = load_guidance(settings)
    x = torch.zeros(5, 2, 1, 1, requires_grad=True)
    t = torch.full((5,), 0.4)
    output = guidance(x, t, square_mixture().score_model(settings, 5), generator=torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad(output.loss, x)
    torch.testing.assert_close(gradient, (x - output.x0).detach() / x.numel())
    assert guidance.state_dict() == {}


def test_load_plugin_finds_the_example_prior(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dreamfusion3d.cameras.orbit import turntable_cameras
    from dreamfusion3d.priors.protocol import Prior

    monkeypatch.syspath_prepend(str(installed))
    found, problems = plugins.load_plugin("dreamfusion3d.priors", "toy")
    assert not problems
    prior = found(PriorConfig(), torch.device("cpu"))
    assert isinstance(prior, Prior) and prior.check_prompt("a mug") and not prior.check_prompt("a ball")
    x = prior.denoise(
        torch.zeros(2, 4, 64, 64), torch.full((2,), 0.5), prior.encode_text(["a red ball", ""]), turntable_cameras(2)
    )
    assert x[:, 3, 32, 32].tolist() == [1, 1] and x[:, 3, 0, 0].tolist() == [-1, -1]
    torch.testing.assert_close(x[0, :3, 32, 32], torch.tensor([0.6, -0.6, -0.6]))


def install_plugins(folder: Path, monkeypatch: pytest.MonkeyPatch, *values: str) -> None:
    """Install the metadata of one package per value, whose entry point "mine" is that value; the first one is first."""
    for i, value in reversed(list(enumerate(values))):
        metadata = folder / str(i) / f"plugin{i}-1.0.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: plugin{i}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[{GROUP}]\nmine = {value}\n")
        monkeypatch.syspath_prepend(str(folder / str(i)))


def constant_guidance(x, t, score_model, *, generator):
    return GuidanceOutput(x.sum(), x.detach())


class StatefulGuidance:
    def __init__(self, settings: GuidanceConfig, device: torch.device) -> None:
        self.settings, self.device = settings, device

    def __call__(self, x, t, score_model, *, generator):
        return GuidanceOutput(x.sum(), x.detach())

    def state_dict(self):
        return {"a": torch.ones(1)}

    def load_state_dict(self, state):
        pass


def test_load_guidance_skips_broken_plugins_with_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_plugins(tmp_path, monkeypatch, "no_such_module:thing", f"{__name__}:constant_guidance")
    lines: list[str] = []
    guidance = load_guidance(GuidanceConfig(type="mine"), warn=lines.append)
    assert guidance.function is constant_guidance
    assert len(lines) == 1 and "no_such_module" in lines[0] and "cannot be imported" in lines[0]


def test_load_guidance_instantiates_classes_with_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_plugins(tmp_path, monkeypatch, f"{__name__}:StatefulGuidance")
    settings = GuidanceConfig(type="mine", scale=3.0)
    guidance = load_guidance(settings)
    assert isinstance(guidance, StatefulGuidance) and guidance.settings is settings
    assert list(guidance.state_dict()) == ["a"]


def test_load_guidance_reports_unknown_names_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_plugins(tmp_path, monkeypatch, "no_such_module:thing")
    with pytest.raises(InputError, match="'mine'.*no_such_module.*--guidance"):
        load_guidance(GuidanceConfig(type="mine"))
    with pytest.raises(InputError, match="no installed package provides"):
        load_guidance(GuidanceConfig(type="other"))
    with pytest.raises(InputError, match="not one of sds, csd, vsd, ism, mine"):
        resolve_config(sets=["guidance.type=other"])
