"""Colour of the field onto the texture of the mesh."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy import ndimage

from dreamfusion3d.core.types import Mesh, TexturedMesh
from dreamfusion3d.mesh.rasterize import rasterize_triangles, uv_to_pixels
from dreamfusion3d.mesh.tangents import vertex_normals
from dreamfusion3d.mesh.unwrap import UVAtlas, unwrap

BARYCENTRIC_PROBES = np.array(
    [[1 / 3, 1 / 3, 1 / 3], [0.5, 0.5, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32
)
TEXEL_CHUNK = 1 << 18  # points asked of the albedo at once


def bake_albedo(
    mesh: Mesh,
    albedo: Callable[[np.ndarray], np.ndarray],
    texture_size: int = 1024,
    padding: int = 4,
    *,
    supersample: int = 1,
    uv_atlas: UVAtlas | None = None,
) -> TexturedMesh:
    """The mesh with a square texture of ``albedo`` at its surface.

    ``albedo`` takes (n, 3) float32 world positions and returns (n, 3) sRGB-encoded colours in
    [0, 1]. Each texel asks at its centre, or with ``supersample`` s at s*s places. ``padding``
    is the gap between charts in texels, filled from the nearest chart.
    """
    atlas = uv_atlas or unwrap(mesh, texture_size, padding)
    positions = mesh.vertices[atlas.vmapping].astype(np.float64)

    def query_albedo(face: np.ndarray, weights: np.ndarray) -> np.ndarray:
        colors = albedo(interpolate_barycentric(positions, atlas.faces[face], weights).astype(np.float32))
        if np.isnan(colors).any():  # it would come out as black
            raise FloatingPointError("colours of the field are not finite numbers; try again")
        return colors

    texture = bake_texture(atlas.uv, atlas.faces, texture_size, query_albedo, supersample)
    normals = vertex_normals(mesh)[atlas.vmapping]
    return TexturedMesh(
        positions.astype(np.float32),
        atlas.faces.astype(np.int32),
        normals.astype(np.float32),
        atlas.uv.astype(np.float32),
        to_uint8(texture),
    )


def bake_texture(
    uv: Float[np.ndarray, "v 2"],
    faces: Int[np.ndarray, "f 3"],
    size: int,
    query: Callable[[np.ndarray, np.ndarray], np.ndarray],
    supersample: int = 1,
) -> Float[np.ndarray, "size size 3"]:
    """A texture of the means of ``ask`` over ``supersample``^2 places a texel, no texel left empty.

    ``ask`` takes the face (n,) and the weights of its corners (n, 3) and returns (n, 3).
    """
    total, count = np.zeros((size * size, 3)), np.zeros(size * size, np.int64)
    for texel, face, weights in _texel_samples(uv, faces, size, supersample):
        for start in range(0, len(texel), TEXEL_CHUNK):
            part = slice(start, start + TEXEL_CHUNK)
            # a texel comes at most once a round, so that plain indexing adds all
            total[texel[part]] += query(face[part], weights[part])
            count[texel[part]] += 1
    mean = (total / np.maximum(count, 1)[:, None]).reshape(size, size, 3)
    return dilate_texture(mean, count.reshape(size, size) > 0)


def interpolate_barycentric(
    vertex_values: Float[np.ndarray, "v c"], corners: Int[np.ndarray, "n 3"], weights: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, "n c"]:
    """``values`` of vertices within triangles whose ``corners`` are vertex numbers."""
    return np.einsum("nk,nkc->nc", weights, vertex_values[corners])


def dilate_texture(texture: Float[np.ndarray, "h w 3"], covered: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "h w 3"]:
    """Every uncovered texel takes the nearest covered one: no filter, no mip level finds a seam."""
    if covered.all() or not covered.any():
        return texture
    row, col = ndimage.distance_transform_edt(~covered, return_distances=False, return_indices=True)
    return texture[row, col]


def _texel_samples(
    uv: Float[np.ndarray, "v 2"], faces: Int[np.ndarray, "f 3"], size: int, supersample: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Rounds of (texel, face, weights of its corners); in a round each texel comes at most once.

    The places within a texel are a grid, one a round, so that the memory is that of the texture.
    A texel belongs to the faces at its places; one that faces touch with a corner, an edge's
    middle or the centroid only, to the first of them, asked there: no sliver is left without colour.
    """
    points, empty = uv_to_pixels(uv, size), np.ones(size * size, bool)
    for row in range(supersample):
        for col in range(supersample):
            shift = 0.5 - (np.array([col, row]) + 0.5) / supersample
            shifted = points + (*shift, 0.0)
            face, weights, _ = rasterize_triangles(shifted, faces, size, size)
            texel = np.flatnonzero(face >= 0)
            empty[texel] = False
            yield texel, face.ravel()[texel], weights.reshape(-1, 3)[texel]
    for probe in BARYCENTRIC_PROBES:
        positions = np.einsum("k,fkc->fc", probe, points[faces])
        col_at, row_at = (np.clip(positions[:, axis].astype(np.int64), 0, size - 1) for axis in (0, 1))
        texel = row_at * size + col_at
        unfilled = np.flatnonzero(empty[texel])
        _, first = np.unique(texel[unfilled], return_index=True)
        unfilled = unfilled[first]
        empty[texel[unfilled]] = False
        yield texel[unfilled], unfilled, np.broadcast_to(probe, (len(unfilled), 3))


def to_uint8(values: Float[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """[0, 1] to bytes, to the nearest; what is not a number becomes 0."""
    return (np.clip(np.nan_to_num(values), 0, 1) * 255 + 0.5).astype(np.uint8)
