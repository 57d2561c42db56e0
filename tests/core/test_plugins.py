"""Guidances of other packages: the example is found by its entry point; a broken one is named."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints
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
    """The example package, installed as pip does it, where only who is told will find it."""
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


def test_the_example_is_found_and_guides(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "toy" not in guidance_names()
    monkeypatch.syspath_prepend(str(installed))
    assert guidance_names()[:4] == BUILTIN_GUIDANCES and "toy" in guidance_names()
    assert "toy_plugin.guidance" not in sys.modules, "nothing is imported before it is asked for"
    settings = resolve_config(sets=["guidance.type=toy"]).guidance
    guidance = load_guidance(settings)
    x = torch.zeros(5, 2, 1, 1, requires_grad=True)
    t = torch.full((5,), 0.4)
    guided = guidance(x, t, square_mixture().score_model(settings, 5), generator=torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad(guided.loss, x)
    torch.testing.assert_close(gradient, (x - guided.x0).detach() / x.numel())
    assert guidance.state_dict() == {}


def test_the_examples_prior_is_a_prior(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def offer(monkeypatch: pytest.MonkeyPatch, *values: str) -> None:
    points = [EntryPoint("mine", value, GROUP) for value in values]

    def entry_points(**wanted: str) -> EntryPoints:
        return EntryPoints(points).select(**wanted)

    monkeypatch.setattr(plugins, "entry_points", entry_points)


def good(x, t, score_model, *, generator):
    return GuidanceOutput(x.sum(), x.detach())


class Learning:
    def __init__(self, settings: GuidanceConfig, device: torch.device) -> None:
        self.settings, self.device = settings, device

    def __call__(self, x, t, score_model, *, generator):
        return GuidanceOutput(x.sum(), x.detach())

    def state_dict(self):
        return {"a": torch.ones(1)}

    def load_state_dict(self, state):
        pass


def test_a_broken_one_is_named_and_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, "no_such_module:thing", f"{__name__}:good")
    lines: list[str] = []
    guidance = load_guidance(GuidanceConfig(type="mine"), warn=lines.append)
    assert guidance.function is good
    assert len(lines) == 1 and "no_such_module" in lines[0] and "broken" in lines[0]


def test_a_class_is_made_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, f"{__name__}:Learning")
    settings = GuidanceConfig(type="mine", scale=3.0)
    guidance = load_guidance(settings)
    assert isinstance(guidance, Learning) and guidance.settings is settings
    assert list(guidance.state_dict()) == ["a"]


def test_none_left_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, "no_such_module:thing")
    with pytest.raises(InputError, match="'mine'.*no_such_module.*--guidance"):
        load_guidance(GuidanceConfig(type="mine"))
    with pytest.raises(InputError, match="no installed package"):
        load_guidance(GuidanceConfig(type="other"))
    with pytest.raises(InputError, match="not one of sds, csd, vsd, ism, mine"):
        resolve_config(sets=["guidance.type=other"])
