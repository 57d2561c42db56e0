"""Levels of detail: the same asset with half the faces, and half again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dreamfusion3d.core.types import Mesh, TexturedMesh
from dreamfusion3d.mesh.bake import bake_albedo
from dreamfusion3d.mesh.normal_map import HighPolySurface, bake_normal_map, bake_occlusion
from dreamfusion3d.mesh.simplify import simplify

MIN_LOD_FACES = 64  # faces below which a level is not worth having
MIN_LOD_TEXTURE_SIZE = 64  # pixels along a side of a level's texture


def unwrap_and_bake(
    mesh: Mesh,
    albedo: Callable[[np.ndarray], np.ndarray],
    high_poly: HighPolySurface,
    texture_size: int,
    supersample: int = 1,
    *,
    normal_map: bool = True,
    occlusion: bool = False,
) -> TexturedMesh:
    """``mesh`` with an atlas, the colour, and what is asked for of ``fine``."""
    textured = bake_albedo(mesh, albedo, texture_size, supersample=supersample)
    if normal_map:
        textured = bake_normal_map(textured, high_poly)
    return bake_occlusion(textured, high_poly) if occlusion else textured


def lod_meshes(mesh: Mesh, num_lods: int) -> list[Mesh]:
    """``mesh`` and up to ``levels`` - 1 coarser ones, each with at most half the faces of the one before.

    The chain ends early where the topology or FEWEST faces allow no further level.
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
    """Half the side a level: seen from where the level is shown, the texels are as large as ever."""
    return max(texture_size >> level, min(texture_size, MIN_LOD_TEXTURE_SIZE))
