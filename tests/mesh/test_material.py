"""Roughness and metallic: baked by position, and the same in every file that holds them."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import Float
from PIL import Image

from dreamfusion3d.core.types import Mesh, TexturedMesh
from dreamfusion3d.fields.initialization import FieldInit
from dreamfusion3d.mesh.bake import bake_albedo, interpolate_barycentric
from dreamfusion3d.mesh.io.engine import write_lods
from dreamfusion3d.mesh.io.formats import write_asset
from dreamfusion3d.mesh.io.gltf import read_glb, read_glb_chunks, write_glb, write_gltf
from dreamfusion3d.mesh.normal_map import bake_normal_map, build_high_poly
from dreamfusion3d.pipelines.surface_extraction import as_numpy_function
from dreamfusion3d.priors.pixel.scene_volume import (
    OCCUPANCY_EXTENT,
    OCCUPANCY_RESOLUTION,
    VOLUME_CHANNELS,
    sample_initial_volume,
)
from dreamfusion3d.procedural.objects import ObjectSpec
from tests.support.shapes import mesh_of, position_color, sphere

GOLD_BYTES, MATTE_BYTES = (64, 255), (204, 0)


def half_metal(p: np.ndarray) -> np.ndarray:
    """Metal on the right; rougher towards the top."""
    return np.stack([0.5 + 0.5 * p[:, 1], (p[:, 0] > 0).astype(np.float32)], 1)


@pytest.fixture(scope="module")
def ball_mesh() -> Mesh:
    return mesh_of(sphere, 32, 600)


@pytest.fixture(scope="module")
def ball(ball_mesh: Mesh) -> TexturedMesh:
    return bake_albedo(
        ball_mesh, lambda p: np.concatenate([position_color(p), half_metal(p)], 1), 64, has_material=True
    )


def texels_and_positions(textured: TexturedMesh) -> tuple[np.ndarray, Float[np.ndarray, "n 3"]]:
    """Texels under the centers of faces, and the positions there."""
    weights = np.full((len(textured.faces), 3), 1 / 3)
    uv, position = (interpolate_barycentric(a, textured.faces, weights) for a in (textured.uv, textured.vertices))
    size = textured.texture.shape[0]
    return np.stack([((1 - uv[:, 1]) * size).astype(int), (uv[:, 0] * size).astype(int)]), position


def uniform(ball: TexturedMesh, texel: tuple[int, int]) -> TexturedMesh:
    return replace(ball, metallic_roughness=np.full((64, 64, 2), texel, np.uint8))


def test_bake_albedo_stores_the_material_of_each_position(ball: TexturedMesh, ball_mesh: Mesh) -> None:
    (row, col), position = texels_and_positions(ball)
    assert ball.metallic_roughness is not None
    found, expected = ball.metallic_roughness[row, col] / 255, half_metal(position)
    assert np.abs(found[:, 0] - expected[:, 0]).max() < 0.05  # half a texel
    away = np.abs(position[:, 0]) > 0.05
    np.testing.assert_array_equal(found[away, 1], expected[away, 1])
    assert set(np.unique(ball.metallic_roughness[..., 1])) == {0, 255}
    np.testing.assert_array_equal(bake_albedo(ball_mesh, position_color, 64).texture, ball.texture)


def test_a_metal_bottle_with_a_red_cap() -> None:
    """The upper quarter of the volume is part B."""
    cells = torch.zeros(VOLUME_CHANNELS, *[OCCUPANCY_RESOLUTION] * 3)
    cells[0, 4:-4, 2:-2, 4:-4] = 20.0
    cells[1, :, :24], cells[2, :, 24:] = 1.0, 1.0
    spec = ObjectSpec("bottle", material="metal", second_color="red")
    colors, surfaces = torch.tensor(spec.part_colors()), torch.tensor(spec.part_surfaces())
    init = FieldInit.from_initial_volume(sample_initial_volume(cells, colors, 33, surfaces), torch.device("cpu"))
    grid = mesh_of(lambda p: np.abs(p / [0.5, 0.7, 0.5]).max(1) - 1, 32, 300)
    material = as_numpy_function(init.material, torch.device("cpu"))  # type: ignore[arg-type]
    baked = bake_albedo(grid, lambda p: np.concatenate([np.zeros_like(p), material(p)], 1), 64, has_material=True)
    (row, col), position = texels_and_positions(baked)
    assert baked.metallic_roughness is not None
    metallic, seam = baked.metallic_roughness[row, col, 1], OCCUPANCY_EXTENT / 2
    body, cap = position[:, 1] < seam - 0.1, position[:, 1] > seam + 0.1
    assert body.sum() > 20 and cap.sum() > 20
    assert (metallic[body] == 255).all() and (metallic[cap] == 0).all()


@pytest.mark.parametrize("occluded", [False, True])
def test_read_glb_keeps_the_material(occluded: bool, ball: TexturedMesh, tmp_path: Path) -> None:
    occlusion = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    mesh = replace(ball, occlusion=occlusion) if occluded else ball
    write_glb(mesh, tmp_path / "ball.glb", "ball")
    read = read_glb(tmp_path / "ball.glb")
    np.testing.assert_array_equal(read.metallic_roughness, ball.metallic_roughness)
    np.testing.assert_array_equal(read.texture, ball.texture)
    assert occluded == (read.occlusion is not None)
    if read.occlusion is not None:
        np.testing.assert_array_equal(read.occlusion, occlusion)
    assert read_glb(tmp_path / "ball.glb", maps=False).metallic_roughness is None
    tree, _ = read_glb_chunks((tmp_path / "ball.glb").read_bytes())
    assert [image["name"] for image in tree["images"]] == ["ball", "ball_orm"], "occlusion has no image of its own"
    factors = tree["materials"][0]["pbrMetallicRoughness"]
    assert factors["metallicFactor"] == factors["roughnessFactor"] == 1


def test_read_glb_without_the_normal_map(ball: TexturedMesh, ball_mesh: Mesh, tmp_path: Path) -> None:
    write_glb(bake_normal_map(ball, build_high_poly(ball_mesh)), tmp_path / "ball.glb", "ball")
    assert read_glb(tmp_path / "ball.glb").normal_map is not None
    read = read_glb(tmp_path / "ball.glb", normal_map=False)
    assert read.normal_map is None and read.tangents is None
    np.testing.assert_array_equal(read.metallic_roughness, ball.metallic_roughness)


@pytest.mark.parametrize("texel", [GOLD_BYTES, MATTE_BYTES])
def test_one_material_is_written_as_factors(texel: tuple[int, int], ball: TexturedMesh, tmp_path: Path) -> None:
    mesh = uniform(ball, texel)
    write_glb(mesh, tmp_path / "ball.glb", "ball")
    tree, _ = read_glb_chunks((tmp_path / "ball.glb").read_bytes())
    factors = tree["materials"][0]["pbrMetallicRoughness"]
    assert (factors["roughnessFactor"], factors["metallicFactor"]) == pytest.approx((texel[0] / 255, texel[1] / 255))
    assert len(tree["images"]) == 1
    read = read_glb(tmp_path / "ball.glb").metallic_roughness
    if texel == MATTE_BYTES:
        assert read is None
    else:
        np.testing.assert_array_equal(read, mesh.metallic_roughness)


@pytest.mark.parametrize("format_name", ["glb", "gltf", "obj"])
def test_the_default_material_changes_no_file(format_name: str, ball: TexturedMesh, tmp_path: Path) -> None:
    meshes = {"without": replace(ball, metallic_roughness=None), "with": uniform(ball, MATTE_BYTES)}
    files = {}
    for name, mesh in meshes.items():
        written = write_asset(format_name, mesh, tmp_path / name / f"ball.{format_name}", "ball", {})  # type: ignore[arg-type]
        files[name] = [(path.name, path.read_bytes()) for path in written]
    assert files["with"] == files["without"]


def test_write_gltf_writes_one_orm_image(ball: TexturedMesh, tmp_path: Path) -> None:
    occlusion = np.full((64, 64), 99, np.uint8)
    written = write_gltf(replace(ball, occlusion=occlusion), tmp_path / "ball.gltf", "ball")
    assert sorted(path.name for path in written) == ["ball.bin", "ball.gltf", "ball.png", "ball_orm.png"]
    orm = np.asarray(Image.open(tmp_path / "ball_orm.png"))
    np.testing.assert_array_equal(orm, np.dstack([occlusion, ball.metallic_roughness]))
    (material,) = json.loads(written[0].read_text())["materials"]
    assert material["occlusionTexture"] == material["pbrMetallicRoughness"]["metallicRoughnessTexture"]


def test_write_lods_shares_images_per_level(ball: TexturedMesh, tmp_path: Path) -> None:
    occluded = replace(ball, occlusion=np.full((64, 64), 99, np.uint8))
    write_lods([occluded, uniform(occluded, GOLD_BYTES)], tmp_path / "ball.glb", "ball")
    tree, _ = read_glb_chunks((tmp_path / "ball.glb").read_bytes())
    names = [image["name"] for image in tree["images"]]
    assert names == ["ball_LOD0", "ball_LOD0_orm", "ball_LOD1", "ball_LOD1_occlusion"]


def test_write_obj_names_roughness_and_metallic(ball: TexturedMesh, tmp_path: Path) -> None:
    written = write_asset("obj", ball, tmp_path / "a" / "ball.obj", "ball", {})
    lines = (tmp_path / "a" / "ball.mtl").read_text().splitlines()
    assert {"Pr 1", "Pm 1", "map_Pr ball_roughness.png", "map_Pm ball_metallic.png"} <= set(lines)
    for i, name in enumerate(("ball_roughness.png", "ball_metallic.png")):
        assert tmp_path / "a" / name in written
        assert ball.metallic_roughness is not None
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a" / name)), ball.metallic_roughness[..., i])
    write_asset("obj", uniform(ball, GOLD_BYTES), tmp_path / "b" / "ball.obj", "ball", {})
    text = (tmp_path / "b" / "ball.mtl").read_text()
    assert "\nPr 0.25098\nPm 1\n" in text and "map_P" not in text


def test_write_usdz_connects_roughness_and_metallic(ball: TexturedMesh, tmp_path: Path) -> None:
    pytest.importorskip("pxr")
    from pxr import Usd, UsdShade

    for name, mesh in {"varied": ball, "uniform": uniform(ball, GOLD_BYTES)}.items():
        path = write_asset("usdz", mesh, tmp_path / f"{name}.usdz", "ball", {})[0]
        stage = Usd.Stage.Open(str(path))
        surface = UsdShade.Shader(stage.GetPrimAtPath("/ball/material/surface"))
        roughness, metallic = (surface.GetInput(key) for key in ("roughness", "metallic"))
        if name == "uniform":
            assert (roughness.Get(), metallic.Get()) == pytest.approx((64 / 255, 1.0))
            continue
        sources = [value.GetConnectedSources()[0][0] for value in (roughness, metallic)]
        assert [source.sourceName for source in sources] == ["g", "b"]
        texture = UsdShade.Shader(sources[0].source.GetPrim())
        assert texture.GetInput("sourceColorSpace").Get() == "raw"
        with zipfile.ZipFile(path) as archive, archive.open(texture.GetInput("file").Get().path[2:]) as stream:
            np.testing.assert_array_equal(np.asarray(Image.open(stream))[..., 1:], ball.metallic_roughness)
