"""Bake functions of position, such as color and material, into textures of a mesh."""

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
TEXEL_CHUNK = 1 << 18  # points per query of the color function


def bake_albedo(
    mesh: Mesh,
    albedo: Callable[[np.ndarray], np.ndarray],
    texture_size: int = 1024,
    padding: int = 4,
    *,
    supersample: int = 1,
    uv_atlas: UVAtlas | None = None,
    material: Callable[[np.ndarray], np.ndarray] | None = None,
) -> TexturedMesh:
    """Unwrap the mesh and bake ``albedo``, and ``material`` if given, into square textures.

    ``albedo`` maps (n, 3) float32 world positions to (n, 3) sRGB-encoded colors in [0, 1]; ``material``
    maps them to (n, 2) roughness and metallic in [0, 1]. Each texel is the mean of ``supersample``^2
    samples. Charts are ``padding`` texels apart; the gaps are filled from the nearest chart. Raises
    FloatingPointError if a value is NaN.
    """
    atlas = uv_atlas or unwrap(mesh, texture_size, padding)
    positions = mesh.vertices[atlas.vmapping].astype(np.float64)

    functions = [albedo] if material is None else [albedo, material]

    def query_surface(face: np.ndarray, weights: np.ndarray) -> np.ndarray:
        points = interpolate_barycentric(positions, atlas.faces[face], weights).astype(np.float32)
        values = np.concatenate([function(points) for function in functions], axis=1)
        if np.isnan(values).any():  # would become black
            raise FloatingPointError("the field returned colors that are not finite; run again with another seed")
        return values

    channels = 3 if material is None else 5
    baked = to_uint8(bake_texture(atlas.uv, atlas.faces, texture_size, query_surface, supersample, channels=channels))
    texture, maps = np.ascontiguousarray(baked[..., :3]), np.ascontiguousarray(baked[..., 3:])
    arrays = positions, vertex_normals(mesh)[atlas.vmapping], atlas.uv
    vertices, normals, uv = (array.astype(np.float32) for array in arrays)
    faces = atlas.faces.astype(np.int32)
    return TexturedMesh(vertices, faces, normals, uv, texture, metallic_roughness=None if material is None else maps)


def bake_texture(
    uv: Float[np.ndarray, "v 2"],
    faces: Int[np.ndarray, "f 3"],
    size: int,
    query: Callable[[np.ndarray, np.ndarray], np.ndarray],
    supersample: int = 1,
    *,
    channels: int = 3,
) -> Float[np.ndarray, "size size {channels}"]:
    """Average ``query`` over ``supersample``^2 samples per texel and dilate it into the empty texels.

    ``query`` maps faces (n,) and barycentric weights (n, 3) to values (n, channels).
    """
    total, count = np.zeros((size * size, channels)), np.zeros(size * size, np.int64)
    for texel, face, weights in _texel_samples(uv, faces, size, supersample):
        for start in range(0, len(texel), TEXEL_CHUNK):
            part = slice(start, start + TEXEL_CHUNK)
            # a texel occurs at most once per round, so plain indexing is a correct scatter-add
            total[texel[part]] += query(face[part], weights[part])
            count[texel[part]] += 1
    mean = (total / np.maximum(count, 1)[:, None]).reshape(size, size, channels)
    return dilate_texture(mean, count.reshape(size, size) > 0)


def interpolate_barycentric(
    vertex_values: Float[np.ndarray, "v c"], corners: Int[np.ndarray, "n 3"], weights: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, "n c"]:
    """Interpolate per-vertex values at points of triangles; ``corners`` are vertex indices."""
    return np.einsum("nk,nkc->nc", weights, vertex_values[corners])


def dilate_texture(texture: Float[np.ndarray, "h w c"], covered: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "h w c"]:
    """Copy the nearest covered texel into every uncovered one, so that no filter or mip level shows a seam."""
    if covered.all() or not covered.any():
        return texture
    row, col = ndimage.distance_transform_edt(~covered, return_distances=False, return_indices=True)
    return texture[row, col]


def _texel_samples(
    uv: Float[np.ndarray, "v 2"], faces: Int[np.ndarray, "f 3"], size: int, supersample: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield rounds of (texel, face, barycentric weights); a texel occurs at most once per round.

    Each round is one sample position of the regular grid within a texel, so memory stays that of
    one texture. Texels that no sample covers, but that contain a corner, an edge midpoint or the
    centroid of a face, take the first such face: no sliver is left without color.
    """
    points, empty = uv_to_pixels(uv, size), np.ones(size * size, bool)
    for row, col in np.ndindex(supersample, supersample):
        shift = 0.5 - (np.array([col, row]) + 0.5) / supersample
        face, weights, _ = rasterize_triangles(points + (*shift, 0.0), faces, size, size)
        texel = np.flatnonzero(face >= 0)
        empty[texel] = False
        yield texel, face.ravel()[texel], weights.reshape(-1, 3)[texel]
    for probe in BARYCENTRIC_PROBES:
        x, y, _ = np.clip(np.einsum("k,fkc->fc", probe, points[faces]).astype(np.int64), 0, size - 1).T
        texel = y * size + x
        unfilled = np.flatnonzero(empty[texel])
        _, first = np.unique(texel[unfilled], return_index=True)
        unfilled = unfilled[first]
        empty[texel[unfilled]] = False
        yield texel[unfilled], unfilled, np.broadcast_to(probe, (len(unfilled), 3))


def to_uint8(values: Float[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h w c"]:
    """Round values in [0, 1] to the nearest byte; NaN becomes 0."""
    return (np.clip(np.nan_to_num(values), 0, 1) * 255 + 0.5).astype(np.uint8)
