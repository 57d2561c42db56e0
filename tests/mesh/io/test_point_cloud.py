"""A scan becomes the solid it was taken of."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import trimesh

from dreamfusion3d.core.errors import InputError, MissingExtraError
from dreamfusion3d.core.types import Mesh
from dreamfusion3d.mesh.intersections import self_intersections
from dreamfusion3d.mesh.io import point_cloud
from dreamfusion3d.mesh.io.load import mesh_normalization, read_mesh
from dreamfusion3d.mesh.quality import mesh_quality
from dreamfusion3d.mesh.voxelize import sample_surface_barycentric, voxelize_mesh
from tests.support.shapes import mesh_of, torus


def scan(path: Path, *, coloured: bool = False, count: int = 8000) -> Mesh:
    """Points on a torus, in centimetres, without normals."""
    mesh = mesh_of(torus)
    points, _ = sample_surface_barycentric(mesh, count)
    colours = np.where(points[:, :1] > 0, (255, 0, 0), (0, 0, 255)).astype(np.uint8) if coloured else None
    trimesh.PointCloud(points * 100, colors=colours).export(path)
    return mesh


def test_without_open3d_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan(tmp_path / "scan.ply")
    monkeypatch.setitem(sys.modules, "open3d", None)
    with pytest.raises(MissingExtraError, match=r"points and no faces.*pip install 'dreamfusion3d\[scan\]'"):
        read_mesh(tmp_path / "scan.ply")


def test_a_scanned_torus_has_its_hole_and_its_colours(tmp_path: Path) -> None:
    pytest.importorskip("open3d", reason="pip install 'dreamfusion3d[scan]'")
    truth, path = scan(tmp_path / "scan.ply", coloured=True), tmp_path / "scan.ply"
    found = read_mesh(path)
    facts = mesh_quality(Mesh(found.vertices, found.faces))
    assert (facts.genus, facts.components, facts.watertight) == (1, 1, True)
    assert facts.volume / 100**3 == pytest.approx(mesh_quality(truth).volume, rel=0.03)
    solid = voxelize_mesh(path, found, mesh_normalization(found.vertices), 48, 24)
    right, left = solid.color[18, 12, 12], solid.color[5, 12, 12]
    np.testing.assert_allclose([right, left], [[1, 0, 0], [0, 0, 1]], atol=0.1)


def test_too_few_points_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("open3d", reason="pip install 'dreamfusion3d[scan]'")
    (tmp_path / "few.xyz").write_text("0 0 0\n1 0 0\n0 1 0\n")
    with pytest.raises(InputError, match="3 points, too few"):
        read_mesh(tmp_path / "few.xyz")


def test_thinning_keeps_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("open3d", reason="pip install 'dreamfusion3d[scan]'")
    scan(tmp_path / "scan.ply", count=9000)
    monkeypatch.setattr(point_cloud, "MAX_POINTS", 4000)
    found = read_mesh(tmp_path / "scan.ply")
    assert mesh_quality(Mesh(found.vertices, found.faces)).genus == 1


def test_open3d_finds_the_same_crossings(tmp_path: Path) -> None:
    """The other opinion of `mesh.intersections`."""
    open3d = pytest.importorskip("open3d", reason="pip install 'dreamfusion3d[scan]'")
    whole = mesh_of(torus, faces=1500)
    moved = whole.vertices * 0.9 + (0.31, 0.17, 0.05)
    two = Mesh(
        np.concatenate([whole.vertices, moved]), np.concatenate([whole.faces, whole.faces + len(whole.vertices)])
    )
    theirs = open3d.geometry.TriangleMesh(
        open3d.utility.Vector3dVector(two.vertices), open3d.utility.Vector3iVector(two.faces.astype(np.int32))
    ).get_self_intersecting_triangles()
    expected = np.unique(np.sort(np.asarray(theirs), axis=1), axis=0)
    np.testing.assert_array_equal(self_intersections(two), expected)
