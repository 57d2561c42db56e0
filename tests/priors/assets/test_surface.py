"""Distances and materials around meshes, against shapes whose distance is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from dreamfusion3d.mesh.user_mesh import SCENE_HALF_EXTENT
from dreamfusion3d.priors.assets.surface import SHEET_HALF_THICKNESS, read_asset_surface

HALF = SCENE_HALF_EXTENT  # of a cube in the scene: its corners are within the scene's radius
SCALE = min(1.0, 0.82 / (HALF * 3**0.5))


def box_distance(points: np.ndarray, half: float) -> np.ndarray:
    q = np.abs(points) - half
    return np.linalg.norm(np.maximum(q, 0), axis=1) + np.minimum(q.max(1), 0)


def save(mesh: trimesh.Trimesh | trimesh.Scene, path: Path) -> Path:
    mesh.export(path)
    return path


def near_surface(surface, count: int = 3000) -> np.ndarray:
    rng = np.random.default_rng(0)
    return surface.points[rng.integers(len(surface.points), size=count)] + 0.02 * rng.normal(size=(count, 3))


def test_distances_to_a_box_are_exact_to_the_spacing_of_the_points(tmp_path):
    surface = read_asset_surface(save(trimesh.creation.box(), tmp_path / "box.glb"), 20_000)
    points = near_surface(surface)
    np.testing.assert_allclose(
        surface.distance(points), box_distance(points, HALF * SCALE), atol=2 * surface.spacing.max()
    )


def test_a_mesh_inside_out_has_the_same_inside(tmp_path):
    box = trimesh.creation.box()
    box.invert()
    surface = read_asset_surface(save(box, tmp_path / "box.ply"), 5_000)
    assert surface.distance(np.zeros((1, 3)))[0] < -0.3


def two_balls(turn_second: bool) -> trimesh.Trimesh:
    first, second = trimesh.creation.icosphere(radius=0.4), trimesh.creation.icosphere(radius=0.4)
    second.apply_translation([1, 0, 0])
    if turn_second:
        second.invert()
    return trimesh.util.concatenate([first, second])


def two_sided_box() -> trimesh.Trimesh:
    box = trimesh.creation.box()
    return trimesh.Trimesh(box.vertices, np.concatenate([box.faces, box.faces[:, ::-1]]), process=False)


def unoriented_ball() -> trimesh.Trimesh:
    ball = trimesh.creation.icosphere()
    turned = np.random.default_rng(0).random(len(ball.faces)) < 0.5
    faces = np.where(turned[:, None], ball.faces[:, ::-1], ball.faces)
    return trimesh.Trimesh(ball.vertices, faces, process=False)


@pytest.mark.parametrize("mesh", [two_balls(False), two_balls(True), two_sided_box(), unoriented_ball()])
def test_each_part_has_its_inside_whatever_way_its_faces_look(tmp_path, mesh):
    surface = read_asset_surface(save(mesh, tmp_path / "mesh.ply"), 5_000)
    centers = np.array([surface.points[surface.points[:, 0] * s > 0.3].mean(0) for s in (-1, 1)])
    assert not surface.sheet.any() and (surface.distance(0.9 * centers) < -0.02).all()


def test_a_thin_fin_is_no_deep_solid(tmp_path):
    box, fin = trimesh.creation.box(), trimesh.creation.box([0.002, 1, 1])
    fin.apply_translation([0, 0.95, 0])
    surface = read_asset_surface(save(trimesh.util.concatenate([box, fin]), tmp_path / "fin.ply"), 20_000)
    on_fin = surface.points[surface.points[:, 1] > 0.4]
    assert len(on_fin) and np.abs(surface.distance(on_fin)).max() < 2 * SHEET_HALF_THICKNESS


def test_a_missing_face_is_closed(tmp_path):
    box = trimesh.creation.box()
    kept = box.face_normals[:, 1] > -0.5  # no bottom
    surface = read_asset_surface(save(trimesh.Trimesh(box.vertices, box.faces[kept]), tmp_path / "box.glb"), 20_000)
    bottom = surface.points[:, 1].min()
    assert surface.distance(np.array([[0, bottom + 0.2, 0], [0, bottom - 0.2, 0]])) == pytest.approx(
        [-0.2, 0.2], abs=0.1
    )


def test_faces_inside_another_solid_are_no_surface(tmp_path):
    inner, outer = trimesh.creation.icosphere(radius=0.2), trimesh.creation.icosphere(radius=1)
    surface = read_asset_surface(save(trimesh.util.concatenate([inner, outer]), tmp_path / "balls.glb"), 20_000)
    radius = np.linalg.norm(surface.points, axis=1)
    assert radius.min() > 0.9 * radius.max()


def test_a_closed_cavity_is_solid(tmp_path):
    inner, outer = trimesh.creation.icosphere(radius=0.8), trimesh.creation.icosphere(radius=1)
    inner.invert()
    surface = read_asset_surface(save(trimesh.util.concatenate([inner, outer]), tmp_path / "shell.glb"), 20_000)
    radius = np.linalg.norm(surface.points, axis=1)
    assert radius.min() > 0.95 * radius.max() and surface.distance(np.zeros((1, 3)))[0] < -0.5


def test_an_open_cup_keeps_its_inside(tmp_path):
    cup = trimesh.creation.annulus(0.8, 1, 1.5)
    cup.apply_transform(trimesh.transformations.rotation_matrix(-np.pi / 2, [1, 0, 0]))
    surface = read_asset_surface(save(cup, tmp_path / "cup.glb"), 20_000)
    assert not surface.cavity.any() and surface.distance(np.zeros((1, 3)))[0] > 0.3


def test_a_sheet_gets_a_thickness(tmp_path):
    sheet = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], [[0, 1, 2], [0, 2, 3]])
    surface = read_asset_surface(save(sheet, tmp_path / "sheet.obj"), 20_000)
    assert surface.sheet.all()
    points = np.array([[0, 0, 0], [0, 0, 0.1], [0, 0, -0.1]])
    expected = np.array([0, 0.1, 0.1]) - SHEET_HALF_THICKNESS
    np.testing.assert_allclose(surface.distance(points), expected, atol=0.005)


def test_materials_are_those_of_the_nearest_part(tmp_path):
    def ball(x: float, color: list[int], roughness: float, metallic: float) -> trimesh.Trimesh:
        mesh = trimesh.creation.icosphere(radius=0.4)
        mesh.apply_translation([x, 0, 0])
        material = trimesh.visual.material.PBRMaterial(
            baseColorFactor=color, roughnessFactor=roughness, metallicFactor=metallic
        )
        mesh.visual = trimesh.visual.TextureVisuals(uv=np.zeros((len(mesh.vertices), 2)), material=material)
        return mesh

    scene = trimesh.Scene([ball(-1, [255, 0, 0, 255], 0.3, 0.0), ball(1, [0, 0, 255, 255], 0.6, 1.0)])
    surface = read_asset_surface(save(scene, tmp_path / "balls.glb"), 5_000)
    left, right = surface.materials_at(np.array([[-0.5, 0, 0], [0.5, 0, 0]]))
    np.testing.assert_allclose(left, [1, 0, 0, 0.3, 0], atol=0.01)
    np.testing.assert_allclose(right, [0, 0, 1, 0.6, 1], atol=0.01)


def test_a_texture_is_tinted_by_the_factor_of_its_material(tmp_path):
    box = trimesh.creation.box()
    gray = Image.fromarray(np.full((4, 4, 3), 188, np.uint8))  # half of white in linear light
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=gray, baseColorFactor=[255, 0, 255, 255])
    box.visual = trimesh.visual.TextureVisuals(uv=np.zeros((len(box.vertices), 2)), material=material)
    surface = read_asset_surface(save(box, tmp_path / "box.glb"), 100)
    np.testing.assert_allclose(surface.materials[0, :3], [188 / 255, 0, 188 / 255], atol=0.01)
