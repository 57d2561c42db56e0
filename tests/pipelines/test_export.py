"""export_run: the same asset in other formats, axes, units and heights; the run's own files stay untouched."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh

from dreamfusion3d.cli import main, report
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.types import TexturedMesh
from dreamfusion3d.mesh.io.axes import scale_to_height
from dreamfusion3d.mesh.io.formats import write_asset
from dreamfusion3d.mesh.io.gltf import companion_stem, read_glb
from dreamfusion3d.pipelines.export import export_run
from tests.support.pipelines import FINISHED_RUN_HEIGHT, folder_contents, write_finished_run
from tests.support.shapes import textured_of, two_handles


@pytest.fixture(scope="module")
def pot() -> TexturedMesh:
    return textured_of(two_handles, 64)


@pytest.fixture
def run(pot: TexturedMesh, tmp_path: Path) -> Path:
    """A finished run in a folder with a hash, because another run had taken the prompt's slug."""
    return write_finished_run(pot, tmp_path / "out" / "a_pot_a1b2c3")


def test_export_run_defaults_repeat_the_files_of_the_run(run: Path) -> None:
    before = folder_contents(run)
    written = export_run(run)
    assert written == [run / "export" / f"{run.name}.{suffix}" for suffix in ("glb", "obj")]
    exported = folder_contents(run / "export")
    assert set(exported) == {f"{run.name}.{suffix}" for suffix in ("glb", "obj", "mtl", "png")}
    assert all(data == before[name] for name, data in exported.items())
    assert {name: data for name, data in folder_contents(run).items() if not name.startswith("export")} == before


@pytest.mark.parametrize(("asset_name", "written_name"), [("My vase", "my_vase"), ("../../x", "x"), ("", "a_pot")])
def test_export_run_uses_the_asset_name_of_the_record(asset_name: str, written_name: str, run: Path) -> None:
    record = json.loads((run / "asset.json").read_text())
    (run / "asset.json").write_text(json.dumps({**record, "name": asset_name}))
    export_run(run, "obj")
    assert set(folder_contents(run / "export")) == {f"{run.name}.{suffix}" for suffix in ("obj", "mtl", "png")}
    assert f"usemtl {written_name}\n" in (run / "export" / f"{run.name}.obj").read_text()


def test_export_run_assets_of_one_prompt_can_share_a_folder(run: Path, pot: TexturedMesh, tmp_path: Path) -> None:
    """Exported or copied into one folder, each keeps its own texture."""
    green = replace(pot, texture=np.full_like(pot.texture, (0, 200, 0)))
    other = write_finished_run(green, run.parent / "a_pot")
    for one in (run, other):
        export_run(one, "obj,gltf", out=tmp_path / "delivery")
        shutil.copytree(one, tmp_path / "flat", dirs_exist_ok=True)
    for folder in ("delivery/{}.obj", "delivery/{}.gltf", "flat/{}.obj"):
        for one, mesh in ((run, pot), (other, green)):
            [part] = trimesh.load_scene(tmp_path / folder.format(one.name)).geometry.values()
            material = part.visual.material
            image = material.image if hasattr(material, "image") else material.baseColorTexture
            np.testing.assert_array_equal(np.asarray(image.convert("RGB")), mesh.texture)


def test_export_run_of_a_renamed_folder(run: Path) -> None:
    """Companion names have no spaces: one would end the name in an OBJ, and a URI cannot contain it."""
    folder = run.rename(run.parent / "my pot (final)")
    (folder / f"{run.name}.glb").rename(folder / f"{folder.name}.glb")
    for path in export_run(folder, "obj,gltf"):
        [part] = trimesh.load_scene(path).geometry.values()
        assert part.visual.uv is not None
        companions = {p.stem for p in path.parent.iterdir() if p.suffix in (".mtl", ".bin", ".png")}
        assert companions == {companion_stem(path)} and re.fullmatch("my_pot_final_[0-9a-f]{6}", companion_stem(path))


