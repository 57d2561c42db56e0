"""Read and validate a user's mesh: glTF, OBJ, PLY or STL with trimesh, or a point cloud."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import trimesh
from jaxtyping import Float, Int64

from dreamfusion3d.core.errors import InputError
from dreamfusion3d.mesh.crease_normals import crease_normals
from dreamfusion3d.mesh.geometry import face_areas
from dreamfusion3d.mesh.io import point_cloud
from dreamfusion3d.mesh.user_mesh import UserMesh

GLTF_SUFFIXES = (".glb", ".gltf")
MESH_SUFFIXES = (*GLTF_SUFFIXES, ".obj", ".ply", ".stl")
MAX_MESH_BYTES = 1 << 30
MAX_MESH_FACES = 2_000_000


def read_mesh(path: Path, max_faces: int = MAX_MESH_FACES) -> UserMesh:
    """Read all parts of a mesh file as one mesh.

    Raises InputError if the file cannot be read, is not a mesh or has more than ``max_faces`` faces.
    """
    parts = [_to_user_mesh(geometry, matrix) for geometry, matrix in read_mesh_parts(path, max_faces)]
    corners = None
    if any(part.corners is not None for part in parts):
        part_corners = [part.faces if part.corners is None else part.corners for part in parts]
        corners = _concatenate_indices(part_corners, [len(part.normals) for part in parts])
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
    """Offset indices into arrays of ``counts`` rows to index the concatenated array."""
    starts = np.cumsum([0, *counts[:-1]])
    return np.concatenate([index + start for index, start in zip(indices, starts, strict=True)])


def read_mesh_parts(path: Path, max_faces: int = MAX_MESH_FACES) -> list[tuple[trimesh.Trimesh, np.ndarray]]:
    """Read every surface of a mesh file with the 4x4 transform of its node.

    A point cloud is reconstructed as a surface first. Raises as `read_mesh` does.
    """
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
        contents = "points or lines" if scene.geometry else "nothing readable"
        advice = "use a triangle mesh (export a compressed GLB without Draco)"
        raise InputError(f"{path} has no faces, but {contents}; {advice}")
    faces = sum(len(geometry.faces) for geometry, _ in parts)
    if faces > max_faces:
        raise InputError(f"{path} has {faces:,} faces, more than the limit of {max_faces:,}; simplify it first")
    return parts


def _load_scene(path: Path) -> trimesh.Scene:
    if not path.is_file():
        raise InputError(f"there is no mesh file {path}")
    if path.suffix.lower() not in (*MESH_SUFFIXES, *point_cloud.POINT_CLOUD_SUFFIXES):
        raise InputError(
            f"unsupported mesh format {path}: use {', '.join(MESH_SUFFIXES)} for meshes, "
            f"{', '.join(('.ply', *point_cloud.POINT_CLOUD_SUFFIXES))} for point clouds"
        )
    size = path.stat().st_size
    if size == 0:
        raise InputError(f"the mesh file {path} is empty")
    if size > MAX_MESH_BYTES:
        limit = MAX_MESH_BYTES >> 20
        raise InputError(f"{path} has {size >> 20:,} MB, more than the limit of {limit:,} MB; simplify it")
    if path.suffix.lower() in point_cloud.POINT_CLOUD_SUFFIXES:  # read by Open3D later
        return trimesh.Scene([trimesh.PointCloud(np.zeros((1, 3)))])
    try:
        # corners of an OBJ have their own UVs and normals, so its vertices have to be split
        return trimesh.load_scene(path, process=False, maintain_order=path.suffix.lower() != ".obj")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except Exception as error:  # the readers raise almost anything for damaged files
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise InputError(f"the mesh file {path} is damaged or of another format ({reason}); export it again") from None


@lru_cache(maxsize=1)
def _reconstruct_cached(path: Path, mtime_ns: int) -> trimesh.Trimesh:
    """Reconstruct the surface once for both readers, of shape and of colors."""
    return point_cloud.reconstruct_point_cloud(path)


def _to_user_mesh(geometry: trimesh.Trimesh, matrix: Float[np.ndarray, "4 4"]) -> UserMesh:
    """Convert one surface and apply the transform of its node."""
    vertices = np.asarray(geometry.vertices, np.float64)
    with np.errstate(all="ignore"):  # _check_mesh reports coordinates that are not finite
        normals, corners = _load_normals(geometry)
    faces = np.asarray(geometry.faces, np.int64)
    if not np.array_equal(matrix, np.eye(4)):
        vertices = vertices @ matrix[:3, :3].T + matrix[:3, 3]
        normals = normals @ np.linalg.pinv(matrix[:3, :3])
        if np.linalg.det(matrix[:3, :3]) < 0:  # mirrored: keep the orientation
            faces, corners = faces[:, ::-1], None if corners is None else corners[:, ::-1]
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    normals = np.where(length > 1e-12, normals / np.maximum(length, 1e-12), (0.0, 1.0, 0.0))
    uv = getattr(geometry.visual, "uv", None)
    if uv is not None and np.shape(uv) != (len(vertices), 2):
        uv = None
    uv = None if uv is None else np.asarray(uv, np.float32)
    with np.errstate(over="ignore"):
        return UserMesh(vertices.astype(np.float32), faces, np.nan_to_num(normals).astype(np.float32), uv, corners)


def _load_normals(geometry: trimesh.Trimesh) -> tuple[Float[np.ndarray, "n 3"], Int64[np.ndarray, "f 3"] | None]:
    """Return the vertex normals of the file, or if it has none, normals split at sharp edges."""
    normals = np.asarray(geometry.vertex_normals, np.float64)
    # trimesh does not say if it read or computed them; computing them again gives the same bits
    recomputed = trimesh.Trimesh(geometry.vertices, geometry.faces, process=False).vertex_normals
    creased = crease_normals(geometry) if np.array_equal(normals, recomputed) else None
    return (normals, None) if creased is None else creased


def _check_arrays(vertices: np.ndarray, faces: np.ndarray, path: Path) -> None:
    """Validate shapes and indices before normals are computed from them."""
    if vertices.shape[1:] != (3,) or faces.shape[1:] != (3,):
        raise InputError(f"{path} is damaged: its vertices do not have three coordinates; export it again")
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise InputError(f"{path} is damaged: a face refers to a vertex that does not exist; export it again")


def _check_mesh(mesh: UserMesh, path: Path) -> None:
    bad = int((~np.isfinite(mesh.vertices)).any(1).sum())
    if bad:
        raise InputError(f"{path} has {bad:,} vertices that are not finite; repair the mesh first")
    used = mesh.vertices[mesh.faces]
    if not face_areas(mesh.vertices, mesh.faces).sum() > 0 or not np.ptp(used.reshape(-1, 3), 0).max() > 0:
        raise InputError(f"the faces of {path} have no area; repair the mesh first")
