"""The contract of the folder: done, resumed, skipped, locked. With a prior that needs no training."""

from __future__ import annotations

import errno
import functools
import importlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import trimesh

from dreamfusion3d import priors as priors
from dreamfusion3d.cli import main, report
from dreamfusion3d.core import files
from dreamfusion3d.core.config import Config, resolve_config
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.progress import LineProgress
from dreamfusion3d.pipelines import export, surface_extraction
from dreamfusion3d.pipelines import text_to_mesh as pipeline
from dreamfusion3d.pipelines.text_to_mesh import Asset, text_to_mesh
from dreamfusion3d.pipelines.workspace import Workspace
from dreamfusion3d.priors.protocol import TextEmbedding

SETS = ["mesh.grid_resolution=32", "mesh.max_faces=500", "mesh.texture_size=64", "optim.steps=3"]


class FakePrior:
    name, sha256, camera_conditioned = "fake", "0" * 64, True

    def check_prompt(self, prompt: str) -> list[str]:
        if "quixnar" in prompt:
            raise InputError("this prior does not know 'quixnar'")
        return ["'shiny' is ignored"] if "shiny" in prompt else []

    def encode_text(self, prompts: list[str]) -> TextEmbedding:
        return TextEmbedding(torch.zeros(len(prompts), 1))

    def alpha_sigma(self, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        raise NotImplementedError

    def encode(self, render: Any, *, generator: torch.Generator) -> torch.Tensor:
        raise NotImplementedError

    def denoise(self, *_: Any, views: int = 1) -> torch.Tensor:
        raise NotImplementedError


def fake_optimize(field: Any, prior: Any, text: Any, config: Config, **_: Any) -> Iterator[Any]:
    """Leaves the field as it began: DreamFusion's blob, which is a ball."""
    for index in range(config.optim.steps):
        yield SimpleNamespace(
            index=index + 1, total=config.optim.steps, gradient_norm=1.0, seconds=0.0, note=None, figure=None
        )


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surface_extraction, "SILHOUETTE_VIEWS", 6)
    monkeypatch.setattr(surface_extraction, "SILHOUETTE_SIZE", 32)
    video = importlib.import_module("dreamfusion3d.rendering.turntable")
    short = functools.partial(video.write_turntable, seconds=0.1, size=32)
    monkeypatch.setattr(video, "write_turntable", short)
    monkeypatch.setattr(video, "write_thumbnail", functools.partial(video.write_thumbnail, size=32))
    monkeypatch.setattr(priors, "load_prior", lambda name, *, device: FakePrior(), raising=False)
    monkeypatch.setitem(sys.modules, "dreamfusion3d.training.distillation", SimpleNamespace(optimize=fake_optimize))


def make(out: Path, prompt: str = "a ball", *, sets: tuple[str, ...] = (), **options: Any) -> Asset:
    return text_to_mesh(prompt, out=out, config=resolve_config(sets=[*SETS, *sets]), device="cpu", **options)


def glb_hash(asset: Asset) -> str:
    return files.file_sha256(asset.main_file)


def test_folder_and_record(tmp_path: Path) -> None:
    asset = make(tmp_path, sets=("mesh.formats=glb,obj", "mesh.height_m=0.5"))
    assert asset.folder == tmp_path / "a_ball"
    named = {p.name for p in asset.folder.iterdir()}
    assert {"a_ball.glb", "a_ball.obj", "thumbnail.png", "turntable.mp4", "asset.json", "work"} <= named
    record = json.loads((asset.folder / "asset.json").read_text())
    assert record == asset.record
    assert list(record) == [
        "prompt",
        "seed",
        "slug",
        "config",
        "prior",
        "versions",
        "device",
        "seconds",
        "files",
        "mesh",
        "checks",
    ]
    for name, facts in record["files"].items():
        path = asset.folder / name
        assert (files.file_sha256(path), path.stat().st_size) == (facts["sha256"], facts["bytes"])
    assert set(record["files"]) == named - {"asset.json", "work"}
    mesh = record["mesh"]
    assert mesh["watertight"] and mesh["euler_number"] == 2 and mesh["volume"] > 0
    assert mesh["bounds"][1][1] - mesh["bounds"][0][1] == pytest.approx(0.5, rel=1e-3)
    assert mesh["volume"] == pytest.approx(np.pi / 6 * 0.5**3, rel=0.1)
    assert set(record["seconds"]) == set(pipeline.TEXT_TO_MESH_STAGES)
    assert asset.passed, record["checks"]