@pytest.mark.parametrize("fault", ["no work folder", "damaged npz"])
def test_export_run_reads_the_glb_without_stage_results(
    fault: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if fault == "no work folder":
        shutil.rmtree(run / "work")
    else:
        (run / "work" / "textured.npz").write_bytes(b"PK")
    [path] = export_run(run, "glb")
    assert ("damaged" in capsys.readouterr().err) == (fault == "damaged npz")
    one, two = read_glb(run / f"{run.name}.glb"), read_glb(path)
    np.testing.assert_allclose(two.vertices, one.vertices, atol=1e-6)
    np.testing.assert_allclose(two.normals, one.normals, atol=1e-6)
    np.testing.assert_array_equal(two.texture, one.texture)
    np.testing.assert_array_equal(two.faces, one.faces)


def test_export_run_warns_of_a_changed_glb(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(run / "work")
    glb = run / f"{run.name}.glb"
    write_asset("glb", scale_to_height(read_glb(glb), 7.0), glb, "edited", {})
    [path] = export_run(run, "glb")
    assert "was changed after the run wrote it" in capsys.readouterr().err
    assert np.ptp(read_glb(path).vertices[:, 1]) == pytest.approx(FINISHED_RUN_HEIGHT, rel=1e-5)


def test_export_run_axes_units_height_and_pivot(run: Path, tmp_path: Path) -> None:
    [path] = export_run(run, ["obj"], out=tmp_path / "x", up="z", units="cm", height=0.25, pivot="center")
    assert path == tmp_path / "x" / f"{run.name}.obj" and not (run / "export").exists()
    bounds = trimesh.load(path, process=False).bounds
    np.testing.assert_allclose(bounds[0], -bounds[1], atol=1e-4)
    assert bounds[1, 2] == pytest.approx(12.5, rel=1e-5)
    assert "# frame: +Z up, cm" in path.read_text()


def test_export_run_warns_of_options_that_gltf_does_not_allow(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [path] = export_run(run, "glb", up="z", units="cm")
    assert "glb is always +Y up, m" in capsys.readouterr().err
    assert path.read_bytes() == (run / f"{run.name}.glb").read_bytes()
    export_run(run, "glb", up="y", units="m")
    assert capsys.readouterr().err == ""


def test_export_command(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "x"
    arguments = [str(run), "--format", "ply,stl,3mf,gltf", "--out", str(out), "--height", "2", "--quiet"]
    assert report.run_app(main.app, ["export", *arguments]) == 0
    captured = capsys.readouterr()
    assert captured.out.split() == [str(out / f"{run.name}.{k}") for k in ("ply", "stl", "3mf", "gltf")]
    assert captured.err == ""
    assert not [p for p in out.iterdir() if "tmp" in p.name]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "usd"], "did you mean 'usdz'?"),
        (["--format", "gltff,glb"], "did you mean 'gltf'?"),
        (["--format", ""], "--format is empty; give at least one of glb, gltf"),
        (["--up", "x"], "--up 'x' is not one of y, z"),
        (["--units", "inch"], "m, cm, mm"),
        (["--pivot", "centre"], "did you mean 'center'?"),
        (["--height", "0"], "--height 0.0 is too small"),
        (["--height", "nan"], "not a finite number"),
        (["--out", "."], "the run's own folder"),
    ],
)
def test_export_command_rejects_bad_options(
    arguments: list[str], message: str, run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run)
    before = folder_contents(run)
    assert report.run_app(main.app, ["export", str(run), *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and len(captured.err.splitlines()) == 1 and captured.out == ""
    assert folder_contents(run) == before


def test_read_run_explains_folders_without_a_finished_run(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        export_run(tmp_path / "nowhere")
    with pytest.raises(InputError, match="is a file"):
        export_run(run / "asset.json")
    with pytest.raises(InputError, match=r"contains 1 runs but is not a run itself.*a_pot_a1b2c3"):
        export_run(run.parent)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="not the folder of a run"):
        export_run(tmp_path / "empty")
    record = json.loads((run / "asset.json").read_text())
    for broken in ("{", "[]", json.dumps({**record, "config": {}})):
        (run / "asset.json").write_text(broken)
        with pytest.raises(InputError, match="not the record of a run"):
            export_run(run)
    (run / "asset.json").unlink()
    (run / "work" / "run.json").write_text(json.dumps({"prompt": "A pot"}))
    with pytest.raises(InputError, match='not finished.*text2mesh "A pot"'):
        export_run(run)


def test_export_run_without_any_mesh(run: Path) -> None:
    shutil.rmtree(run / "work")
    (run / f"{run.name}.glb").write_bytes(b"glTF?")
    with pytest.raises(InputError, match="cannot be read"):
        export_run(run, "obj")
    (run / f"{run.name}.glb").unlink()
    with pytest.raises(InputError, match="neither work/textured.npz nor a GLB"):
        export_run(run, "obj")


def test_export_run_permission_denied(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    # patched, because permissions do not stop root, who may run the tests
    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", denied)
        with pytest.raises(InputError, match="Permission denied. Choose another with --out"):
            export_run(run, "obj")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", denied)
        with pytest.raises(InputError, match="Permission denied"):
            export_run(run, "obj", out=tmp_path / "x")
    assert not list((tmp_path / "x").iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", denied)
        with pytest.raises(InputError, match="cannot read .*asset.json"):
            export_run(run, "obj")
