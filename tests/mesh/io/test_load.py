"""Reading, normalizing and voxelizing a user's mesh, and the messages for unusable ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from dreamfusion3d.cli import generate, report
from dreamfusion3d.core.config import Config
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.types import Mesh
from dreamfusion3d.evaluation.ground_truth import ground_truth_mesh
from dreamfusion3d.fields.initialization import FieldInit
from dreamfusion3d.fields.nerf import NerfField
from dreamfusion3d.mesh.io.colors import sample_colored_points
from dreamfusion3d.mesh.io.load import read_mesh
from dreamfusion3d.mesh.user_mesh import ensure_uvs, mesh_normalization, uv_problem
from dreamfusion3d.mesh.voxelize import depth_grid, inside_grid, voxelize_mesh
from dreamfusion3d.pipelines.surface_extraction import render_field_opacity
from dreamfusion3d.procedural.objects import default_spec, sample_objects_for_spec
from dreamfusion3d.rendering.mesh_renderer import render_silhouettes

BALL = trimesh.creation.icosphere(3, radius=0.6)


def mesh_of(body: trimesh.Trimesh) -> Mesh:
    return Mesh(np.asarray(body.vertices), np.asarray(body.faces))


@pytest.mark.parametrize("suffix", ["glb", "ply", "stl"])
def test_read_mesh_and_ensure_uvs_keep_corners(suffix: str, tmp_path: Path) -> None:
    BALL.export(tmp_path / f"a.{suffix}")
    mesh = read_mesh(tmp_path / f"a.{suffix}")
    corners = BALL.vertices.astype(np.float32)[BALL.faces]
    assert np.array_equal(mesh.vertices[mesh.faces], corners)
    atlas = ensure_uvs(mesh, 128)
    assert np.array_equal(atlas.vertices[atlas.faces], corners)
    assert np.allclose(np.linalg.norm(atlas.normals, axis=1), 1, atol=1e-5)


def test_read_mesh_applies_node_transforms(tmp_path: Path) -> None:
    scene = trimesh.Scene()
    scene.add_geometry(BALL, node_name="a", transform=trimesh.transformations.translation_matrix([5, 0, 0]))
    scene.add_geometry(BALL, node_name="b", transform=np.diag([-2.0, 1, 1, 1]))
    scene.export(tmp_path / "two.glb")
    mesh = read_mesh(tmp_path / "two.glb")
    assert len(mesh.faces) == 2 * len(BALL.faces) and mesh.uv is None
    assert mesh.vertices.min(0) == pytest.approx([-1.2, -0.6, -0.6], abs=1e-5)
    assert mesh.vertices[:, 0].max() == pytest.approx(5.6, abs=1e-5)
    outwards = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    assert outwards.volume == pytest.approx(3 * BALL.volume, rel=1e-3)  # both wound outwards
    assert mesh_normalization(mesh.vertices).to_scene(mesh.vertices)[:, 0].max() == pytest.approx(0.62)


def test_uv_problem_describes_unusable_uvs(tmp_path: Path) -> None:
    BALL.export(tmp_path / "a.ply")
    mesh = read_mesh(tmp_path / "a.ply")
    rng = np.random.default_rng(0)
    for uv, problem in (
        (None, "no UVs"),
        (np.full((642, 2), 0.3), "almost nothing"),
        (rng.random((642, 2)), "overlap"),
        (rng.random((642, 2)) * 3, "unit square"),
        (np.full((642, 2), np.nan), "unit square"),
    ):
        single = None if uv is None else uv.astype(np.float32)
        changed = type(mesh)(mesh.vertices, mesh.faces, mesh.normals, single)
        assert problem in (uv_problem(changed, 128) or "")
    atlas = ensure_uvs(mesh, 128)
    assert uv_problem(type(mesh)(atlas.vertices, atlas.faces, atlas.normals, atlas.uv), 128) is None


BAD = {
    "missing.glb": (None, "no mesh file"),
    "empty.glb": (b"", "empty"),
    "junk.glb": (b"glTF" + b"junk" * 40, "damaged"),
    "half.ply": (b"ply\nformat binary_little_endian 1.0\n", "damaged"),
    "other.fbx": (b"Kaydara", ".glb, .gltf, .obj, .ply, .stl for meshes, .ply, .pcd, "),
    "other.gltf": (b"{}", "has no faces"),
    "points.obj": (b"v 0 0 0\nv 1 0 0\nv 0 1 0\n", "no faces"),
    "words.stl": (b"hello", "no faces"),
    "nan.obj": (b"v 0 0 nan\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "not finite"),
    "far.obj": (b"v 1e300 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "not finite"),
    "flat.obj": (b"v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n", "no area"),
    "index.obj": (b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n", "damaged"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("option", ["--retexture", "--init"])
def test_bad_meshes_are_one_line_and_exit_2(
    name: str, option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, message = BAD[name]
    if data is not None:
        (tmp_path / name).write_bytes(data)
    out = tmp_path / "out"
    assert report.run_app(generate.app, ["a mug", option, str(tmp_path / name), "--out", str(out)]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and len(captured.err.splitlines()) == 1 and message in captured.err
    assert not out.exists()


def test_read_mesh_limits_the_number_of_faces(tmp_path: Path) -> None:
    BALL.export(tmp_path / "a.stl")
    with pytest.raises(InputError, match="1,280 faces, more than the limit of 1,000"):
        read_mesh(tmp_path / "a.stl", max_faces=1000)


def test_a_gltf_reads_its_buffers_but_nothing_outside_its_folder(tmp_path):
    box = trimesh.Scene(trimesh.creation.box())
    files = trimesh.exchange.gltf.export_gltf(box)
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    assert len(read_mesh(tmp_path / "model.gltf").faces) == 12
    inside = tmp_path / "inside"
    inside.mkdir()
    text = (tmp_path / "model.gltf").read_text()
    for name in files:
        text = text.replace(f'"{name}"', f'"../{name}"')
    (inside / "model.gltf").write_text(text)
    with pytest.raises(InputError, match="escapes"):
        read_mesh(inside / "model.gltf")


@pytest.mark.parametrize("option", ["--init a.glb", "--refine 3", "--faces 500", "--height 1"])
def test_retexture_excludes_options(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert report.run_app(generate.app, ["a mug", "--retexture", "a.glb", *option.split()]) == 2
    assert f"{option.split()[0]} cannot be combined with --retexture" in capsys.readouterr().err


def test_inside_grid_ignores_winding_and_holes() -> None:
    resolution = 40
    line = np.linspace(-1, 1, resolution)
    radius = np.linalg.norm(np.stack(np.meshgrid(line, line, line, indexing="ij"), -1), axis=-1)
    ball = mesh_of(trimesh.creation.icosphere(4, radius=0.6))
    truth = radius < 0.6
    for mesh in (ball, Mesh(ball.vertices, ball.faces[:, ::-1])):
        wrong = inside_grid(mesh, resolution) != truth
        assert not wrong[np.abs(radius - 0.6) > 0.01].any()  # the triangles' chords apart
    open_top = Mesh(ball.vertices, ball.faces[ball.vertices[ball.faces][:, :, 1].mean(1) < 0.5])
    assert (inside_grid(open_top, resolution) & truth).sum() > 0.9 * truth.sum()
    depth = depth_grid(ball, resolution)
    near = np.abs(radius - 0.6) < 0.08
    assert np.abs(depth - (0.6 - radius))[near].max() < 0.008


def test_depth_grid_unites_overlapping_solids() -> None:
    one, two = (trimesh.creation.box([0.6, 0.6, 0.6]).apply_translation([x, 0, 0]) for x in (-0.2, 0.2))
    depth = depth_grid(mesh_of(trimesh.util.concatenate([one, two])), 41)
    line = np.linspace(-1, 1, 41)
    x, y, z = np.meshgrid(line, line, line, indexing="ij")
    truth = np.minimum(0.5 - np.abs(x), 0.3 - np.maximum(np.abs(y), np.abs(z)))  # of their hull, a box
    deep = truth > 0.16  # three samples: a face counts as inner from two on
    assert deep.sum() > 300 and depth[deep].min() > 0.05


def test_depth_grid_keeps_a_sheet() -> None:
    corners = np.array([[-0.5, 0, -0.5], [0.5, 0, -0.5], [0.5, 0, 0.5], [-0.5, 0, 0.5]])
    sheet = Mesh(corners, np.array([[0, 1, 2], [0, 2, 3]]))
    assert not inside_grid(sheet, 41).any()
    solid = depth_grid(sheet, 41) > 0
    assert solid[12:29, :, 12:29].any(1).all()


@pytest.mark.parametrize("category", ["mug", "table"])
def test_field_initialized_from_a_mesh_matches_it(category: str, tmp_path: Path) -> None:
    """Without a training step, the silhouettes of the field are those of the mesh."""
    generator = torch.Generator().manual_seed(1)
    body = ground_truth_mesh(sample_objects_for_spec(default_spec(category), 1, generator=generator), 0, 64)
    trimesh.Trimesh(body.vertices * 3 + 1, body.faces, process=False).export(tmp_path / "a.glb")
    user_mesh = read_mesh(tmp_path / "a.glb")
    normalization = mesh_normalization(user_mesh.vertices)
    solid = voxelize_mesh(user_mesh, normalization, sample_colored_points(tmp_path / "a.glb"), 96, 16)
    start = FieldInit.from_solid(torch.from_numpy(solid.depth), torch.from_numpy(solid.color), torch.device("cpu"))
    field = NerfField(Config().field, generator=torch.Generator().manual_seed(0), init=start)
    assert not [name for name in field.state_dict() if name.startswith("init")]
    field.set_sharpness(Config().optim.sharpness)
    cameras, opacity = render_field_opacity(field, torch.Generator().manual_seed(0))
    silhouettes = render_silhouettes(Mesh(normalization.to_scene(user_mesh.vertices), user_mesh.faces), cameras)
    covered = opacity > 0.5
    assert (covered & silhouettes).sum() / (covered | silhouettes).sum() > 0.96


def test_sample_colored_points_reads_textures_and_vertex_colors(tmp_path: Path) -> None:
    is_left = BALL.vertices[:, 0] < 0
    uv = np.where(is_left[:, None], (0.25, 0.5), (0.75, 0.5))
    image = np.zeros((8, 8, 3), np.uint8)
    image[:, :4], image[:, 4:] = (200, 0, 0), (0, 0, 200)
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=Image.fromarray(image))
    textured = BALL.copy()
    textured.visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    textured.export(tmp_path / "t.glb")
    colored = BALL.copy()
    both = np.where(is_left[:, None], (200, 0, 0, 255), (0, 0, 200, 255))
    colored.visual.vertex_colors = both.astype(np.uint8)
    colored.export(tmp_path / "v.ply")
    for name in ("t.glb", "v.ply"):
        found = sample_colored_points(tmp_path / name)
        assert found is not None
        points, colors = found
        assert np.abs(colors[points[:, 0] < -0.2] - (200 / 255, 0, 0)).max() < 0.02, name
        assert np.abs(colors[points[:, 0] > 0.2] - (0, 0, 200 / 255)).max() < 0.02, name
    BALL.export(tmp_path / "p.stl")
    path, normalization = tmp_path / "t.glb", mesh_normalization(BALL.vertices)
    solid = voxelize_mesh(read_mesh(path), normalization, sample_colored_points(path), 16, 12)
    assert solid.color[2, 6, 6].argmax() == 0 and solid.color[9, 6, 6].argmax() == 2
