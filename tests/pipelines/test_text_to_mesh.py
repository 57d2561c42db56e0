"""text_to_mesh: files and record, resuming to the same bytes, locks, errors. Without training."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import trimesh

from dreamfusion3d.cli import main, report
from dreamfusion3d.core import files
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.progress import LineProgress
from dreamfusion3d.core.types import InitialVolume
from dreamfusion3d.pipelines.asset_record import AssetRecord
from dreamfusion3d.pipelines.export import export_run
from dreamfusion3d.priors.protocol import TextEmbedding
from tests.support.pipelines import TINY_SETTINGS, FakePrior, glb_sha256, make_ball

pytestmark = pytest.mark.usefixtures("untrained")
STAGES = ("prior", "optimize", "extract", "simplify", "texture", "export", "render")


def test_text_to_mesh_writes_files_and_record(tmp_path: Path) -> None:
    asset = make_ball(tmp_path, sets=("mesh.formats=glb,obj", "mesh.height_m=0.5"))
    assert asset.folder == tmp_path / "a_ball"
    names = {p.name for p in asset.folder.iterdir()}
    assert {"a_ball.glb", "a_ball.obj", "thumbnail.png", "turntable.mp4", "asset.json", "work"} <= names
    record = json.loads((asset.folder / "asset.json").read_text())
    assert record == asset.record.to_dict() and AssetRecord.read(asset.folder / "asset.json") == asset.record
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
        "height",
    ]
    assert record["height"] == {"meters": 0.5, "source": "--height"}
    for name, entry in record["files"].items():
        path = asset.folder / name
        assert (files.file_sha256(path), path.stat().st_size) == (entry["sha256"], entry["bytes"])
    assert set(record["files"]) == names - {"asset.json", "work"}
    mesh = record["mesh"]
    assert mesh["watertight"] and mesh["euler_number"] == 2 and mesh["volume"] > 0
    assert mesh["bounds"][1][1] - mesh["bounds"][0][1] == pytest.approx(0.5, rel=1e-3)
    assert mesh["volume"] == pytest.approx(np.pi / 6 * 0.5**3, rel=0.1)
    assert set(record["seconds"]) == set(STAGES)
    assert asset.passed, record["checks"]


def test_text_to_mesh_writes_lods_and_collision_as_separate_files(tmp_path: Path) -> None:
    sets = ("mesh.num_lods=3", "mesh.collision=hull", "mesh.occlusion=true", "mesh.max_faces=400")
    plain, full = make_ball(tmp_path / "1", sets=sets[3:]), make_ball(tmp_path / "2", sets=sets)
    added = set(full.record.files) - set(plain.record.files)
    assert added == {"a_ball_lods.glb", "a_ball_collision.glb"}
    lods = trimesh.load(full.folder / "a_ball_lods.glb")
    faces = [len(lods.geometry[f"a_ball_LOD{i}"].faces) for i in range(3)]
    assert faces[0] <= 400 and faces[1] <= faces[0] // 2 and faces[2] <= faces[1] // 2
    sizes = [lods.geometry[f"a_ball_LOD{i}"].visual.material.baseColorTexture.size for i in range(3)]
    assert sizes == [(64, 64)] * 3  # the smallest size of a texture
    collision = trimesh.load(full.folder / "a_ball_collision.glb")
    assert set(collision.geometry) == {"a_ball", "UCX_a_ball_00"}
    again = make_ball(tmp_path / "3", sets=sets)
    assert again.record.files == full.record.files
    assert full.passed, full.record.checks


def test_text_to_mesh_asset_name_is_the_name_inside_the_files(tmp_path: Path) -> None:
    sets = ("mesh.formats=glb,gltf,obj", "mesh.collision=hull")
    plain = make_ball(tmp_path, sets=sets)
    named = make_ball(tmp_path, sets=sets, folder="vase_12_s3", asset_name="vase_12")
    assert plain.record.name is None and named.record.name == "vase_12"
    main_files = {f"vase_12_s3{tail}" for tail in (".glb", ".gltf", ".obj", "_collision.glb")}
    companions = {f"vase_12_s3{tail}" for tail in (".mtl", ".png", "_normal.png", ".bin")}
    assert set(named.record.files) - {"thumbnail.png", "turntable.mp4"} == main_files | companions
    obj = named.folder / "vase_12_s3.obj"
    assert {"mtllib vase_12_s3.mtl", "usemtl vase_12"} < set(obj.read_text().splitlines())
    assert "a_ball" not in obj.read_text()
    assert "map_Kd vase_12_s3.png" in (named.folder / "vase_12_s3.mtl").read_text()
    for suffix, names in (("", {"vase_12"}), ("_collision", {"vase_12", "UCX_vase_12_00"})):
        assert set(trimesh.load(named.folder / f"vase_12_s3{suffix}.glb").geometry) == names
    material = trimesh.load(named.main_file).geometry["vase_12"].visual.material
    assert material.name == "vase_12"
    # an export reads the name from the record, also after the folder was renamed
    moved = named.folder.rename(tmp_path / "delivered")
    for path in export_run(moved, out=tmp_path / "again"):
        # companion files take the folder's new name, so an OBJ and a glTF change and a GLB does not
        again = path.read_bytes().replace(b"delivered", b"vase_12_s3")
        assert again == (moved / f"vase_12_s3{path.suffix}").read_bytes()
        assert (again == path.read_bytes()) == (path.suffix == ".glb")
    assert {p.name for p in (tmp_path / "again").iterdir()} > {"delivered.mtl", "delivered.png"}


def test_text_to_mesh_finds_a_finished_asset_by_its_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also one whose files were named by the prompt."""
    for asset_name in (None, "vase", "vase"):
        asset = make_ball(tmp_path, folder="vase", asset_name=asset_name, progress=LineProgress())
        assert asset.folder.name == "vase"
    assert capsys.readouterr().err.count("finished already") == 2 and asset.record.name is None


