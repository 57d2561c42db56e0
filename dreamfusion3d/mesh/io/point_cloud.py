"""Reconstruct a closed surface from a point cloud, as scanners and photogrammetry produce.

Screened Poisson surface reconstruction (Kazhdan and Hoppe, ACM TOG 2013) by Open3D.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import trimesh

from dreamfusion3d.core.errors import InputError, MissingExtraError
from dreamfusion3d.core.types import Mesh
from dreamfusion3d.mesh.geometry import signed_volume

POINT_CLOUD_SUFFIXES = (".pcd", ".pts", ".xyz", ".xyzn", ".xyzrgb")  # a .ply can be either
MIN_POINTS = 100
MAX_POINTS = 100_000  # larger clouds are downsampled uniformly
NORMAL_NEIGHBORS = 30  # for normal estimation
OCTREE_DEPTH = 8  # 2^8 cells per axis
CROP_MARGIN = 0.02  # of the diagonal, around the bounding box of the cloud


def reconstruct_point_cloud(path: Path, max_points: int = MAX_POINTS) -> trimesh.Trimesh:
    """Reconstruct a closed surface from a file of points, with their colors if present.

    Normals are taken from the file, or else estimated and oriented consistently. Raises
    MissingExtraError without Open3D, and InputError if there are too few points or no surface.
    """
    try:
        import open3d
    except ImportError:
        raise MissingExtraError("open3d", "scan", f"{path}, which has points and no faces,") from None
    open3d.utility.set_verbosity_level(open3d.utility.VerbosityLevel.Error)
    cloud = _read_point_cloud(path, open3d)
    if (step := -(-len(cloud.points) // max_points)) > 1:  # scans are ordered along the surface
        cloud = cloud.uniform_down_sample(step)
    has_normals = cloud.has_normals()
    if not has_normals:
        cloud.estimate_normals(open3d.geometry.KDTreeSearchParamKNN(NORMAL_NEIGHBORS))
        cloud.orient_normals_consistent_tangent_plane(NORMAL_NEIGHBORS)
    surface = _poisson_surface(cloud, open3d)
    if not has_normals and signed_volume(Mesh(surface.vertices, surface.faces)) < 0:
        cloud.normals = open3d.utility.Vector3dVector(-np.asarray(cloud.normals))
        surface = _poisson_surface(cloud, open3d)
    if not len(surface.faces):
        raise InputError(
            f"no surface could be reconstructed from {path}; use a point cloud with normals or a triangle mesh"
        )
    return surface


def _read_point_cloud(path: Path, open3d: Any) -> Any:
    try:
        cloud = open3d.io.read_point_cloud(str(path), remove_nan_points=True, remove_infinite_points=True)
    except RuntimeError as error:
        raise InputError(f"cannot read the point cloud {path} ({error}); export it as PLY") from None
    count = len(cloud.points)
    if count < MIN_POINTS:
        raise InputError(f"{path} has {count} points, too few for a surface; it needs at least {MIN_POINTS}")
    if not np.linalg.norm(np.ptp(np.asarray(cloud.points), axis=0)) > 0:
        raise InputError(f"all points of {path} coincide; scan it again")
    return cloud


def _poisson_surface(cloud: Any, open3d: Any) -> trimesh.Trimesh:
    """Return the largest component within the bounding box; one thread keeps it deterministic."""
    surface, _ = open3d.geometry.TriangleMesh.create_from_point_cloud_poisson(cloud, depth=OCTREE_DEPTH, n_threads=1)
    points = np.asarray(cloud.points)
    low, high = points.min(0), points.max(0)
    margin = CROP_MARGIN * float(np.linalg.norm(high - low))
    box = open3d.geometry.AxisAlignedBoundingBox(low - margin, high + margin)
    surface = surface.crop(box)
    label, sizes, _ = surface.cluster_connected_triangles()
    if len(sizes):
        surface.remove_triangles_by_mask(np.asarray(label) != int(np.argmax(sizes)))
        surface.remove_unreferenced_vertices()
    colors = np.asarray(surface.vertex_colors)
    return trimesh.Trimesh(
        np.asarray(surface.vertices),
        np.asarray(surface.triangles),
        process=False,
        vertex_colors=np.clip(colors * 255 + 0.5, 0, 255).astype(np.uint8) if len(colors) else None,
    )
