"""Up axis and length unit of mesh files, and scaling to meters.

The scene's own axes are declared in `cameras/orbit.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import numpy as np
from jaxtyping import Float

from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.types import Mesh, TexturedMesh, UpAxis

Units = Literal["m", "cm", "mm"]
METERS_PER_UNIT: dict[Units, float] = {"m": 1.0, "cm": 0.01, "mm": 0.001}


@dataclass(frozen=True)
class CoordinateFrame:
    """Right-handed axes and unit of a file: the front is +Z with +Y up, and -Y with +Z up, as in Blender."""

    up: UpAxis = "y"
    units: Units = "m"

    @property
    def meters_per_unit(self) -> float:
        """Length of one unit in meters."""
        return METERS_PER_UNIT[self.units]

    def __str__(self) -> str:
        return f"+{self.up.upper()} up, {self.units}"


def rotate_up_axis(vectors: Float[np.ndarray, "n 3"], up: UpAxis) -> Float[np.ndarray, "n 3"]:
    """Rotate vectors from +Y up to ``up`` up: a quarter turn about X, or none."""
    if up == "y":
        return vectors
    return np.stack([vectors[:, 0], -vectors[:, 2], vectors[:, 1]], axis=1)


def to_frame(textured: TexturedMesh, frame: CoordinateFrame) -> TexturedMesh:
    """Convert a mesh from meters and +Y up to ``frame``."""
    vertices = rotate_up_axis(textured.vertices, frame.up)
    if frame.units != "m":
        vertices = (vertices.astype(np.float64) / frame.meters_per_unit).astype(textured.vertices.dtype)
    return replace(textured, vertices=vertices, normals=rotate_up_axis(textured.normals, frame.up))


MeshT = TypeVar("MeshT", Mesh, TexturedMesh)
Pivot = Literal["base", "center"]


def scale_to_height(mesh: MeshT, height: float = 1.0, pivot: Pivot = "base") -> MeshT:
    """Scale a mesh to ``height`` meters along +Y and center its base or bounding box at the origin."""
    return scale_like(mesh, mesh, height, pivot)


def scale_like(mesh: MeshT, reference: Mesh | TexturedMesh, height: float = 1.0, pivot: Pivot = "base") -> MeshT:
    """Apply the `scale_to_height` of ``reference`` to ``mesh``, so that levels of detail do not jump."""
    low, high = reference.vertices.min(0).astype(np.float64), reference.vertices.max(0).astype(np.float64)
    if not height > 0 or not np.isfinite(height):
        raise InputError(f"height must be a positive number of meters, not {height}")
    scale = height / max(high[1] - low[1], 1e-9)
    origin = (low + high) / 2
    if pivot == "base":
        origin[1] = low[1]
    return replace(mesh, vertices=((mesh.vertices - origin) * scale).astype(np.float32))
