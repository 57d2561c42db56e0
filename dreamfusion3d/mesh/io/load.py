"""A mesh that the user brings (GLB, OBJ, PLY or STL, by trimesh), looked over before it is used.

A file of points without faces becomes a surface first (`mesh.cloud`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import trimesh
from jaxtyping import Float, Int, Int64

from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.types import Mesh
from dreamfusion3d.mesh.crease_normals import crease_normals
from dreamfusion3d.mesh.io import point_cloud
from dreamfusion3d.mesh.quality import face_areas
from dreamfusion3d.mesh.rasterize import uv_overlap_counts
from dreamfusion3d.mesh.unwrap import MAX_UV_OVERLAP, unwrap

MESH_SUFFIXES = (".glb", ".obj", ".ply", ".stl")
MAX_MESH_BYTES = 1 << 30
MAX_MESH_FACES = 2_000_000
SCENE_HALF_EXTENT = 0.62  # largest half extent: the median of the world's props is 0.61
SCENE_RADIUS = 0.82  # no vertex lies further from the middle: it is what the cameras see
MIN_UV_COVERAGE = 0.02  # of the texture: less, and the user's UVs hold no picture
MAX_DEGENERATE_UV_AREA = 1e-3  # of the surface may have UVs without area


@dataclass(frozen=True)
class UserMesh:
    """As it is in its file, nodes put in place; coordinates are the file's own, in float32 as in glTF.

    Vertices, their order and the faces are the file's, an OBJ's vertices parted where their corners
    differ in UV or normal; several objects follow one another.
    ``normals`` are the file's, one a vertex, or the mean of the faces around a vertex, parted at sharp edges
    (`mesh.creases`): ``corners`` then says which of them each corner of a face has. ``uv`` is None
    when a part has none, or when there are several parts (each with a texture of its own).
    """

    vertices: Float[np.ndarray, "v 3"]
    faces: Int64[np.ndarray, "f 3"]
    normals: Float[np.ndarray, "n 3"]
    uv: Float[np.ndarray, "v 2"] | None
    corners: Int64[np.ndarray, "f 3"] | None = None  # None: each corner has its vertex's


class MeshNormalization(NamedTuple):
    """Where a mesh stands in the scene: (vertex - centre) * scale."""

    center: Float[np.ndarray, " 3"]
    scale: float

    def to_scene(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        return (points.astype(np.float64) - self.center) * self.scale


@dataclass(frozen=True)
class UVMesh:
    """A mesh whose vertices are split where its UVs or normals are; faces keep their order and corners."""

    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    normals: Float[np.ndarray, "v 3"]
    uv: Float[np.ndarray, "v 2"]


def read_mesh(path: Path) -> UserMesh:
    """The mesh of a file, or an InputError that says why it cannot be used."""
    parts = [_to_user_mesh(geometry, matrix) for geometry, matrix in read_mesh_parts(path)]
    corners = None
    if any(part.corners is not None for part in parts):
        corners = _concatenate_indices(
            [part.faces if part.corners is None else part.corners for part in parts],
            [len(part.normals) for part in parts],
        )
    mesh = UserMesh(
        np.concatenate([part.vertices for part in parts]),
        _concatenate_indices([part.faces for part in parts], [len(part.vertices) for part in parts]),
        np.concatenate([part.normals for part in parts]),
        parts[0].uv if len(parts) == 1 else None,
        corners,
    )
    _check_mesh(mesh, path)
    return mesh


def _concatenate_indices(indices: list[np.ndarray], counts: list[int]) -> Int64[np.ndarray, "f 3"]:
    """Indices into arrays of ``counts`` rows, as of one array that they follow one another in."""
    starts = np.cumsum([0, *counts[:-1]])
    return np.concatenate([index + start for index, start in zip(indices, starts, strict=True)])


def read_mesh_parts(path: Path) -> list[tuple[trimesh.Trimesh, np.ndarray]]:
    """Every surface of the file with its 4x4 matrix into the file's scene."""
    scene = _load_scene(path)
    parts = []
    for node in sorted(scene.graph.nodes_geometry):
        matrix, name = scene.graph[node]
        geometry = scene.geometry[name]
        if isinstance(geometry, trimesh.Trimesh) and len(geometry.faces):
            _check_arrays(np.asarray(geometry.vertices), np.asarray(geometry.faces), path)
            parts.append((geometry, np.asarray(matrix, np.float64)))
    if not parts and scene.geometry and path.suffix.lower() in (".ply", *point_cloud.POINT_CLOUD_SUFFIXES):
        return [(_reconstruct_cached(path, path.stat().st_mtime_ns), np.eye(4))]
    if not parts:
        contents = "points or lines" if scene.geometry else "nothing that can be read"
        raise InputError(
            f"{path} holds {contents} and no faces: give a mesh of triangles "
            "(export a compressed GLB anew without Draco)"
        )
    faces = sum(len(geometry.faces) for geometry, _ in parts)
    if faces > MAX_MESH_FACES:
        raise InputError(f"{path} has {faces:,} faces; at most {MAX_MESH_FACES:,} are taken. Simplify it first")
    return parts


