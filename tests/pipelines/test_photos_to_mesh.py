"""photos_to_mesh: files and record, resuming to the same bytes, other photos, prompts."""

from __future__ import annotations

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
from dreamfusion3d.pipelines.asset_record import Asset
from dreamfusion3d.pipelines.export import export_run
from dreamfusion3d.pipelines.live_control import ControlRequest, write_control_request
from dreamfusion3d.pipelines.photos_to_mesh import PHOTOS_TO_MESH_STAGES, photos_to_mesh
from dreamfusion3d.pipelines.run_reader import RunFieldReader, read_run_config
from dreamfusion3d.pipelines.video import render_video
from dreamfusion3d.procedural.objects import default_spec, sample_objects_for_spec
from dreamfusion3d.procedural.posed_photos import render_photos
from dreamfusion3d.rendering.chunked import render_field_chunked
from dreamfusion3d.rendering.occupancy_grid import occupied_cells
from dreamfusion3d.rendering.volume import RenderSettings

pytestmark = pytest.mark.usefixtures("small_renders")
SETTINGS = [
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


@pytest.fixture(scope="module")
def photos_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = default_spec("mushroom")
    objects = sample_objects_for_spec(spec, 1, generator=torch.Generator().manual_seed(0))
    cameras = sample_orbit_cameras(16, generator=torch.Generator().manual_seed(1), size=32)
    photos = render_photos(objects, 0, spec, cameras)
    folder = tmp_path_factory.mktemp("photos") / "my mushroom"
    write_photos(folder, photos.rgba.numpy(), photos.cameras)
    return folder


def assert_rendered_photos_match(photos_folder: Path, asset: Path, out: Path) -> None:
    """Render the field along the photos' own transforms.json, in the photos' world; compare with the scene's."""
    render_video(asset, str(photos_folder / "transforms.json"), out=out, source="field", background="white")
    frames = np.stack([imageio.imread(path) for path in sorted(out.glob("*.png"))]).astype(float) / 255
    config, field = read_run_config(asset), RunFieldReader(asset).read(asset / "work" / "field.safetensors")
    reconstruction = json.loads((asset / "asset.json").read_text())["reconstruction"]
    transform = SceneTransform(reconstruction["scale"], tuple(reconstruction["offset"]))
    cameras = transform.apply_to_cameras(read_photos(photos_folder).cameras)
    generator = torch.Generator().manual_seed(0)
    settings = RenderSettings(step_size=config.render.step_size, shading="albedo")
    occupancy = occupied_cells(field, config, generator)
    render, _ = render_field_chunked(field, cameras, occupancy=occupancy, generator=generator, settings=settings)
    expected = render.over(torch.ones(3)).numpy()
    errors = ((expected[None] - frames[:, None]) ** 2).mean((2, 3, 4))
    assert frames.shape == (16, 32, 32, 3) and -10 * np.log10(errors.diagonal().max()) > 30
    assert (errors.argmin(1) == np.arange(16)).all(), "each frame is closest to its own photo"


def reconstruct(photos_folder: Path, out: Path, *sets: str, **options: Any) -> Asset:
    config = resolve_config(sets=[*SETTINGS, *sets], quality_presets=RECONSTRUCTION_QUALITY_PRESETS)
    return photos_to_mesh(photos_folder, out=out, config=config, device="cpu", **options)


def test_reconstruct_command_writes_files_and_record(
    photos_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = [part for pair in SETTINGS for part in ("--set", pair)]
    arguments = ["reconstruct", str(photos_folder), "--out", str(tmp_path), "--format", "glb,obj", "--json", *sets]
    assert report.run_app(main.app, arguments) == 0
    captured = capsys.readouterr()
    printed = json.loads(captured.out)
    asset = tmp_path / "my_mushroom"
    record = json.loads((asset / "asset.json").read_text())
    assert printed == {**record, "folder": str(asset)}
    assert {"my_mushroom.glb", "my_mushroom.obj", "thumbnail.png", "turntable.mp4"} <= set(record["files"])
    assert set(record["seconds"]) == set(PHOTOS_TO_MESH_STAGES)
    assert record["source"]["use"] == "fit" and record["source"]["file"] == "my mushroom"
    assert record["prior"] == {"name": "none", "sha256": ""}
    assert b"the photos may come with terms" in (asset / "my_mushroom.glb").read_bytes()
    held = record["reconstruction"]["held_out"]
    assert record["reconstruction"]["photos"] == 14 and held["photos"] == len(held["views"]) == 2
    assert held["psnr"] > 18 and held["ssim"] > 0.65
    assert_rendered_photos_match(photos_folder, asset, tmp_path / "again")
    assert f"PSNR {held['psnr']:.2f} dB" in captured.err and "optimize 60/60" in captured.err
    assert record["mesh"]["watertight"] and record["checks"]["silhouettes_match"]["passed"]
    # a second call only prints the path
    before = (asset / "my_mushroom.glb").stat().st_mtime_ns
    assert report.run_app(main.app, [a for a in arguments if a != "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{asset / 'my_mushroom.glb'}\n" and "finished already" in captured.err
    assert (asset / "my_mushroom.glb").stat().st_mtime_ns == before
    written = export_run(asset, "glb")[0]
    assert files.file_sha256(written) == record["files"]["my_mushroom.glb"]["sha256"]


def test_photos_to_mesh_resumes_to_the_same_bytes(
    photos_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dreamfusion3d.training.loop.PREVIEW_INTERVAL", 8)
    monkeypatch.setattr("dreamfusion3d.training.loop.CHECKPOINT_EVERY", 6)
    sets = ("optim.steps=14", "reconstruction.rays_per_step=256", "mesh.grid_resolution=32")
    whole = reconstruct(photos_folder, tmp_path / "1", *sets)
    interrupted = tmp_path / "2" / "my_mushroom"
    for target, number in (
        ("dreamfusion3d.training.previews.PreviewWriter.submit", 2),
        ("dreamfusion3d.training.photometric.evaluate_views", 1),
        ("dreamfusion3d.pipelines.surface_extraction.extract_solid", 1),
        ("dreamfusion3d.pipelines.context.build_asset_record", 1),
    ):
        calls = 0

        def interrupt(*_: object, last: int = number, **__: object) -> None:
            nonlocal calls
            calls += 1
            if calls == last:
                raise KeyboardInterrupt

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(target, interrupt)
            with pytest.raises(KeyboardInterrupt):
                reconstruct(photos_folder, tmp_path / "2", *sets)
        assert not (interrupted / "asset.json").exists() and not (interrupted / ".lock").exists()
    again = reconstruct(photos_folder, tmp_path / "2", *sets)
    assert again.record.files == whole.record.files and again.record.reconstruction == whole.record.reconstruction


def test_photos_to_mesh_other_photos_are_another_asset(photos_folder: Path, tmp_path: Path) -> None:
    sets = ("optim.steps=4", "reconstruction.rays_per_step=64")
    one = reconstruct(photos_folder, tmp_path / "out", *sets)
    assert reconstruct(photos_folder, tmp_path / "out", *sets) == one
    rgba = np.full((16, 32, 32, 4), 255, np.uint8)
    rgba[:, :8] = 0
    other = tmp_path / "my mushroom"
    write_photos(other, rgba, read_photos(photos_folder).cameras)
    two = reconstruct(other, tmp_path / "out", *sets)
    assert two.folder != one.folder and two.folder.name.startswith("my_mushroom_")


def test_photos_to_mesh_without_prior_rejects_a_prompt_edit(
    photos_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = ("optim.steps=6", "reconstruction.rays_per_step=64")
    plain = reconstruct(photos_folder, tmp_path / "1", *sets)

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dreamfusion3d.training.photometric.fit_photos", interrupt)
        with pytest.raises(KeyboardInterrupt):
            reconstruct(photos_folder, tmp_path / "2", *sets)
    write_control_request(tmp_path / "2" / "my_mushroom" / "work", ControlRequest(prompt="a red mug"))
    requested = reconstruct(photos_folder, tmp_path / "2", *sets)
    assert "its prompt cannot be edited" in capsys.readouterr().err
    assert requested.record.files == plain.record.files


def test_photos_to_mesh_warns_of_few_photos(
    photos_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = ("optim.steps=2", "reconstruction.rays_per_step=64", "reconstruction.num_eval_images=6")
    reconstruct(photos_folder, tmp_path, *sets, progress=None)
    assert "10 photos leave much of the object unseen" in capsys.readouterr().err
    supervised = reconstruct(
        photos_folder, tmp_path, *sets, "reconstruction.semantic_encoder=embedded", name="supervised"
    )
    assert "leave much of the object" not in capsys.readouterr().err
    assert supervised.main_file.name == "supervised.glb"


def test_photos_to_mesh_with_prompt_uses_the_prior(photos_folder: Path, tmp_path: Path) -> None:
    asset = reconstruct(
        photos_folder,
        tmp_path,
        "optim.steps=2",
        "reconstruction.rays_per_step=64",
        "reconstruction.num_novel_views=1",
        prompt="a mushroom",
    )
    assert asset.folder.name == "a_mushroom" and asset.record.prior["name"] == "embedded"


def test_reconstruction_quality_presets_increase_the_steps() -> None:
    assert set(RECONSTRUCTION_QUALITY_PRESETS) == set(QUALITY_PRESETS) - {"instant"}, "photos need an optimization"
    steps = [
        resolve_config(q, quality_presets=RECONSTRUCTION_QUALITY_PRESETS).optim.steps
        for q in RECONSTRUCTION_QUALITY_PRESETS
    ]
    assert steps == sorted(steps)
