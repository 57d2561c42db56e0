"""The frame that a file is written in: which axis is up, and what one unit of length is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import numpy as np
from jaxtyping import Float

from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.types import Mesh, TexturedMesh

Up = Literal["y", "z"]
Units = Literal["m", "cm", "mm"]
METRES: dict[Units, float] = {"m": 1.0, "cm": 0.01, "mm": 0.001}  # that one unit is long


@dataclass(frozen=True)
class Frame:
    """Right-handed. With +Y up the front faces +Z; with +Z up it faces -Y, as in Blender."""

    up: Up = "y"
    units: Units = "m"

    @property
    def metres(self) -> float:
        """The length of one unit."""
        return METRES[self.units]

    def __str__(self) -> str:
        return f"+{self.up.upper()} up, {self.units}"


def turned(vectors: Float[np.ndarray, "n 3"], up: Up) -> Float[np.ndarray, "n 3"]:
    """Vectors of this project's frame (+Y up) in one with ``up`` up: a quarter turn about X."""
    if up == "y":
        return vectors
    return np.stack([vectors[:, 0], -vectors[:, 2], vectors[:, 1]], axis=1)


def in_frame(textured: TexturedMesh, frame: Frame) -> TexturedMesh:
    """A mesh in metres with +Y up, with the coordinates that it has in ``frame``."""
    vertices = turned(textured.vertices, frame.up)
    if frame.units != "m":
        vertices = (vertices.astype(np.float64) / frame.metres).astype(textured.vertices.dtype)
    return replace(textured, vertices=vertices, normals=turned(textured.normals, frame.up))
Shape = TypeVar("Shape", Mesh, TexturedMesh)
Pivot = Literal["base", "center"]


def place(mesh: Shape, height: float = 1.0, pivot: Pivot = "base") -> Shape:
    """Scaled to ``height`` metres along +Y, with the origin at the centre of its base or bounding box."""
    return place_like(mesh, mesh, height, pivot)


def place_like(
    mesh: Shape, model: Mesh | TexturedMesh, height: float = 1.0, pivot: Pivot = "base"
) -> Shape:
    """``mesh`` moved and scaled as `place` does ``model``: levels of detail must not jump."""
    low, high = model.vertices.min(0).astype(np.float64), model.vertices.max(0).astype(np.float64)
    if not height > 0 or not np.isfinite(height):
        raise InputError(f"the height must be a positive number of metres, not {height}")
    scale = height / max(high[1] - low[1], 1e-9)
    origin = (low + high) / 2
    if pivot == "base":
        origin[1] = low[1]
    return replace(mesh, vertices=((mesh.vertices - origin) * scale).astype(np.float32))