def mesh_normalization(vertices: Float[np.ndarray, "v 3"]) -> MeshNormalization:
    """Centred, and as large as the props that the prior knows; +Y stays up."""
    points = vertices.astype(np.float64)
    low, high = points.min(0), points.max(0)
    center = (low + high) / 2
    farthest = float(np.linalg.norm(points - center, axis=1).max())
    return MeshNormalization(center, min(SCENE_HALF_EXTENT / (float((high - low).max()) / 2), SCENE_RADIUS / farthest))


def ensure_uvs(mesh: UserMesh, texture_size: int, padding: int = 4) -> UVMesh:
    """The mesh with UVs that can hold a picture: its own when they do, else new ones."""
    if mesh.uv is not None and uv_problem(mesh, texture_size) is None:
        if mesh.corners is None:
            return UVMesh(mesh.vertices, mesh.faces, mesh.normals, mesh.uv)
        uv, uv_faces = mesh.uv, mesh.faces
    else:
        # welded first: split vertices would cut the charts apart
        welded, index = np.unique(mesh.vertices, axis=0, return_inverse=True)
        welded_faces = index.reshape(-1)[mesh.faces]
        scaled = mesh_normalization(welded).to_scene(welded)
        charts = unwrap(Mesh(scaled, welded_faces), texture_size, padding)
        uv, uv_faces = charts.uv.astype(np.float32), charts.faces
    # a corner has a UV, a vertex of the file (its place), and a normal
    normal_faces = mesh.faces if mesh.corners is None else mesh.corners
    triples = np.stack([uv_faces.reshape(-1), mesh.faces.reshape(-1), normal_faces.reshape(-1)], 1)
    vertex_triples, corners = np.unique(triples, axis=0, return_inverse=True)
    return UVMesh(
        mesh.vertices[vertex_triples[:, 1]],
        corners.reshape(-1, 3),
        mesh.normals[vertex_triples[:, 2]],
        uv[vertex_triples[:, 0]],
    )


def uv_problem(mesh: UserMesh, texture_size: int) -> str | None:
    """Why a texture cannot be painted through the mesh's own UVs, or None."""
    if mesh.uv is None:
        return "there are no UVs"
    if not np.isfinite(mesh.uv).all() or mesh.uv.min() < 0 or mesh.uv.max() > 1:
        return "UVs leave the unit square"
    counts = uv_overlap_counts(mesh.uv, mesh.faces, texture_size)
    covered = int((counts > 0).sum())
    if covered < MIN_UV_COVERAGE * texture_size**2:
        return "UVs cover next to nothing of the texture"
    if int((counts > 1).sum()) > MAX_UV_OVERLAP * covered:
        return "UVs overlap"
    a, b, c = (mesh.uv[mesh.faces[:, k]].astype(np.float64) for k in range(3))
    degenerate = np.abs((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]) < 1e-12
    area = face_areas(mesh.vertices, mesh.faces)
    if area[degenerate].sum() > MAX_DEGENERATE_UV_AREA * area.sum():
        return "UVs of some faces have no area"
    return None


