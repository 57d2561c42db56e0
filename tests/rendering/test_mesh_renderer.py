"""Mesh rendering against geometry."""

from __future__ import annotations

import cv2
import imageio.v3 as imageio
import numpy as np
import pytest
import torch

from dreamfusion3d.cameras.orbit import orbit_cameras
from dreamfusion3d.core.types import Mesh, TexturedMesh
from dreamfusion3d.mesh.isosurface import marching_cubes, sample_grid
from dreamfusion3d.mesh.tangents import vertex_normals
from dreamfusion3d.rendering.mesh_renderer import render_mesh, render_silhouettes
from dreamfusion3d.rendering.turntable import fit_mesh_to_views, write_thumbnail, write_turntable

RADIUS = 0.6


@pytest.fixture(scope="module")
def ball() -> TexturedMesh:
    """A sphere with a red left and a blue right half, textured by projection along z."""
    mesh = marching_cubes(sample_grid(lambda p: RADIUS - np.linalg.norm(p, axis=1), 48), 0.0)
    texture = np.zeros((64, 64, 3), np.uint8)
    texture[:, :32, 0], texture[:, 32:, 2] = 255, 255
    uv = (mesh.vertices[:, :2] + 1) / 2
    return TexturedMesh(
        mesh.vertices.astype(np.float32), mesh.faces, vertex_normals(mesh), uv.astype(np.float32), texture
    )


def test_render_mesh_of_a_sphere_is_where_rays_hit_it(ball):
    cameras = orbit_cameras([0.0, 140.0], [10.0, -5.0], height=96, width=96)
    image = render_mesh(ball, cameras)
    origins, directions = cameras.rays()
    along = -(origins * directions).sum(-1)
    miss = (origins + along[..., None] * directions).norm(dim=-1)
    core, void = miss < 0.95 * RADIUS, miss > 1.03 * RADIUS
    assert (image.opacity[core] == 1).all() and (image.opacity[void] == 0).all()
    distance = along - (RADIUS**2 - miss**2).clamp(min=0).sqrt()
    assert (image.depth[core] - distance[core]).abs().max() < 0.02
    normal = (origins + distance[..., None] * directions) / RADIUS
    assert (image.normals[core] * normal[core]).sum(-1).min() > 0.99
    edge = image.opacity[(~core) & (~void)]
    assert ((edge > 0) & (edge < 1)).any()  # anti-aliased


def test_render_mesh_colors_and_light(ball):
    cameras = orbit_cameras([0.0], 0.0, height=64, width=64)
    bare = render_mesh(ball, cameras, shading=False).rgb[0]
    assert bare[32, 24].tolist() == pytest.approx([1, 0, 0], abs=1e-4)  # -x is left of the front view
    assert bare[32, 40].tolist() == pytest.approx([0, 0, 1], abs=1e-4)
    shaded = render_mesh(ball, cameras).rgb[0]
    assert shaded[20, 38].sum() > shaded[44, 26].sum()  # light comes from above right
    assert (shaded <= bare + 1e-5).all()


def test_render_silhouettes_agree_with_render_mesh(ball):
    cameras = orbit_cameras([0.0, 60.0], 20.0, height=64, width=64)
    drawn = render_mesh(ball, cameras, supersample=1).opacity.numpy() > 0.5
    np.testing.assert_array_equal(render_silhouettes(Mesh(ball.vertices, ball.faces), cameras), drawn)


def test_render_silhouettes_have_no_cracks(ball):
    """The silhouette of a closed surface has no hole."""
    cameras = orbit_cameras([float(a) for a in range(0, 360, 45)], 33.0, height=200, width=200)
    for mask in render_silhouettes(Mesh(ball.vertices, ball.faces), cameras):
        for row in mask[mask.any(1)]:
            hit = np.flatnonzero(row)
            assert hit[-1] - hit[0] + 1 == len(hit)


@pytest.mark.parametrize("scale, shift", [(1.0, 0.0), (30.0, 15.0), (0.01, -2.0)])
def test_fit_mesh_to_views_ignores_size_and_position(ball, scale, shift):
    moved = TexturedMesh(
        (ball.vertices * (scale, 2 * scale, scale) + shift).astype(np.float32),
        ball.faces,
        ball.normals,
        ball.uv,
        ball.texture,
    )
    camera = orbit_cameras([30.0], 20.0, height=128, width=128)
    shown = fit_mesh_to_views(moved, camera, 0.8)
    seen = camera.project(torch.from_numpy(shown.vertices))[0, :, :2]
    low, high = seen.min(0).values, seen.max(0).values
    assert (high - low).max().item() == pytest.approx(0.8 * 128, rel=0.02)
    assert ((low + high) / 2).tolist() == pytest.approx([64, 64], abs=1.5)


def test_write_thumbnail(ball, tmp_path):
    write_thumbnail(ball, tmp_path / "a.png", size=96)
    write_thumbnail(ball, tmp_path / "b.png", size=96)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    image = imageio.imread(tmp_path / "a.png")
    assert image.shape == (96, 96, 3)
    corner = image[0, 0]
    assert corner.min() > 200 and np.ptp(corner.astype(int)) == 0  # light, neutral
    assert np.ptp(image[48, 48].astype(int)) > 50  # the object in the middle
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "b.png"]


def test_write_turntable_plays(ball, tmp_path, capfd):
    write_turntable(ball, tmp_path / "turn.mp4", seconds=0.5, fps=12, size=90)
    assert capfd.readouterr().err == ""
    video = cv2.VideoCapture(str(tmp_path / "turn.mp4"))
    assert (video.get(cv2.CAP_PROP_FRAME_WIDTH), video.get(cv2.CAP_PROP_FRAME_HEIGHT)) == (96, 96)
    frames = []
    while (got := video.read())[0]:
        frames.append(got[1])
    assert len(frames) == 6
    assert np.abs(frames[0].astype(int) - frames[3]).mean() > 5  # it turns
    assert [p.name for p in tmp_path.iterdir()] == ["turn.mp4"]
