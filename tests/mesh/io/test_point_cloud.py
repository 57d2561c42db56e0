"""A point cloud becomes the solid that was scanned."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import trimesh

from dreamfusion3d.core.errors import InputError, MissingExtraError
from dreamfusion3d.core.types import Mesh
from dreamfusion3d.mesh.intersections import self_intersections
from dreamfusion3d.mesh.io.colors import sample_colored_points
from dreamfusion3d.mesh.io.load import read_mesh
from dreamfusion3d.mesh.io.point_cloud import reconstruct_point_cloud
from dreamfusion3d.mesh.quality import mesh_quality
from dreamfusion3d.mesh.user_mesh import mesh_normalization
from dreamfusion3d.mesh.voxelize import sample_surface_barycentric, voxelize_mesh
from tests.support.shapes import mesh_of, torus


def scan(path: Path, *, colored: bool = False, count: int = 8000) -> Mesh:
    """Points on a torus, in centimeters, without normals."""
    mesh = mesh_of(torus)
    points, _ = sample_surface_barycentric(mesh, count)
    colors = np.where(points[:, :1] > 0, (255, 0, 0), (0, 0, 255)).astype(np.uint8) if colored else None
    trimesh.PointCloud(points * 100, colors=colors).export(path)
    return mesh


def test_read_mesh_names_the_extra_for_point_clouds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan(tmp_path / "scan.ply")
    monkeypatch.setitem(sys.modules, "open3d", None)
    with pytest.raises(MissingExtraError, match=r"points and no faces.*pip install 'dreamfusion3d\[scan\]'"):
        read_mesh(tmp_path / "scan.ply")


def test_read_mesh_of_a_scanned_torus(tmp_path: Path) -> None:
    pytest.importorskip("open3d", reason="pip install 'dreamfusion3d[scan]'")
    truth, path = scan(tmp_path / "scan.ply", colored=True), tmp_path / "scan.ply"
    found = read_mesh(path)
    facts = mesh_quality(Mesh(found.vertices, found.faces))
    assert (facts.genus, facts.components, facts.watertight) == (1, 1, True)
    assert facts.volume / 100**3 == pytest.approx(mesh_quality(truth).volume, rel=0.03)
    solid = voxelize_mesh(found, mesh_normalization(found.vertices), sample_colored_points(path), 48, 24)
    right, left = solid.color[18, 12, 12], solid.color[5, 12, 12]
    np.testing.assert_allclose([right, left], [[1, 0, 0], [0, 0, 1]], atol=0.1)


def test_read_mesh_rejects_too_few_points(tmp_path: Path) -> None:
    pytest.importorskip("open3d", reason="pip install 'dreamfusion3d[scan]'")
    (tmp_path / "few.xyz").write_text("0 0 0\n1 0 0\n0 1 0\n")
    with pytest.raises(InputError, match="3 points, too few"):
        read_mesh(tmp_path / "few.xyz")


def test_reconstruct_point_cloud_downsamples_uniformly(tmp_path: Path) -> None:
    pytest.importorskip("open3d", reason="pip install 'dreamfusion3d[scan]'")
    scan(tmp_path / "scan.ply", count=9000)
    found = reconstruct_point_cloud(tmp_path / "scan.ply", max_points=4000)
    assert mesh_quality(Mesh(found.vertices, found.faces)).genus == 1


def test_self_intersections_match_open3d(tmp_path: Path) -> None:
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
