"""Data types shared by the packages.

Tensors are torch while a field is optimized (fields, rendering, guidance, priors) and numpy in an asset (mesh): a mesh
needs no gradient.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

UpAxis = Literal["y", "z"]
RecordT = TypeVar("RecordT")
DEFAULT_MATERIAL = (0.8, 0.0)  # roughness and metallic of a mesh without a map: training renders are diffuse


def map_tensors(record: RecordT, function: Callable[[Tensor], Tensor]) -> RecordT:
    """Return a copy of a dataclass with ``function`` applied to each field that is a tensor."""
    fields: dict[str, Any] = vars(record)
    changed = {name: function(value) for name, value in fields.items() if isinstance(value, Tensor)}
    return dataclasses.replace(record, **changed)  # type: ignore[type-var]


@dataclass(frozen=True)
class Render:
    """Images of a scene from ``b`` cameras, values in [0, 1].

    Attributes:
        rgb: Color premultiplied by opacity, i.e. the image over black.
        opacity: Accumulated opacity.
        depth: Expected distance along the ray in scene units; 0 where nothing is hit.
        normals: World-space normals premultiplied by opacity; None if not requested.

    Example:
        >>> empty = Render(torch.zeros(1, 8, 8, 3), torch.zeros(1, 8, 8), torch.zeros(1, 8, 8))
        >>> empty.over(torch.ones(1, 3)).mean()
        tensor(1.)
    """

    rgb: Float[Tensor, "b h w 3"]
    opacity: Float[Tensor, "b h w"]
    depth: Float[Tensor, "b h w"]
    normals: Float[Tensor, "b h w 3"] | None = None

    def over(self, background: Float[Tensor, "*#b 3"]) -> Float[Tensor, "b h w 3"]:
        """Composite the images over one solid background color per view (or one for all)."""
        color = background.expand(self.rgb.shape[0], 3)[:, None, None, :]
        return self.rgb + (1 - self.opacity[..., None]) * color


@runtime_checkable
class Field(Protocol):
    """A radiance field over [-1, 1]^3, as the renderer and the mesher query it."""

    def density(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        """Return extinction per scene unit, 0 outside the box."""
        ...

    def albedo(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Return sRGB base color in [0, 1]."""
        ...


@dataclass(frozen=True)
class InitialVolume:
    """Grids over [-1, 1]^3 that include its corners, indexed [x, y, z]: the mean scene of a prompt.

    Attributes:
        density: Extinction per scene unit.
        color: Base color in [0, 1].
        material: Roughness and metallic in [0, 1]; None if unknown.
    """

    density: Float[Tensor, "r r r"]
    color: Float[Tensor, "r r r 3"]
    material: Float[Tensor, "r r r 2"] | None = None


@dataclass(frozen=True)
class ObjectHeight:
    """Height of an object and where it comes from, e.g. "usual height of a mug"."""

    meters: float
    source: str


@runtime_checkable
class SolidField(Field, Protocol):
    """A field with a sharp surface: the zero level of a signed distance."""

    @property
    def instance(self) -> dict[str, Any]:
        """Return what tells the object from others of its prompt, as plain values for asset.json."""
        ...

    @property
    def height(self) -> ObjectHeight | None:
        """Return the height of this very object, if it is known."""
        ...

    def appearance(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, "n 5"]:
        """Return base color, roughness and metallic, from one query."""
        ...

    def distance(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        """Return the signed distance, negative inside, in scene units; exact to first order near the surface."""
        ...


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh, counterclockwise seen from outside, in the world frame (+Y up, +Z front).

    Attributes:
        vertices: Positions of shape (v, 3), in scene units within [-1, 1]^3 unless stated otherwise.
        faces: Vertex indices of shape (f, 3).

    Example:
        >>> triangle = Mesh(np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]), np.array([[0, 1, 2]]))
        >>> triangle.faces.shape
        (1, 3)
    """

    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]


@dataclass(frozen=True)
class TexturedMesh:
    """A mesh with a UV atlas. Vertices are split along UV seams; ``normals`` are continuous across them.

    Attributes:
        vertices: Positions of shape (v, 3).
        faces: Vertex indices of shape (f, 3).
        normals: Unit normals of shape (v, 3).
        uv: Texture coordinates, origin at the bottom left (OBJ's and trimesh's convention).
        texture: sRGB-encoded base color; row 0 is the top.
        normal_map: Tangent-space normals, (n + 1) / 2, green along +v (glTF). Present if and only if ``tangents`` is.
        tangents: Unit tangents and handedness w: bitangent = w cross(normal, tangent).
        occlusion: Fraction of ambient light that reaches the surface; 255 where it is unoccluded.
        metallic_roughness: Roughness and metallic, the green and blue channels of glTF's metallicRoughnessTexture;
            without it they are `DEFAULT_MATERIAL`.
        quads: If true, every two consecutive faces (a, b, c) and (a, c, d) are halves of a quad; seams may separate
            them.

    Example:
        >>> textured.uv.shape == (len(textured.vertices), 2)
        True
        >>> textured.texture.dtype
        dtype('uint8')
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
    metallic_roughness: UInt8[np.ndarray, "h w 2"] | None = None

    @property
    def uniform_material(self) -> tuple[float, float] | None:
        """Roughness and metallic in [0, 1] if they are the same everywhere, else None."""
        if self.metallic_roughness is None:
            return DEFAULT_MATERIAL
        roughness, metallic = self.metallic_roughness[0, 0].tolist()
        is_uniform = (self.metallic_roughness == (roughness, metallic)).all()
        return (roughness / 255, metallic / 255) if is_uniform else None
