"""Colour of the field onto the texture of the mesh."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int32, UInt8
from scipy import ndimage

from dreamfusion3d.mesh.simplify import vertex_normals
from dreamfusion3d.mesh.unwrap import Unwrap, unwrap
from dreamfusion3d.raster import atlas_points, rasterise
from dreamfusion3d.types import Mesh, TexturedMesh

PROBES = np.array(
    [[1 / 3, 1 / 3, 1 / 3], [0.5, 0.5, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [1, 0, 0], [0, 1, 0], [0, 0, 1]],
    np.float32,
)
CHUNK = 1 << 18  # points asked of the albedo at once


def bake(
    mesh: Mesh,
    albedo: Callable[[np.ndarray], np.ndarray],
    texture_size: int = 1024,
    padding: int = 4,
    *,
    supersample: int = 1,
    unwrapped: Unwrap | None = None,
) -> TexturedMesh:
    """The mesh with a square texture of ``albedo`` at its surface.

    ``albedo`` takes (n, 3) float32 world positions and returns (n, 3) sRGB-encoded colours in
    [0, 1]. Each texel asks at its centre, or with ``supersample`` s at s*s places. ``padding``
    is the gap between charts in texels, filled from the nearest chart.
    """
    atlas = unwrapped or unwrap(mesh, texture_size, padding)
    positions = mesh.vertices[atlas.vmapping]
    face, weights = _texels(atlas, texture_size * supersample)
    covered = face >= 0
    colours = _ask(albedo, positions, atlas.faces[face[covered]], weights[covered])
    total = np.zeros((texture_size, texture_size, 3))
    rows, cols = (index // supersample for index in np.nonzero(covered))
    flat = rows * texture_size + cols
    for channel in range(3):
        total[..., channel] = np.bincount(flat, colours[:, channel], texture_size**2).reshape(total.shape[:2])
    count = np.bincount(flat, minlength=texture_size**2).reshape(texture_size, texture_size)
    texture = total / np.maximum(count, 1)[..., None]
    normals = vertex_normals(mesh)[atlas.vmapping]
    return TexturedMesh(
        positions.astype(np.float32), atlas.faces.astype(np.int32), normals.astype(np.float32),
        atlas.uv.astype(np.float32), _quantised(dilate(texture, count > 0)),
    )


def dilate(
    texture: Float[np.ndarray, "h w 3"], covered: Bool[np.ndarray, "h w"]
) -> Float[np.ndarray, "h w 3"]:
    """Every uncovered texel takes the nearest covered one: no filter, no mip level finds a seam."""
    if covered.all() or not covered.any():
        return texture
    row, col = ndimage.distance_transform_edt(~covered, return_distances=False, return_indices=True)
    return texture[row, col]


def _texels(atlas: Unwrap, size: int) -> tuple[Int32[np.ndarray, "s s"], Float[np.ndarray, "s s 3"]]:
    """The face at each texel (-1: none) and the weights of its corners.

    A texel belongs to the face at its centre; one that a face touches with a corner, an edge's
    middle or its centroid only, to that face, asked there. So no sliver is left without colour.
    """
    points = atlas_points(atlas.uv, size)
    face, weights, _ = rasterise(points, atlas.faces, size, size)
    for probe in PROBES:
        at = np.einsum("k,fkc->fc", probe, points[atlas.faces])
        col, row = (np.clip(at[:, axis].astype(np.int64), 0, size - 1) for axis in (0, 1))
        free = np.flatnonzero(face[row, col] < 0)
        _, first = np.unique(row[free] * size + col[free], return_index=True)
        free = free[first]
        face[row[free], col[free]] = free
        weights[row[free], col[free]] = probe
    return face, weights


def _ask(
    albedo: Callable[[np.ndarray], np.ndarray],
    positions: Float[np.ndarray, "v 3"],
    corners: np.ndarray,
    weights: Float[np.ndarray, "n 3"],
) -> Float[np.ndarray, "n 3"]:
    """Albedo at the points with ``weights`` of the triangles whose ``corners`` (n, 3) are given."""
    out = np.empty((len(corners), 3), np.float32)
    for start in range(0, len(corners), CHUNK):
        part = slice(start, start + CHUNK)
        points = np.einsum("nk,nkc->nc", weights[part], positions[corners[part]])
        out[part] = albedo(points.astype(np.float32))
    return out


def _quantised(colours: Float[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    return (np.clip(np.nan_to_num(colours), 0, 1) * 255 + 0.5).astype(np.uint8)
