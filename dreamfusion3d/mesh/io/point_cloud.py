"""A scan: points without faces, made a closed surface by Open3D.

Poisson surface reconstruction (Kazhdan and Hoppe, "Screened Poisson Surface Reconstruction", ACM TOG
2013). Scanners and photogrammetry write such files, and a field can start from what they hold.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import trimesh

from dreamfusion3d.core.errors import InputError, MissingExtraError
from dreamfusion3d.core.types import Mesh
from dreamfusion3d.mesh.isosurface import signed_volume

POINT_CLOUD_SUFFIXES = (".pcd", ".pts", ".xyz", ".xyzn", ".xyzrgb")  # of points always; a .ply may hold some
MIN_POINTS = 100  # points
MAX_POINTS = 100_000  # points that are looked at: more are thinned evenly
NORMAL_NEIGHBORS = 30  # of a point, for its normal
OCTREE_DEPTH = 8  # of the octree: 2^8 cells along an edge
CROP_MARGIN = 0.02  # of the cloud's diagonal, that the surface may leave its box by


def reconstruct_point_cloud(path: Path) -> trimesh.Trimesh:
    """A closed surface through the points of a file, with their colours where it has any.

    Normals of the file are believed, else they are estimated and turned alike. Raises
    MissingExtraError without Open3D, InputError where there are too few points or no surface.
    """
    try:
        import open3d
    except ImportError:
        raise MissingExtraError("open3d", "scan", f"{path}, which holds points and no faces,") from None
    open3d.utility.set_verbosity_level(open3d.utility.VerbosityLevel.Error)
    cloud = _downsample(_read_point_cloud(path, open3d))
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
            f"no surface goes through the points of {path}: give a cloud with normals, or a mesh of triangles"
        )
    return surface


def _read_point_cloud(path: Path, open3d: Any) -> Any:
    try:
        cloud = open3d.io.read_point_cloud(str(path), remove_nan_points=True, remove_infinite_points=True)
    except RuntimeError as error:
        raise InputError(f"the point cloud {path} cannot be read ({error}); export it as PLY") from None
    count = len(cloud.points)
    if count < MIN_POINTS:
        raise InputError(f"{path} holds {count} points, too few for a surface: give {MIN_POINTS} or more")
    if not np.linalg.norm(np.ptp(np.asarray(cloud.points), axis=0)) > 0:
        raise InputError(f"all points of {path} lie at one place; scan it again")
    return cloud


def _downsample(cloud: Any) -> Any:
    """At most MOST points, every so-manieth: scans run over a surface in order."""
    step = -(-len(cloud.points) // MAX_POINTS)
    return cloud.uniform_down_sample(step) if step > 1 else cloud


def _poisson_surface(cloud: Any, open3d: Any) -> trimesh.Trimesh:
    """The largest piece of the surface within the cloud's box; one thread, so that it is always the same."""
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
