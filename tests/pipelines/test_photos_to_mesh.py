"""Photos to a finished folder: done, resumed to the same bytes, and apart from other photos."""

from __future__ import annotations

import functools
import importlib
import json
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
import torch

from dreamfusion3d.cameras.capture import read_photos, write_photos
from dreamfusion3d.cameras.normalize import SceneTransform
from dreamfusion3d.cameras.orbit import sample_orbit_cameras
from dreamfusion3d.cli import main, report
from dreamfusion3d.core import files
from dreamfusion3d.core.config import QUALITY_PRESETS, RECONSTRUCTION_QUALITY_PRESETS, resolve_config
from dreamfusion3d.pipelines import photos_to_mesh as fit
from dreamfusion3d.pipelines import surface_extraction
from dreamfusion3d.pipelines.export import export_run
from dreamfusion3d.pipelines.live_control import ControlRequest, write_control_request
from dreamfusion3d.pipelines.photos_to_mesh import photos_to_mesh
from dreamfusion3d.pipelines.run_reader import RunFieldReader, read_run_config
from dreamfusion3d.pipelines.text_to_mesh import Asset
from dreamfusion3d.pipelines.video import render_video
from dreamfusion3d.procedural.objects import default_spec, sample_objects_for_spec
from dreamfusion3d.procedural.posed_photos import render_photos
from dreamfusion3d.rendering.chunked import render_field_chunked
from dreamfusion3d.rendering.occupancy_grid import occupied_cells
from dreamfusion3d.rendering.volume import RenderSettings

SETS = [
    "optim.steps=60",
    "reconstruction.rays_per_step=512",
    "field.max_resolution=48",
    "render.step_size=0.04",
    "mesh.grid_resolution=40",
    "mesh.max_faces=800",
    "mesh.texture_size=64",
    "mesh.normal_map=false",
    "reconstruction.num_eval_images=2",
]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surface_extraction, "SILHOUETTE_VIEWS", 6)
    monkeypatch.setattr(surface_extraction, "SILHOUETTE_SIZE", 32)
    video = importlib.import_module("dreamfusion3d.rendering.turntable")
    short = functools.partial(video.write_turntable, seconds=0.1, size=32)
    monkeypatch.setattr(video, "write_turntable", short)
    monkeypatch.setattr(video, "write_thumbnail", functools.partial(video.write_thumbnail, size=32))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    meaning = default_spec("mushroom")
    props = sample_objects_for_spec(meaning, 1, generator=torch.Generator().manual_seed(0))
    cameras = sample_orbit_cameras(16, generator=torch.Generator().manual_seed(1), size=32)
    photos = render_photos(props, 0, meaning, cameras)
    place = tmp_path_factory.mktemp("set") / "my mushroom"
    write_photos(place, photos.rgba.numpy(), photos.cameras)
    return place


def _the_photos_own_cameras_see_the_photos(folder: Path, asset: Path, out: Path) -> None:
    """The file that the photos came with is a camera path, too: in their world, turned and placed."""
    render_video(asset, str(folder / "transforms.json"), out=out, source="field", background="white")
    seen = np.stack([imageio.imread(path) for path in sorted(out.glob("*.png"))]).astype(float) / 255
    config, field = read_run_config(asset), RunFieldReader(asset).read(asset / "work" / "field.safetensors")
    photos, told = read_photos(folder), json.loads((asset / "asset.json").read_text())["fit"]
    cameras = SceneTransform(told["scale"], tuple(told["offset"])).apply_to_cameras(photos.cameras)
    lot = torch.Generator().manual_seed(0)
    settings = RenderSettings(step_size=config.render.step_size, shading="albedo")
    occupancy = occupied_cells(field, config, lot)
    render, _ = render_field_chunked(field, cameras, occupancy=occupancy, generator=lot, settings=settings)
    wanted = render.over(torch.ones(3)).numpy()
    errors = ((wanted[None] - seen[:, None]) ** 2).mean((2, 3, 4))
    assert seen.shape == (16, 32, 32, 3) and -10 * np.log10(errors.diagonal().max()) > 30
    assert (errors.argmin(1) == np.arange(16)).all(), "each is most like its own"


def make(folder: Path, out: Path, *sets: str, **options: Any) -> Asset:
    config = resolve_config(sets=[*SETS, *sets], quality_presets=RECONSTRUCTION_QUALITY_PRESETS)
    return photos_to_mesh(folder, out=out, config=config, device="cpu", **options)


