"""The height of an asset: which source wins, and what finished runs say of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from dreamfusion3d.core import files
from dreamfusion3d.core.config import config_from_dict, config_to_dict, resolve_config
from dreamfusion3d.core.progress import QuietProgress
from dreamfusion3d.core.types import ObjectHeight
from dreamfusion3d.mesh.io.gltf import read_glb
from dreamfusion3d.pipelines.context import RunContext
from dreamfusion3d.pipelines.export import export_run
from dreamfusion3d.pipelines.framing import load_run_scene
from dreamfusion3d.pipelines.prompt_history import PromptHistory
from dreamfusion3d.pipelines.run_reader import read_run
from dreamfusion3d.pipelines.stages import StageTracker
from dreamfusion3d.pipelines.workspace import RunIdentity, Workspace
from dreamfusion3d.priors.protocol import Prior
from tests.support.pipelines import FINISHED_RUN_HEIGHT, FakePrior, make_ball, write_finished_run
from tests.support.shapes import sphere, textured_of


class MugPrior(FakePrior):
    """Knows the height of mugs only."""

    def object_height(self, prompt: str) -> ObjectHeight | None:
        return ObjectHeight(0.1, "usual height of a mug") if "mug" in prompt else None


def run_context(prior: Prior, prompt: str, folder: Path, *sets: str) -> RunContext:
    identity = RunIdentity(prompt, 0, resolve_config(sets=sets), prior.sha256)
    return RunContext(prior, identity, Workspace(folder), torch.device("cpu"), StageTracker([], QuietProgress()))


def test_asset_height_comes_from_the_setting_then_the_prior_then_the_default(tmp_path: Path) -> None:
    default, usual = ObjectHeight(1.0, "default"), ObjectHeight(0.1, "usual height of a mug")
    assert run_context(MugPrior(), "a mug", tmp_path).asset_height() == usual
    assert run_context(MugPrior(), "a chair", tmp_path).asset_height() == default
    assert run_context(FakePrior(), "a mug", tmp_path).asset_height() == default, "this prior knows no heights"
    chosen = run_context(MugPrior(), "a mug", tmp_path, "mesh.height_m=0.3")
    assert chosen.asset_height() == ObjectHeight(0.3, "--height")


def test_asset_height_follows_an_edited_prompt(tmp_path: Path) -> None:
    run = run_context(MugPrior(), "a chair", tmp_path)
    PromptHistory(run.work, "a chair").add("optimize", 3, "a mug")
    assert run.asset_height().meters == 0.1


def test_height_setting_is_absent_by_default() -> None:
    config = resolve_config()
    assert config.mesh.height_m is None and config_from_dict(config_to_dict(config)) == config
    assert resolve_config(sets=["mesh.height_m=0.3", "mesh.height_m=none"]) == config


def edit_record(folder: Path, height: dict[str, object] | None, setting: float | None) -> None:
    record = json.loads((folder / "asset.json").read_text())
    record["config"]["mesh"]["height_m"] = setting
    files.write_json(folder / "asset.json", record | ({"height": height} if height else {}))


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    return write_finished_run(textured_of(sphere, 64), tmp_path / "out" / "a_ball")


def test_finished_runs_keep_their_height(finished: Path) -> None:
    assert read_run(finished).height_m == FINISHED_RUN_HEIGHT, "runs before this record had the setting only"
    edit_record(finished, {"meters": 0.25, "source": "usual height of a mug"}, None)
    assert read_run(finished).height_m == 0.25
    scene = load_run_scene(read_run(finished), False, QuietProgress())
    assert scene.transform.scale == pytest.approx(float(np.ptp(scene.mesh.vertices[:, 1])) / 0.25)
    for height, expected in ((None, 0.25), (0.3, 0.3)):
        (path,) = export_run(finished, "glb", height=height)
        assert np.ptp(read_glb(path).vertices[:, 1]) == pytest.approx(expected, rel=1e-5)


def test_a_retextured_mesh_keeps_its_size(finished: Path) -> None:
    edit_record(finished, None, None)
    assert read_run(finished).height_m is None
    scene = load_run_scene(read_run(finished), False, QuietProgress())
    assert (scene.transform.scale, scene.transform.offset) == (1.0, (0.0, 0.0, 0.0))
    (path,) = export_run(finished, "glb")
    assert np.ptp(read_glb(path).vertices[:, 1]) == pytest.approx(np.ptp(scene.mesh.vertices[:, 1]), rel=1e-5)


def test_text_to_mesh_records_the_height_and_scales_every_file(tmp_path: Path, untrained: None) -> None:
    sets = ("mesh.num_lods=2", "mesh.collision=hull")
    asset = make_ball(tmp_path, "a mug", sets=sets, prior=MugPrior())
    assert asset.record.height == {"meters": 0.1, "source": "usual height of a mug"}
    assert asset.record.config["mesh"]["height_m"] is None
    low, high = asset.record.mesh["bounds"]
    assert high[1] - low[1] == pytest.approx(0.1, rel=1e-5)
    for name in ("a_mug.glb", "a_mug_lods.glb", "a_mug_collision.glb"):
        assert max(trimesh.load(asset.folder / name).extents) == pytest.approx(0.1, rel=0.2), name
    assert make_ball(tmp_path, "a mug", sets=sets, prior=MugPrior()).record == asset.record, "finished already"
