"""Every numbered script of examples/ runs at small settings and produces the documented result."""

from __future__ import annotations

import functools
import importlib
import json
import runpy
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dreamfusion3d.mesh.io.gltf import read_glb
from dreamfusion3d.pipelines import surface_extraction
from dreamfusion3d.priors.protocol import Prior

EXAMPLES = Path(__file__).parent.parent / "examples"
SMALL = [
    "field.max_resolution=48",
    "render.resolution=24",
    "render.coarse_resolution=24",
    "render.step_size=0.05",
    "mesh.grid_resolution=40",
    "mesh.max_faces=800",
    "mesh.texture_size=64",
    "mesh.normal_map=false",
]
RunScript = Callable[..., str]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> RunScript:
    """Run a script as its user would, with output in ``tmp_path``; return its stdout."""
    monkeypatch.setattr(surface_extraction, "SILHOUETTE_VIEWS", 6)
    monkeypatch.setattr(surface_extraction, "SILHOUETTE_SIZE", 32)
    video = importlib.import_module("dreamfusion3d.rendering.turntable")
    short = functools.partial(video.write_turntable, seconds=0.1, size=32)
    monkeypatch.setattr(video, "write_turntable", short)
    monkeypatch.setattr(video, "write_thumbnail", functools.partial(video.write_thumbnail, size=32))

    def run_script(script: str, *arguments: str, sets: list[str]) -> str:
        settings = [part for pair in [*SMALL, *sets] for part in ("--set", pair)]
        monkeypatch.setattr(sys, "argv", [script, *arguments, "--out", str(tmp_path), *settings])
        runpy.run_path(str(EXAMPLES / script), run_name="__main__")
        return capsys.readouterr().out

    return run_script


def test_examples_are_numbered_and_tested() -> None:
    scripts = sorted(path.name for path in EXAMPLES.glob("*.py"))
    assert [int(name[:2]) for name in scripts] == list(range(1, len(scripts) + 1))
    source = Path(__file__).read_text(encoding="utf-8")
    assert all(f'"{name}"' in source for name in scripts)


def test_text_to_glb(run: RunScript, tmp_path: Path) -> None:
    output = run("01_text_to_glb.py", "a red mug", "--quality", "draft", sets=["optim.steps=4"])
    glb = tmp_path / "a_red_mug" / "a_red_mug.glb"
    assert output.startswith(f"{glb}: ") and "checks passed" in output
    red, green, blue = read_glb(glb).texture.reshape(-1, 3).mean(0)
    assert red > 1.5 * max(green, blue)


def test_swap_the_prior(run: RunScript, tmp_path: Path) -> None:
    output = run("02_swap_the_prior.py", sets=["optim.steps=60"])
    folder = tmp_path / "a_striped_ball"
    assert output.startswith(f"{folder / 'a_striped_ball.glb'}: ")
    record = json.loads((folder / "asset.json").read_text())
    assert record["prior"] == {"name": "striped-ball", "sha256": "1"} and record["mesh"]["genus"] == 0
    size = np.diff(record["mesh"]["bounds"], axis=0)[0]
    np.testing.assert_allclose(size, 1.0, atol=0.15)  # a ball of one meter


def test_swap_the_prior_implements_the_protocol() -> None:
    assert isinstance(runpy.run_path(str(EXAMPLES / "02_swap_the_prior.py"))["BallPrior"](), Prior)


def test_photos_to_glb(run: RunScript, tmp_path: Path) -> None:
    photos = ("--category", "mushroom", "--photos", "12", "--size", "24")
    output = run(
        "03_photos_to_glb.py",
        *photos,
        sets=["optim.steps=60", "reconstruction.rays_per_step=512", "reconstruction.num_eval_images=2"],
    )
    assert "PSNR" in output and (tmp_path / "mushroom" / "mushroom.glb").exists()
    assert (tmp_path / "photos" / "transforms.json").exists()


def test_sweethome3d_library(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    catalog = (
        "id=x\nid#1=a\nname#1=Oak armchair 2\nmodel#1=/free/chair/chair.obj\nheight#1=90\ncreator#1=Ada\n"
        "modelRotation#1=0 0 1 1 0 0 0 1 0\nid#2=b\nname#2=Door\nmodel#2=/free/door/door.obj\ndoorOrWindow#2=true\n"
    )
    archive = tmp_path / "BlendSwap-CC-0.sh3f"
    with zipfile.ZipFile(archive, "w") as files:
        files.writestr("PluginFurnitureCatalog.properties", catalog)
        files.writestr("free/chair/chair.obj", "v 1 2 3\nvn 0 0 1\nf 1 1 1\n")
        files.writestr("free/chair/license.txt", "CC0")
    out = tmp_path / "library"
    monkeypatch.setattr(sys, "argv", ["x", str(out), "--archive", str(archive)])
    runpy.run_path(str(EXAMPLES / "04_sweethome3d_library.py"), run_name="__main__")
    assert "1 models, 1 captions" in capsys.readouterr().out
    record = json.loads((out / "metadata.jsonl").read_text())
    assert record["text"] == "an oak armchair" and record["height_m"] == 0.9 and record["license"] == "CC0-1.0"
    assert (out / record["file_name"]).read_text().split("\n")[:2] == ["v 3 1 2", "vn 1 0 0"]