def test_text_to_mesh_same_bytes_and_returns_a_finished_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = make_ball(tmp_path / "1"), make_ball(tmp_path / "2")
    assert glb_sha256(one) == glb_sha256(two)
    written = one.main_file.stat().st_mtime_ns
    again = make_ball(tmp_path / "1", progress=LineProgress())
    assert again == one and one.main_file.stat().st_mtime_ns == written
    assert "finished already" in capsys.readouterr().err
    restarted = make_ball(tmp_path / "1", resume=False)
    assert restarted.main_file.stat().st_mtime_ns > written and glb_sha256(restarted) == glb_sha256(one)


def test_generate_quiet_prints_only_warnings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sets = [word for pair in TINY_SETTINGS for word in ("--set", pair)]
    command = ["generate", "a shiny ball", "--out", str(tmp_path), "--device", "cpu", *sets]
    warnings, printed = ["warning: 'shiny' is ignored"], set()
    for state in ("made", "finished already"):
        assert report.run_app(main.app, [*command, "--quiet"]) == 0
        captured = capsys.readouterr()
        assert captured.err.splitlines() == warnings, state
        printed.add(captured.out)
    assert len(printed) == 1, "the result is the same"
    assert report.run_app(main.app, command) == 0
    assert "finished already" in capsys.readouterr().err
    # a damaged stage result is a warning
    folder = tmp_path / "a_shiny_ball"
    (folder / "asset.json").unlink()
    (folder / "work" / "mesh.npz").write_bytes(b"PK")
    assert report.run_app(main.app, [*command, "--quiet"]) == 0
    messages = capsys.readouterr().err.splitlines()
    assert messages == [*warnings, "warning: mesh.npz is damaged; computing it again"]


def test_text_to_mesh_remakes_a_changed_file(tmp_path: Path) -> None:
    one = make_ball(tmp_path)
    before = glb_sha256(one)
    one.main_file.write_bytes(b"not a GLB")
    assert glb_sha256(make_ball(tmp_path)) == before


def test_text_to_mesh_other_identity_gets_another_folder(tmp_path: Path) -> None:
    one, two, three = make_ball(tmp_path), make_ball(tmp_path, seed=1), make_ball(tmp_path, "A ball!")
    assert one.folder.name == "a_ball"
    assert len({one.folder, two.folder, three.folder}) == 3
    assert two.folder.name.startswith("a_ball_") and two.main_file.exists()
    assert make_ball(tmp_path, seed=1).folder == two.folder
    # the bytes do not depend on what else is in OUT
    assert glb_sha256(two) == glb_sha256(make_ball(tmp_path / "alone", seed=1))


