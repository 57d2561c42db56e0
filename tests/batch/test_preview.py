"""The likeness on the contact sheet is a GLB that shows the asset's shape and colours."""

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


def test_another_reader_finds_shape_and_colours() -> None:
    vertices, faces, colours = ball(4)
    small = preview.decimate_colored_mesh(vertices, faces, colours)
    assert 0.9 * preview.MAX_PREVIEW_FACES < len(small[1]) <= preview.MAX_PREVIEW_FACES < len(faces)
    scene = trimesh.load(io.BytesIO(preview.encode_colored_glb(*small)), file_type="glb")
    (mesh,) = scene.dump()
    np.testing.assert_allclose(mesh.bounds, [[-0.5, 0, -0.5], [0.5, 1, 0.5]], atol=0.01)
    np.testing.assert_allclose(np.linalg.norm(mesh.vertices - [0, 0.5, 0], axis=1), 0.5, atol=0.01)
    shown = np.asarray(mesh.visual.vertex_colors)[:, :3] / 255
    np.testing.assert_allclose(shown, mesh.vertices - [-0.5, 0, -0.5], atol=0.1)
    assert mesh.is_watertight and mesh.volume > 0


def test_small_meshes_stay_as_they_are() -> None:
    given = ball(1)
    assert all(a is b for a, b in zip(preview.decimate_colored_mesh(*given), given, strict=True))


def test_it_is_made_once_and_never_raises(tmp_path: Path) -> None:
    bad = tmp_path / "bad.glb"
    bad.write_bytes(b"no mesh")
    assert preview.load_or_make_preview(bad, "a" * 64, tmp_path / "kept") is None
    assert preview.load_or_make_preview(bad, "../../x", tmp_path / "kept") is None
    assert not (tmp_path / "kept").exists()
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / f"{'b' * 64}.bin").write_bytes(zlib.compress(b"likeness"))
    found = preview.load_or_make_preview(bad, "b" * 64, tmp_path / "kept")
    assert found and zlib.decompress(base64.b64decode(found)) == b"likeness"
