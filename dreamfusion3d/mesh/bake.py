"""Colour of the field onto the texture of the mesh."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage

from dreamfusion3d.mesh.simplify import vertex_normals
from dreamfusion3d.mesh.unwrap import Unwrap, unwrap
from dreamfusion3d.raster import atlas_points, rasterise
from dreamfusion3d.types import Mesh, TexturedMesh

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
    fine = rasterise(
        atlas_points(atlas.uv, texture_size * supersample), atlas.faces,
        texture_size * supersample, texture_size * supersample,
    )
    covered = fine.face >= 0
    colours = _ask(albedo, positions, atlas.faces[fine.face[covered]], fine.weights[covered])
    total = np.zeros((texture_size, texture_size, 3))
    count = np.zeros((texture_size, texture_size))
    rows, cols = (index // supersample for index in np.nonzero(covered))
    flat = rows * texture_size + cols
    for channel in range(3):
        total[..., channel] = np.bincount(flat, colours[:, channel], count.size).reshape(count.shape)
    count = np.bincount(flat, minlength=count.size).reshape(count.shape)
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
