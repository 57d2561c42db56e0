"""The values that pass between the parts.

Tensors are torch on the optimising side (field, render, guidance, prior) and
numpy on the asset side (mesh): a mesh never needs a gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor


@dataclass(frozen=True)
class Render:
    """Pictures of a scene from ``b`` cameras, HWC, values in [0, 1].

    ``rgb`` is premultiplied by ``opacity``: the picture over black. ``depth`` is the
    expected distance along the ray (scene units, 0 where nothing is hit); ``normals``
    are world-space, premultiplied by opacity, or None when they were not asked for.
    """

    rgb: Float[Tensor, "b h w 3"]
    opacity: Float[Tensor, "b h w"]
    depth: Float[Tensor, "b h w"]
    normals: Float[Tensor, "b h w 3"] | None = None

    def over(self, background: Float[Tensor, "*#b 3"]) -> Float[Tensor, "b h w 3"]:
        """The pictures composited over one solid background colour a view (or one for all)."""
        color = background.expand(self.rgb.shape[0], 3)[:, None, None, :]
        return self.rgb + (1 - self.opacity[..., None]) * color


@runtime_checkable
class Field(Protocol):
    """A radiance field over [-1, 1]^3: what the renderer and the mesher ask of it."""

    def density(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]: ...

    def albedo(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]: ...


@dataclass(frozen=True)
class Mesh:
    """Triangles, counter-clockwise seen from outside, world frame (+Y up, +Z front)."""

    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]


@dataclass(frozen=True)
class TexturedMesh:
    """A mesh with a UV atlas. Vertices are split along UV seams; ``normals`` are not.

    ``uv`` has its origin at the bottom left (OBJ and trimesh's convention); ``texture``
    row 0 is the top of the picture, sRGB-encoded base colour. ``normal_map`` is tangent-space,
    (n + 1) / 2, green along +v (glTF); ``tangents`` are unit, with the handedness as the last
    number: bitangent = w cross(normal, tangent). Both are there or neither is. ``occlusion`` is
    the share of light that reaches a place from all around, 255 where nothing is in its way.
    Where ``quads`` is true each two faces in a row, (a, b, c) and (a, c, d), are halves of a quad; seams
    may part them.
    """

    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    normals: Float[np.ndarray, "v 3"]
    uv: Float[np.ndarray, "v 2"]
    texture: UInt8[np.ndarray, "h w 3"]
    normal_map: UInt8[np.ndarray, "h w 3"] | None = None
    tangents: Float[np.ndarray, "v 4"] | None = None
    occlusion: UInt8[np.ndarray, "h w"] | None = None
    quads: Bool[np.ndarray, ""] | None = None


UpAxis = Literal["y", "z"]
