"""OBJ, PLY, STL and 3MF read by other libraries than the one that wrote them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dreamfusion3d.core.config import FormatName
from dreamfusion3d.mesh.io.axes import rotate_up_axis
from dreamfusion3d.mesh.io.formats import resolve_frame
from tests.support.client_asset import EXTRAS, HEIGHT, NAME, ball, clay_ball, colour

pytestmark = pytest.mark.clients


def bounds(points: np.ndarray) -> np.ndarray:
    return np.stack([points.min(0), points.max(0)])


def volume(points: np.ndarray, faces: np.ndarray) -> float:
    """Signed: positive when the triangles face outwards."""
    a, b, c = points[faces].transpose(1, 0, 2)
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)


def wanted(kind: FormatName) -> tuple[np.ndarray, float]:
    """Vertices and volume in the frame that the format has by default."""
    frame = resolve_frame(kind)
    points = rotate_up_axis(ball().vertices, frame.up).astype(np.float64) / frame.meters_per_unit
    return points, volume(points, ball().faces)


@pytest.mark.parametrize("kind", ["obj", "ply", "stl"])
def test_meshio_reads_it(kind: FormatName, tmp_path: Path) -> None:
    meshio = pytest.importorskip("meshio", reason="meshio is not installed: pip install meshio")
    mesh = meshio.read(clay_ball(tmp_path, kind))
    points, content = wanted(kind)
    faces = np.concatenate([block.data for block in mesh.cells if block.type == "triangle"])
    assert len(faces) == len(ball().faces)
    np.testing.assert_allclose(bounds(mesh.points), bounds(points), rtol=1e-5, atol=1e-4)
    assert volume(mesh.points, faces) == pytest.approx(content, rel=1e-4)
    if kind == "ply":
        # meshio takes uchar for signed
        channels = [mesh.point_data[name].astype(np.uint8) for name in ("red", "green", "blue")]
        rgb = np.stack(channels, 1) / 255
        # as baked: in scene units the ellipsoid is 0.8 high, its middle at the origin
        places = (mesh.points - [0, HEIGHT / 2, 0]) * (0.8 / HEIGHT)
        assert np.abs(rgb - colour(places)).max() < 0.06
        normals = np.stack([mesh.point_data[name] for name in ("nx", "ny", "nz")], 1)
        np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
        assert ((mesh.points - [0, HEIGHT / 2, 0]) * normals).sum(1).min() > 0


def test_the_consortiums_library_reads_the_3mf(tmp_path: Path) -> None:
    reason = "lib3mf is not installed: pip install lib3mf"
    lib3mf = pytest.importorskip("lib3mf", reason=reason)
    wrapper = lib3mf.get_wrapper()
    model = wrapper.CreateModel()
    reader = model.QueryReader("3mf")
    reader.SetStrictModeActive(True)
    reader.ReadFromFile(str(clay_ball(tmp_path, "3mf")))
    assert [reader.GetWarning(i) for i in range(reader.GetWarningCount())] == []
    assert model.GetUnit() == lib3mf.ModelUnit.MilliMeter
    objects = model.GetMeshObjects()
    assert objects.Count() == 1 and objects.MoveNext()
    mesh = objects.GetCurrentMeshObject()
    assert mesh.GetName() == NAME and mesh.IsManifoldAndOriented()
    points = np.array([list(v.Coordinates) for v in mesh.GetVertices()])
    faces = np.array([list(t.Indices) for t in mesh.GetTriangleIndices()])
    expected, content = wanted("3mf")
    np.testing.assert_allclose(bounds(points), bounds(expected), rtol=1e-5, atol=1e-3)
    assert volume(points, faces) == pytest.approx(content, rel=1e-4)
    textures = model.GetTexture2Ds()
    assert textures.MoveNext()
    assert textures.GetCurrentTexture2D().GetContentType() == lib3mf.TextureType.PNG
    groups = model.GetTexture2DGroups()
    assert groups.MoveNext() and groups.GetCurrentTexture2DGroup().GetCount() == len(ball().uv)
    said = {}
    entries = model.GetMetaDataGroup()
    for i in range(entries.GetMetaDataCount()):
        entry = entries.GetMetaData(i)
        said[entry.GetName()] = entry.GetValue()
    assert said["Title"] == NAME and said["Description"] == EXTRAS["prompt"]
    assert said["LicenseTerms"] == EXTRAS["license"] and said["seed"] == str(EXTRAS["seed"])
