"""Sample the colors and materials of a mesh file on its surface."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from jaxtyping import Float, Int
from trimesh.visual.material import PBRMaterial

from dreamfusion3d.core.types import DEFAULT_MATERIAL, Mesh
from dreamfusion3d.mesh.geometry import face_areas
from dreamfusion3d.mesh.io.load import GLTF_SUFFIXES, read_mesh_parts
from dreamfusion3d.mesh.voxelize import SURFACE_SAMPLES, sample_surface_barycentric


def sample_colored_points(path: Path) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]] | None:
    """Sample points on the surface of a mesh file, in its coordinates, with their sRGB colors.

    Parts without colors are skipped; None if there are no others.
    """
    points, colors = [], []
    parts = read_mesh_parts(path)
    areas = [_part_area(geometry, matrix) for geometry, matrix in parts]
    for (geometry, matrix), area in zip(parts, areas, strict=True):
        count = max(64, round(SURFACE_SAMPLES * area / max(sum(areas), 1e-30)))
        mesh = Mesh(np.asarray(geometry.vertices, np.float64), np.asarray(geometry.faces, np.int64))
        part_points, (face, weights) = sample_surface_barycentric(mesh, count)
        part_colors = _surface_colors(geometry, face, weights, linear=path.suffix.lower() in GLTF_SUFFIXES)
        if part_colors is None:
            continue
        points.append(part_points @ matrix[:3, :3].T + matrix[:3, 3])
        colors.append(part_colors)
    return (np.concatenate(points), np.concatenate(colors)) if points else None


def _part_area(geometry: trimesh.Trimesh, matrix: Float[np.ndarray, "4 4"]) -> float:
    vertices = np.asarray(geometry.vertices, np.float64) @ matrix[:3, :3].T
    return float(face_areas(vertices, np.asarray(geometry.faces)).sum())


def _surface_colors(
    geometry: trimesh.Trimesh, face: np.ndarray, weights: np.ndarray, *, linear: bool
) -> Float[np.ndarray, "n 3"] | None:
    """Base color at points given by face and weights, from texture, material, vertex or face colors."""
    corners = np.asarray(geometry.faces)[face]
    visual: Any = geometry.visual  # one of several classes that `kind` distinguishes
    if visual.kind == "texture":
        material = visual.material
        image = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
        if image is not None and visual.uv is not None:
            uv = np.einsum("nk,nkc->nc", weights, np.asarray(visual.uv)[corners])
            colors = np.asarray(trimesh.visual.color.uv_to_interpolated_color(uv, image))[:, :3] / 255
            return _tint(colors, material)
        factor = np.asarray(material.main_color, np.float64)[:3] / 255
        return np.broadcast_to(_linear_to_srgb(factor) if linear else factor, (len(face), 3))
    if visual.kind == "vertex":
        each = np.asarray(visual.vertex_colors, np.float64)[:, :3] / 255
        mixed = np.einsum("nk,nkc->nc", weights, each[corners])
        return _linear_to_srgb(mixed) if linear else mixed
    if visual.kind == "face":
        return np.asarray(visual.face_colors, np.float64)[face, :3] / 255
    return None


def _tint(colors: Float[np.ndarray, "n 3"], material: Any) -> Float[np.ndarray, "n 3"]:
    """Multiply sRGB texture colors by the base color factor of a glTF material, which is linear."""
    factor = material.baseColorFactor if isinstance(material, PBRMaterial) else None
    if factor is None or (np.asarray(factor)[:3] == 255).all():
        return colors
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    return _linear_to_srgb(linear * np.asarray(factor, np.float64)[:3] / 255)


def _linear_to_srgb(color: np.ndarray) -> np.ndarray:
    """Encode linear color as sRGB (IEC 61966-2-1): glTF's factors and vertex colors are linear."""
    curve = 1.055 * np.maximum(color, 1e-9) ** (1 / 2.4) - 0.055
    return np.where(color <= 0.0031308, 12.92 * color, curve)


def sample_materials(
    path: Path, count: int
) -> tuple[Float[np.ndarray, "n 3"], Int[np.ndarray, " n"], Float[np.ndarray, "n 5"]]:
    """Sample about ``count`` points on the surface of a mesh file, in its coordinates.

    Returns:
        Points, their faces in `read_mesh`, and materials: sRGB base color, roughness and metallic. Parts without
        colors are gray.
    """
    parts = read_mesh_parts(path)
    areas = [_part_area(geometry, matrix) for geometry, matrix in parts]
    linear, first_face, columns = path.suffix.lower() in GLTF_SUFFIXES, 0, []
    for (geometry, matrix), area in zip(parts, areas, strict=True):
        vertices = np.asarray(geometry.vertices, np.float64) @ matrix[:3, :3].T + matrix[:3, 3]
        mesh = Mesh(vertices, np.asarray(geometry.faces, np.int64))
        number = max(64, round(count * area / max(sum(areas), 1e-30)))
        points, (face, weights) = sample_surface_barycentric(mesh, number)
        colors = _surface_colors(geometry, face, weights, linear=linear)
        colors = np.full((len(face), 3), 0.5) if colors is None else colors
        materials = np.concatenate([colors, _surface_parameters(geometry, face, weights)], 1)
        columns.append((points, face + first_face, materials))
        first_face += len(mesh.faces)
    points, faces, materials = (np.concatenate(column) for column in zip(*columns, strict=True))
    return points, faces, materials


def _surface_parameters(geometry: trimesh.Trimesh, face: np.ndarray, weights: np.ndarray) -> Float[np.ndarray, "n 2"]:
    """Roughness and metallic at points given by face and weights."""
    visual: Any = geometry.visual
    material = visual.material if visual.kind == "texture" else None
    if isinstance(material, PBRMaterial):
        # glTF 2.0: a missing factor is 1
        factors = [1.0 if f is None else float(f) for f in (material.roughnessFactor, material.metallicFactor)]
        image = material.metallicRoughnessTexture
        if image is None or visual.uv is None:
            return np.broadcast_to(factors, (len(face), 2))
        uv = np.einsum("nk,nkc->nc", weights, np.asarray(visual.uv)[np.asarray(geometry.faces)[face]])
        return np.asarray(trimesh.visual.color.uv_to_interpolated_color(uv, image))[:, 1:3] / 255 * factors
    if material is not None:
        return np.broadcast_to([np.sqrt(2 / (max(float(material.glossiness), 0) + 2)), 0.0], (len(face), 2))
    return np.broadcast_to(DEFAULT_MATERIAL, (len(face), 2))