def test_folder_and_record(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sets = [part for pair in SETS for part in ("--set", pair)]
    arguments = ["reconstruct", str(folder), "--out", str(tmp_path), "--format", "glb,obj", "--json", *sets]
    assert report.run_app(main.app, arguments) == 0
    captured = capsys.readouterr()
    printed = json.loads(captured.out)
    asset = tmp_path / "my_mushroom"
    record = json.loads((asset / "asset.json").read_text())
    assert printed == {**record, "folder": str(asset)}
    assert {"my_mushroom.glb", "my_mushroom.obj", "thumbnail.png", "turntable.mp4"} <= set(record["files"])
    assert set(record["seconds"]) == set(fit.PHOTOS_TO_MESH_STAGES)
    assert record["source"]["use"] == "fit" and record["source"]["file"] == "my mushroom"
    assert record["prior"] == {"name": "none", "sha256": ""}
    assert b"the photos may come with terms" in (asset / "my_mushroom.glb").read_bytes()
    held = record["fit"]["held_out"]
    assert record["fit"]["photos"] == 14 and held["photos"] == len(held["views"]) == 2
    assert held["psnr"] > 18 and held["ssim"] > 0.7
    _the_photos_own_cameras_see_the_photos(folder, asset, tmp_path / "again")
    assert f"PSNR {held['psnr']:.2f} dB" in captured.err and "optimise 60/60" in captured.err
    assert record["mesh"]["watertight"] and record["checks"]["silhouettes_match"]["passed"]
    # done already: the path alone, nothing made again
    before = (asset / "my_mushroom.glb").stat().st_mtime_ns
    assert report.run_app(main.app, [a for a in arguments if a != "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{asset / 'my_mushroom.glb'}\n" and "done already" in captured.err
    assert (asset / "my_mushroom.glb").stat().st_mtime_ns == before
    written = export_run(asset, "glb")[0]
    assert files.file_sha256(written) == record["files"]["my_mushroom.glb"]["sha256"]


def test_interrupted_again_and_again_goes_on_to_the_same_bytes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dreamfusion3d.training.photometric.PREVIEW_INTERVAL", 8)
    monkeypatch.setattr("dreamfusion3d.training.distillation.KEEP_EVERY", 6)
    sets = ("optim.steps=14", "reconstruction.rays_per_step=256", "mesh.grid_resolution=32")
    whole = make(folder, tmp_path / "1", *sets)
    torn = tmp_path / "2" / "my_mushroom"
    for where, number in (
        ("dreamfusion3d.training.photometric.PreviewWriter.submit", 2),
        ("dreamfusion3d.training.photometric.evaluate_views", 1),
        ("dreamfusion3d.pipelines.surface_extraction.extract_solid", 1),
        ("dreamfusion3d.pipelines.text_to_mesh.build_asset_record", 1),
    ):
        calls = 0

        def interrupt(*_: object, last: int = number, **__: object) -> None:
            nonlocal calls
            calls += 1
            if calls == last:
                raise KeyboardInterrupt

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(where, interrupt)
            with pytest.raises(KeyboardInterrupt):
                make(folder, tmp_path / "2", *sets)
        assert not (torn / "asset.json").exists() and not (torn / ".lock").exists()
    again = make(folder, tmp_path / "2", *sets)
    assert again.record.files == whole.record.files and again.record.reconstruction == whole.record.reconstruction


def test_other_photos_are_another_asset(folder: Path, tmp_path: Path) -> None:
    sets = ("optim.steps=4", "reconstruction.rays_per_step=64")
    one = make(folder, tmp_path / "out", *sets)
    assert make(folder, tmp_path / "out", *sets) == one
    rgba = np.full((16, 32, 32, 4), 255, np.uint8)
    rgba[:, :8] = 0
    other = tmp_path / "my mushroom"
    from dreamfusion3d.cameras.capture import read_photos

    write_photos(other, rgba, read_photos(folder).cameras)
    two = make(other, tmp_path / "out", *sets)
    assert two.folder != one.folder and two.folder.name.startswith("my_mushroom_")


def test_a_run_without_a_prior_takes_no_prompt(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = ("optim.steps=6", "reconstruction.rays_per_step=64")
    plain = make(folder, tmp_path / "1", *sets)

    def begun(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dreamfusion3d.training.photometric.fit_photos", begun)
        with pytest.raises(KeyboardInterrupt):
            make(folder, tmp_path / "2", *sets)
    write_control_request(tmp_path / "2" / "my_mushroom" / "work", ControlRequest(prompt="a red mug"))
    asked = make(folder, tmp_path / "2", *sets)
    assert "its prompt cannot be edited" in capsys.readouterr().err
    assert asked.record.files == plain.record.files


def test_few_photos_are_remarked_on(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sets = ("optim.steps=2", "reconstruction.rays_per_step=64", "reconstruction.num_eval_images=6")
    make(folder, tmp_path, *sets, progress=None)
    assert "10 photos leave much of the object unseen" in capsys.readouterr().err
    taught = make(folder, tmp_path, *sets, "reconstruction.semantic_encoder=embedded", name="taught")
    assert "leave much of the object" not in capsys.readouterr().err
    assert taught.main_file.name == "taught.glb"


def test_a_prior_is_told_the_text(folder: Path, tmp_path: Path) -> None:
    asset = make(
        folder,
        tmp_path,
        "optim.steps=2",
        "reconstruction.rays_per_step=64",
        "reconstruction.num_novel_views=1",
        text="a mushroom",
    )
    assert asset.folder.name == "a_mushroom" and asset.record.prior["name"] == "embedded"


def test_qualities_are_settings_and_rise() -> None:
    assert set(RECONSTRUCTION_QUALITY_PRESETS) == set(QUALITY_PRESETS)
    steps = [
        resolve_config(q, quality_presets=RECONSTRUCTION_QUALITY_PRESETS).optim.steps
        for q in RECONSTRUCTION_QUALITY_PRESETS
    ]
    assert steps == sorted(steps)