def test_levels_and_collision_are_files_of_their_own(tmp_path: Path) -> None:
    sets = ("mesh.num_lods=3", "mesh.collision=hull", "mesh.occlusion=true", "mesh.max_faces=400")
    plain, full = make(tmp_path / "1", sets=sets[3:]), make(tmp_path / "2", sets=sets)
    more = set(full.record.files) - set(plain.record.files)
    assert more == {"a_ball_lods.glb", "a_ball_collision.glb"}
    lods = trimesh.load(full.folder / "a_ball_lods.glb")
    faces = [len(lods.geometry[f"a_ball_LOD{i}"].faces) for i in range(3)]
    assert faces[0] <= 400 and faces[1] <= faces[0] // 2 and faces[2] <= faces[1] // 2
    sizes = [lods.geometry[f"a_ball_LOD{i}"].visual.material.baseColorTexture.size for i in range(3)]
    assert sizes == [(64, 64)] * 3  # SMALLEST
    collision = trimesh.load(full.folder / "a_ball_collision.glb")
    assert set(collision.geometry) == {"a_ball", "UCX_a_ball_00"}
    again = make(tmp_path / "3", sets=sets)
    assert again.record.files == full.record.files
    assert full.passed, full.record.checks


def test_what_is_inside_has_the_name_that_was_given(tmp_path: Path) -> None:
    sets = ("mesh.formats=glb,gltf,obj", "mesh.collision=hull")
    plain = make(tmp_path, sets=sets)
    named = make(tmp_path, sets=sets, folder="vase_12_s3", called="vase_12")
    assert plain.record.name is None and named.record.name == "vase_12"
    files_of_its_own = {f"vase_12_s3{tail}" for tail in (".glb", ".gltf", ".obj", "_collision.glb")}
    beside = {f"vase_12_s3{tail}" for tail in (".mtl", ".png", "_normal.png", ".bin")}
    assert set(named.record.files) - {"thumbnail.png", "turntable.mp4"} == files_of_its_own | beside
    obj = named.folder / "vase_12_s3.obj"
    assert {"mtllib vase_12_s3.mtl", "usemtl vase_12"} < set(obj.read_text().splitlines())
    assert "a_ball" not in obj.read_text()
    assert "map_Kd vase_12_s3.png" in (named.folder / "vase_12_s3.mtl").read_text()
    for suffix, names in (("", {"vase_12"}), ("_collision", {"vase_12", "UCX_vase_12_00"})):
        assert set(trimesh.load(named.folder / f"vase_12_s3{suffix}.glb").geometry) == names
    material = trimesh.load(named.main_file).geometry["vase_12"].visual.material
    assert material.name == "vase_12"
    # the record tells an export what the run called it; its folder may have been renamed since
    moved = named.folder.rename(tmp_path / "delivered")
    for path in export.export_run(moved, out=tmp_path / "again"):
        # of the new name is what lies beside, and so what an OBJ and a glTF say of it; no byte of a GLB
        again = path.read_bytes().replace(b"delivered", b"vase_12_s3")
        assert again == (moved / f"vase_12_s3{path.suffix}").read_bytes()
        assert (again == path.read_bytes()) == (path.suffix == ".glb")
    assert {p.name for p in (tmp_path / "again").iterdir()} > {"delivered.mtl", "delivered.png"}


