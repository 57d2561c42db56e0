"""Previews on the contact sheet are GLBs with the asset's shape and colors."""

from __future__ import annotations

import base64
import io
import zlib
from pathlib import Path

import numpy as np
import trimesh

from dreamfusion3d.batch import preview


def ball(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    mesh = trimesh.creation.icosphere(subdivisions=count, radius=0.5)
    vertices = np.asarray(mesh.vertices) + [0.0, 0.5, 0.0]
    return vertices, np.asarray(mesh.faces), np.round(255 * (vertices - [-0.5, 0, -0.5])).astype(np.uint8)


def test_encode_colored_glb_keeps_shape_and_colors() -> None:
    vertices, faces, colors = ball(4)
    small = preview.decimate_colored_mesh(vertices, faces, colors)
    assert 0.9 * preview.MAX_PREVIEW_FACES < len(small[1]) <= preview.MAX_PREVIEW_FACES < len(faces)
    scene = trimesh.load(io.BytesIO(preview.encode_colored_glb(*small)), file_type="glb")
    (mesh,) = scene.dump()
    np.testing.assert_allclose(mesh.bounds, [[-0.5, 0, -0.5], [0.5, 1, 0.5]], atol=0.01)
    np.testing.assert_allclose(np.linalg.norm(mesh.vertices - [0, 0.5, 0], axis=1), 0.5, atol=0.01)
    colors = np.asarray(mesh.visual.vertex_colors)[:, :3] / 255
    np.testing.assert_allclose(colors, mesh.vertices - [-0.5, 0, -0.5], atol=0.1)
    assert mesh.is_watertight and mesh.volume > 0


def test_decimate_colored_mesh_keeps_small_meshes() -> None:
    mesh = ball(1)
    assert all(a is b for a, b in zip(preview.decimate_colored_mesh(*mesh), mesh, strict=True))


def test_load_or_make_preview_caches_and_never_raises(tmp_path: Path) -> None:
    bad = tmp_path / "bad.glb"
    bad.write_bytes(b"no mesh")
    assert preview.load_or_make_preview(bad, "a" * 64, tmp_path / "cache") is None
    assert preview.load_or_make_preview(bad, "../../x", tmp_path / "cache") is None
    assert not (tmp_path / "cache").exists()
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / f"{'b' * 64}.bin").write_bytes(zlib.compress(b"preview"))
    encoded = preview.load_or_make_preview(bad, "b" * 64, tmp_path / "cache")
    assert encoded and zlib.decompress(base64.b64decode(encoded)) == b"preview"