def _load_scene(path: Path) -> trimesh.Scene:
    if not path.is_file():
        raise InputError(f"there is no mesh file {path}")
    if path.suffix.lower() not in (*MESH_SUFFIXES, *point_cloud.POINT_CLOUD_SUFFIXES):
        raise InputError(
            f"{path} is of no format that is read: {', '.join(MESH_SUFFIXES)} for meshes, "
            f"{', '.join(('.ply', *point_cloud.POINT_CLOUD_SUFFIXES))} for points; export it as GLB"
        )
    size = path.stat().st_size
    if size == 0:
        raise InputError(f"the mesh file {path} is empty")
    if size > MAX_MESH_BYTES:
        raise InputError(f"{path} has {size >> 20:,} MB; at most {MAX_MESH_BYTES >> 20:,} are read. Simplify it")
    if path.suffix.lower() in point_cloud.POINT_CLOUD_SUFFIXES:  # its reader is Open3D
        return trimesh.Scene([trimesh.PointCloud(np.zeros((1, 3)))])
    try:
        # an OBJ's corners have UVs and normals of their own, which its vertices alone cannot hold
        return trimesh.load_scene(path, process=False, maintain_order=path.suffix.lower() != ".obj")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except Exception as error:  # a reader of foreign files fails in as many ways as files can be broken
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise InputError(f"the mesh file {path} is damaged or of another kind ({reason}); export it anew") from None


@lru_cache(maxsize=1)
def _reconstruct_cached(path: Path, mtime_ns: int) -> trimesh.Trimesh:
    """Shape and colours are asked for one after the other; the surface is made once."""
    return point_cloud.reconstruct_point_cloud(path)


def _to_user_mesh(geometry: trimesh.Trimesh, matrix: Float[np.ndarray, "4 4"]) -> UserMesh:
    """One surface in the file's scene."""
    vertices = np.asarray(geometry.vertices, np.float64)
    with np.errstate(all="ignore"):  # coordinates that are not finite are named by _check
        normals, corners = _load_normals(geometry)
    faces = np.asarray(geometry.faces, np.int64)
    if not np.array_equal(matrix, np.eye(4)):
        vertices = vertices @ matrix[:3, :3].T + matrix[:3, 3]
        normals = normals @ np.linalg.pinv(matrix[:3, :3])
        if np.linalg.det(matrix[:3, :3]) < 0:  # mirrored: outside must stay outside
            faces, corners = faces[:, ::-1], None if corners is None else corners[:, ::-1]
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    normals = np.where(length > 1e-12, normals / np.maximum(length, 1e-12), (0.0, 1.0, 0.0))
    uv = getattr(geometry.visual, "uv", None)
    if uv is not None and np.shape(uv) != (len(vertices), 2):
        uv = None
    with np.errstate(over="ignore"):
        return UserMesh(
            vertices.astype(np.float32),
            faces,
            np.nan_to_num(normals).astype(np.float32),
            None if uv is None else np.asarray(uv, np.float32),
            corners,
        )


def _load_normals(geometry: trimesh.Trimesh) -> tuple[Float[np.ndarray, "n 3"], Int64[np.ndarray, "f 3"] | None]:
    """The file's, one a vertex; where it has none those of the shape, parted at its sharp edges."""
    normals = np.asarray(geometry.vertex_normals, np.float64)
    # trimesh does not tell whether they were read or made; what is made anew is the same to the bit
    recomputed = trimesh.Trimesh(geometry.vertices, geometry.faces, process=False).vertex_normals
    creased = crease_normals(geometry) if np.array_equal(normals, recomputed) else None
    return (normals, None) if creased is None else creased


def _check_arrays(vertices: np.ndarray, faces: np.ndarray, path: Path) -> None:
    """Before normals are asked for, which reach for every vertex that a face names."""
    if vertices.shape[1:] != (3,) or faces.shape[1:] != (3,):
        raise InputError(f"{path} is damaged: its vertices have no three coordinates; export it anew")
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise InputError(f"{path} is damaged: a face names a vertex that is not there; export it anew")


def _check_mesh(mesh: UserMesh, path: Path) -> None:
    bad = int((~np.isfinite(mesh.vertices)).any(1).sum())
    if bad:
        raise InputError(f"{path}: {bad:,} vertices are not finite numbers; repair the mesh first")
    used = mesh.vertices[mesh.faces]
    if not face_areas(mesh.vertices, mesh.faces).sum() > 0 or not np.ptp(used.reshape(-1, 3), 0).max() > 0:
        raise InputError(f"{path}: the faces have no area, so there is nothing to see; repair the mesh first")