def test_a_named_asset_is_found_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also one that an earlier version made, which called what is inside by the prompt."""
    for called in (None, "vase", "vase"):
        asset = make(tmp_path, folder="vase", called=called, progress=LineProgress())
        assert asset.folder.name == "vase"
    assert capsys.readouterr().err.count("done already") == 2 and asset.record.name is None


def test_same_bytes_and_skip(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = make(tmp_path / "1"), make(tmp_path / "2")
    assert glb_hash(one) == glb_hash(two)
    written = one.main_file.stat().st_mtime_ns
    again = make(tmp_path / "1", progress=LineProgress())
    assert again == one and one.main_file.stat().st_mtime_ns == written
    assert "done already" in capsys.readouterr().err
    fresh = make(tmp_path / "1", fresh=True)
    assert fresh.main_file.stat().st_mtime_ns > written and glb_hash(fresh) == glb_hash(one)


def test_quiet_leaves_only_warnings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sets = [word for pair in SETS for word in ("--set", pair)]
    command = ["generate", "a shiny ball", "--out", str(tmp_path), "--device", "cpu", *sets]
    warned, printed = ["warning: 'shiny' is ignored"], set()
    for state in ("made", "done already"):
        assert report.run_app(main.app, [*command, "--quiet"]) == 0
        captured = capsys.readouterr()
        assert captured.err.splitlines() == warned, state
        printed.add(captured.out)
    assert len(printed) == 1, "the result is the same"
    assert report.run_app(main.app, command) == 0
    assert "done already" in capsys.readouterr().err
    # what was lost is a warning
    folder = tmp_path / "a_shiny_ball"
    (folder / "asset.json").unlink()
    (folder / "work" / "mesh.npz").write_bytes(b"PK")
    assert report.run_app(main.app, [*command, "--quiet"]) == 0
    told = capsys.readouterr().err.splitlines()
    assert told == [*warned, "warning: mesh.npz is damaged; making it again"]


def test_a_changed_file_is_not_done(tmp_path: Path) -> None:
    one = make(tmp_path)
    before = glb_hash(one)
    one.main_file.write_bytes(b"not a GLB")
    assert glb_hash(make(tmp_path)) == before


def test_other_settings_get_another_folder(tmp_path: Path) -> None:
    one, two, three = make(tmp_path), make(tmp_path, seed=1), make(tmp_path, "A ball!")
    assert one.folder.name == "a_ball"
    assert len({one.folder, two.folder, three.folder}) == 3
    assert two.folder.name.startswith("a_ball_") and two.main_file.exists()
    assert make(tmp_path, seed=1).folder == two.folder
    # the bytes do not depend on what else is in OUT
    assert glb_hash(two) == glb_hash(make(tmp_path / "alone", seed=1))


@pytest.mark.parametrize(
    "where",
    [
        "dreamfusion3d.fields.nerf.NerfField.state_dict",
        "dreamfusion3d.pipelines.surface_extraction.extract_solid",
        "dreamfusion3d.mesh.simplify.simplify",
        "dreamfusion3d.mesh.lods.bake_albedo",
        "dreamfusion3d.mesh.io.formats.write_asset",
        "dreamfusion3d.rendering.turntable.write_turntable",
        "dreamfusion3d.pipelines.text_to_mesh.build_asset_record",
    ],
)
def test_interrupted_anywhere_goes_on_to_the_same_bytes(where: str, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(where, interrupt)
        with pytest.raises(KeyboardInterrupt):
            make(tmp_path / "1")
    folder = tmp_path / "1" / "a_ball"
    assert not (folder / "asset.json").exists() and not (folder / ".lock").exists()
    assert not [p for p in folder.rglob("*") if ".tmp" in p.name]
    assert glb_hash(make(tmp_path / "1")) == glb_hash(make(tmp_path / "2"))


def interrupt(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["field.safetensors", "surface.npz", "mesh.npz", "textured.npz", "run.json"])
def test_damaged_stage_results_are_made_again(name: str, tmp_path: Path) -> None:
    one = make(tmp_path)
    before = glb_hash(one)
    (one.folder / "asset.json").unlink()
    path = one.folder / "work" / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert glb_hash(make(tmp_path)) == before


def test_work_may_be_deleted(tmp_path: Path) -> None:
    one = make(tmp_path)
    shutil.rmtree(one.folder / "work")
    assert make(tmp_path) == one


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    space = Workspace(tmp_path / "a_ball")
    space.folder.mkdir()
    lock = space.folder / ".lock"
    host = os.uname().nodename
    lock.write_text(json.dumps({"pid": os.getppid(), "host": host}))
    with pytest.raises(InputError, match="being worked on by process"):
        make(tmp_path)
    lock.write_text(json.dumps({"pid": 2**22 + 1, "host": host}))  # beyond Linux's largest
    assert make(tmp_path).folder == space.folder
    assert not lock.exists()


def test_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dreamfusion3d.pipelines.stages.np.savez", full)
        with pytest.raises(InputError, match="No space left"):
            make(tmp_path)
    assert not (tmp_path / "a_ball" / "asset.json").exists()
    usage = SimpleNamespace(total=1, used=1, free=1)
    monkeypatch.setattr("dreamfusion3d.pipelines.workspace.shutil.disk_usage", lambda _: usage)
    with pytest.raises(InputError, match="Make room"):
        make(tmp_path / "other")


def test_unknown_noun_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="quixnar"):
        make(tmp_path, "a quixnar")
    assert not list(tmp_path.iterdir())


def test_progress_in_plain_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path, "a shiny ball", progress=LineProgress(interval=0.0))
    captured = capsys.readouterr()
    assert captured.out == ""
    for number, name in enumerate(pipeline.TEXT_TO_MESH_STAGES, 1):
        assert f"[{number}/{len(pipeline.TEXT_TO_MESH_STAGES)}] {name}" in captured.err
    assert "optimise 2/3" in captured.err and "left" in captured.err
    assert "warning: 'shiny' is ignored" in captured.err


class Seer(FakePrior):
    """Takes every scene for a cube of side 1, in blue."""

    def fog(self, text: TextEmbedding, resolution: int) -> tuple[torch.Tensor, torch.Tensor]:
        axis = torch.linspace(-1, 1, resolution).abs() <= 0.5
        cube = axis[:, None, None] & axis[:, None] & axis
        return 200.0 * cube, torch.tensor([0.1, 0.1, 0.9]).expand(*cube.shape, 3)


def test_the_field_starts_from_what_the_prior_foresees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(priors, "load_prior", lambda *_, **__: Seer())
    volumes = {}
    for start in ("prior", "blob"):
        mesh = make(tmp_path / start, "a blue cube", sets=(f"field.init={start}",)).record.mesh
        size = np.ptp(np.array(mesh["bounds"]), axis=0)
        volumes[start] = mesh["volume"] / size.prod()
    assert volumes["prior"] > 0.85, "a cube fills its box"
    assert volumes["blob"] < 0.6, "a ball does not"
