"""Signed distance functions with known topology, and meshes and textured meshes made from them."""

from __future__ import annotations

import numpy as np

from dreamfusion3d.core.types import Mesh, TexturedMesh
from dreamfusion3d.mesh.bake import bake_albedo
from dreamfusion3d.mesh.clean import extract_solid
from dreamfusion3d.mesh.isosurface import sample_grid
from dreamfusion3d.mesh.simplify import simplify, taubin_smooth


def sphere(p: np.ndarray, radius: float = 0.6, center: tuple[float, ...] = (0, 0, 0)) -> np.ndarray:
    return np.linalg.norm(p - np.array(center, np.float32), axis=1) - radius


def torus(p: np.ndarray, ring: float = 0.5, tube: float = 0.18, center: tuple[float, ...] = (0, 0, 0)) -> np.ndarray:
    q = p - np.array(center, np.float32)
    return np.hypot(np.hypot(q[:, 0], q[:, 1]) - ring, q[:, 2]) - tube


def radius(p: np.ndarray) -> np.ndarray:
    return np.linalg.norm(p, axis=1)


def shell(p: np.ndarray) -> np.ndarray:
    """A hollow sphere with a narrow hole at the bottom, which no camera sees."""
    wall = np.maximum(radius(p) - 0.6, 0.45 - radius(p))
    hole = np.where(p[:, 1] < 0, np.hypot(p[:, 0], p[:, 2]) - 0.1, 1.0)
    return np.maximum(wall, -hole)


def cup(p: np.ndarray) -> np.ndarray:
    """An upright open cylinder with a floor."""
    r = np.hypot(p[:, 0], p[:, 2])
    solid = np.maximum(r - 0.45, np.abs(p[:, 1]) - 0.4)
    cavity = np.maximum(r - 0.35, -0.3 - p[:, 1])
    return np.maximum(solid, -cavity)


def two_handles(p: np.ndarray) -> np.ndarray:
    handles = [torus(p, 0.25, 0.08, (side, 0, 0)) for side in (-0.45, 0.45)]
    return np.minimum.reduce([sphere(p, 0.4), *handles])


GENUS = {sphere: 0, torus: 1, two_handles: 2}


def grid_of(shape, resolution: int = 64) -> np.ndarray:
    """Positive inside; the level is 0."""
    return sample_grid(lambda p: -shape(p), resolution)


def mesh_of(shape, resolution: int = 64, faces: int = 3000) -> Mesh:
    return simplify(taubin_smooth(extract_solid(grid_of(shape, resolution), 0.0)), faces)


def position_color(p: np.ndarray) -> np.ndarray:
    return 0.5 + 0.45 * p


def textured_of(shape, size: int = 256) -> TexturedMesh:
    return bake_albedo(mesh_of(shape), position_color, size)