@pytest.mark.parametrize(
    "interrupted",
    [
        "dreamfusion3d.fields.nerf.NerfField.state_dict",
        "dreamfusion3d.pipelines.surface_extraction.extract_solid",
        "dreamfusion3d.mesh.simplify.simplify",
        "dreamfusion3d.mesh.lods.bake_albedo",
        "dreamfusion3d.mesh.io.formats.write_asset",
        "dreamfusion3d.rendering.turntable.write_turntable",
        "dreamfusion3d.pipelines.context.build_asset_record",
    ],
)
def test_text_to_mesh_resumes_to_the_same_bytes(interrupted: str, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interrupted, interrupt)
        with pytest.raises(KeyboardInterrupt):
            make_ball(tmp_path / "1")
    folder = tmp_path / "1" / "a_ball"
    assert not (folder / "asset.json").exists() and not (folder / ".lock").exists()
    assert not [p for p in folder.rglob("*") if ".tmp" in p.name]
    assert glb_sha256(make_ball(tmp_path / "1")) == glb_sha256(make_ball(tmp_path / "2"))


def interrupt(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["field.safetensors", "surface.npz", "mesh.npz", "textured.npz", "run.json"])
def test_text_to_mesh_recomputes_damaged_stage_results(name: str, tmp_path: Path) -> None:
    one = make_ball(tmp_path)
    before = glb_sha256(one)
    (one.folder / "asset.json").unlink()
    path = one.folder / "work" / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert glb_sha256(make_ball(tmp_path)) == before


def test_text_to_mesh_finished_run_needs_no_work_folder(tmp_path: Path) -> None:
    one = make_ball(tmp_path)
    shutil.rmtree(one.folder / "work")
    assert make_ball(tmp_path) == one


def test_text_to_mesh_respects_a_living_lock_and_takes_over_a_dead_one(tmp_path: Path) -> None:
    folder = tmp_path / "a_ball"
    folder.mkdir()
    lock = folder / ".lock"
    host = os.uname().nodename
    lock.write_text(json.dumps({"pid": os.getppid(), "host": host}))
    with pytest.raises(InputError, match="being worked on by process"):
        make_ball(tmp_path)
    lock.write_text(json.dumps({"pid": 2**22 + 1, "host": host}))  # beyond Linux's largest pid
    assert make_ball(tmp_path).folder == folder
    assert not lock.exists()


def test_text_to_mesh_full_disk_is_an_input_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dreamfusion3d.pipelines.stages.np.savez", full)
        with pytest.raises(InputError, match="No space left"):
            make_ball(tmp_path)
    assert not (tmp_path / "a_ball" / "asset.json").exists()
    usage = SimpleNamespace(total=1, used=1, free=1)
    monkeypatch.setattr("dreamfusion3d.core.folders.shutil.disk_usage", lambda _: usage)
    with pytest.raises(InputError, match="Free some space"):
        make_ball(tmp_path / "other")


def test_text_to_mesh_unknown_prompt_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="quixnar"):
        make_ball(tmp_path, "a quixnar")
    assert not list(tmp_path.iterdir())


def test_text_to_mesh_reports_stages_and_steps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_ball(tmp_path, "a shiny ball", progress=LineProgress(interval=0.0))
    captured = capsys.readouterr()
    assert captured.out == ""
    for number, name in enumerate(STAGES, 1):
        assert f"[{number}/{len(STAGES)}] {name}" in captured.err
    assert "optimize 2/3" in captured.err and "left" in captured.err
    assert "warning: 'shiny' is ignored" in captured.err


class CubePrior(FakePrior):
    """Predicts a blue cube of side 1 for every prompt."""

    def initial_volume(self, text: TextEmbedding, resolution: int) -> InitialVolume:
        inside = torch.linspace(-1, 1, resolution).abs() <= 0.5
        cube = inside[:, None, None] & inside[:, None] & inside
        return InitialVolume(200.0 * cube, torch.tensor([0.1, 0.1, 0.9]).expand(*cube.shape, 3))


def test_text_to_mesh_starts_from_the_initial_volume(tmp_path: Path) -> None:
    volumes = {}
    for init in ("prior", "blob"):
        asset = make_ball(tmp_path / init, "a blue cube", sets=(f"field.init={init}",), prior=CubePrior())
        mesh = asset.record.mesh
        size = np.ptp(np.array(mesh["bounds"]), axis=0)
        volumes[init] = mesh["volume"] / size.prod()
    assert volumes["prior"] > 0.85, "a cube fills its box"
    assert volumes["blob"] < 0.6, "a ball does not"
