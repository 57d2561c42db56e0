"""A mesh of the user's is retextured with its corners kept, and --refine and --init are stages of a run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import trimesh

from dreamfusion3d.core import files
from dreamfusion3d.core.config import resolve_config
from dreamfusion3d.mesh.io.gltf import read_glb
from dreamfusion3d.mesh.io.load import read_mesh
from dreamfusion3d.pipelines.retexture import retexture_mesh
from dreamfusion3d.pipelines.text_to_mesh import text_to_mesh
from tests.support.training import TEXTURE_SETTINGS, RedPrior


@pytest.fixture
def red_prior(small_renders: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dreamfusion3d.priors.loading.load_prior", lambda name, *, device: RedPrior())


def write_mesh_with_uvs(path: Path) -> None:
    """Write a small tetrahedron with disjoint UVs, far from the origin."""
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]) * 0.01 + [3, 4, 5]
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    cells = np.array([[0.05, 0.05], [0.55, 0.05], [0.05, 0.55], [0.55, 0.55]])
    uv = (cells[:, None] + np.array([[0, 0], [0.4, 0], [0, 0.4]])).reshape(-1, 2)
    split = corners[faces].reshape(-1, 3)
    visual = trimesh.visual.TextureVisuals(uv=uv)
    trimesh.Trimesh(split, np.arange(12).reshape(4, 3), visual=visual, process=False).export(path)


def test_retexture_mesh_keeps_the_mesh_bit_for_bit(tmp_path: Path, red_prior: None) -> None:
    mesh_file = tmp_path / "given.glb"
    write_mesh_with_uvs(mesh_file)
    config = resolve_config(sets=[*TEXTURE_SETTINGS, "mesh.retexture_steps=25"])
    asset = retexture_mesh("a red thing", mesh_file, out=tmp_path / "out", config=config, device="cpu")
    before, after = read_mesh(mesh_file), read_mesh(asset.main_file)
    assert before.vertices.tobytes() == after.vertices.tobytes()
    assert before.faces.tobytes() == after.faces.tobytes()
    assert before.uv is not None and after.uv is not None
    np.testing.assert_allclose(before.uv, after.uv, atol=1e-7)
    record = json.loads((asset.folder / "asset.json").read_text())
    assert record["checks"] == {"corners_kept": {"passed": True, "figure": True}}
    assert record["source"] == {"use": "retexture", "file": "given.glb", "sha256": files.file_sha256(mesh_file)}
    assert record["mesh"]["faces"] == 4 and record["mesh"]["watertight"]
    texture = trimesh.load_scene(asset.main_file).to_geometry().visual.material.baseColorTexture
    red, green, _ = np.asarray(texture.convert("RGB")).reshape(-1, 3).mean(0)
    assert red > green + 80
    # a second call finds it finished; another mesh under the same prompt is another asset
    assert retexture_mesh("a red thing", mesh_file, out=tmp_path / "out", config=config, device="cpu") == asset
    trimesh.creation.icosphere(1).export(tmp_path / "ball.stl")
    other = retexture_mesh(
        "a red thing",
        tmp_path / "ball.stl",
        out=tmp_path / "out",
        device="cpu",
        config=resolve_config(sets=[*TEXTURE_SETTINGS, "mesh.retexture_steps=1"]),
    )
    assert other.folder != asset.folder and other.passed
    ball, result = read_mesh(tmp_path / "ball.stl"), read_mesh(other.main_file)
    assert np.array_equal(ball.vertices[ball.faces], result.vertices[result.faces])  # split by new UVs only
    assert result.uv is not None


def test_retexture_mesh_keeps_the_hard_edges_of_a_box_without_normals(tmp_path: Path, red_prior: None) -> None:
    box = trimesh.creation.box()
    box.export(tmp_path / "box.obj", include_normals=False)
    config = resolve_config(sets=[*TEXTURE_SETTINGS, "mesh.retexture_steps=1"])
    asset = retexture_mesh("a red box", tmp_path / "box.obj", out=tmp_path / "out", config=config, device="cpu")
    assert asset.passed and asset.record.mesh["vertices"] == 8 and asset.record.mesh["watertight"]
    written = read_glb(asset.main_file)
    assert np.array_equal(written.vertices[written.faces], box.vertices[box.faces].astype(np.float32))
    flat = box.face_normals[:, None].repeat(3, 1)
    np.testing.assert_allclose(written.normals[written.faces], flat, atol=1e-6)


def test_text_to_mesh_with_init_and_refine_adds_their_stages(tmp_path: Path, red_prior: None) -> None:
    """Starting from a ball, with one step of everything, the ball comes out with its colors refined to red."""
    trimesh.creation.icosphere(3).export(tmp_path / "ball.ply")
    config = resolve_config(
        sets=[
            *TEXTURE_SETTINGS,
            "mesh.refine_steps=30",
            "mesh.grid_resolution=32",
            "mesh.max_faces=500",
            "optim.steps=1",
            "render.resolution=16",
            "render.coarse_resolution=16",
            "optim.lr_hashgrid=0",
            "optim.lr_mlp=0",
        ]
    )
    asset = text_to_mesh("a red ball", init=tmp_path / "ball.ply", out=tmp_path / "out", config=config, device="cpu")
    assert list(asset.record.seconds) == [
        "prior",
        "init",
        "optimize",
        "extract",
        "simplify",
        "refine",
        "texture",
        "export",
        "render",
    ]
    assert asset.record.source["use"] == "init"
    low, high = np.array(asset.record.mesh["bounds"])
    assert np.ptp(high - low) < 0.05 and asset.record.mesh["volume"] == pytest.approx(np.pi / 6, rel=0.1)
    texture = trimesh.load_scene(asset.main_file).to_geometry().visual.material.baseColorTexture
    red, green, _ = np.asarray(texture.convert("RGB")).reshape(-1, 3).mean(0)
    assert red > green + 60
