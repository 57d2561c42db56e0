"""Levels of detail, each with at most half the faces of the previous one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dreamfusion3d.core.types import Mesh, TexturedMesh
from dreamfusion3d.mesh.bake import bake_albedo
from dreamfusion3d.mesh.normal_map import HighPolySurface, bake_normal_map, bake_occlusion
from dreamfusion3d.mesh.simplify import simplify

MIN_LOD_FACES = 64  # coarser levels are not worth having
MIN_LOD_TEXTURE_SIZE = 64  # pixels


def unwrap_and_bake(
    mesh: Mesh,
    appearance: Callable[[np.ndarray], np.ndarray],
    high_poly: HighPolySurface,
    texture_size: int,
    supersample: int = 1,
    *,
    normal_map: bool = True,
    occlusion: bool = False,
    has_material: bool = False,
    sharp_edges: bool = False,
) -> TexturedMesh:
    """Unwrap ``mesh`` and bake its appearance, and optionally normals and occlusion of ``high_poly``.

    ``appearance``, ``has_material``, ``sharp_edges``, ``texture_size`` and ``supersample`` are those of `bake_albedo`.
    """
    textured = bake_albedo(
        mesh, appearance, texture_size, supersample=supersample, has_material=has_material, sharp_edges=sharp_edges
    )
    if normal_map:
        textured = bake_normal_map(textured, high_poly)
    return bake_occlusion(textured, high_poly) if occlusion else textured


def lod_meshes(mesh: Mesh, num_lods: int) -> list[Mesh]:
    """Simplify ``mesh`` into up to ``num_lods`` levels, finest first.

    There are fewer levels if the topology or `MIN_LOD_FACES` does not permit another one.
    """
    chain = [mesh]
    while len(chain) < num_lods and len(chain[-1].faces) // 2 >= MIN_LOD_FACES:
        target = len(chain[-1].faces) // 2
        coarser = simplify(chain[-1], target)
        if len(coarser.faces) > target:
            break
        chain.append(coarser)
    return chain


def lod_texture_size(texture_size: int, level: int) -> int:
    """Halve the texture size at each level: seen from its distance, a level's texels look equally large."""
    return max(texture_size >> level, min(texture_size, MIN_LOD_TEXTURE_SIZE))
