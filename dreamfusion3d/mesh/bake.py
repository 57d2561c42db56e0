"""Bake functions of position, such as color and material, into textures of a mesh."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy import ndimage

from dreamfusion3d.core.types import Mesh, TexturedMesh
from dreamfusion3d.mesh.crease_normals import split_at_creases
from dreamfusion3d.mesh.rasterize import rasterize_triangles, uv_to_pixels
from dreamfusion3d.mesh.tangents import vertex_normals
from dreamfusion3d.mesh.unwrap import UVAtlas, unwrap

BARYCENTRIC_PROBES = np.array(
    [[1 / 3, 1 / 3, 1 / 3], [0.5, 0.5, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32
)
TEXEL_CHUNK = 1 << 18  # points per query of the color function
SMOOTH_DIFFERENCE = 1.5 / 255  # texels closer than this to all neighbors have no detail to supersample


def bake_albedo(
    mesh: Mesh,
    appearance: Callable[[np.ndarray], np.ndarray],
    texture_size: int = 1024,
    padding: int = 4,
    *,
    supersample: int = 1,
    uv_atlas: UVAtlas | None = None,
    has_material: bool = False,
    sharp_edges: bool = False,
) -> TexturedMesh:
    """Unwrap the mesh and bake ``appearance`` into square textures.

    ``appearance`` maps (n, 3) float32 world positions to sRGB-encoded colors (n, 3) or, if it ``has_material``, to
    colors, roughness and metallic (n, 5), all in [0, 1]. Each texel with detail is the mean of ``supersample``^2
    samples. Charts are ``padding`` texels apart; the gaps are filled from the nearest chart. ``sharp_edges`` splits
    normals at creases. Raises FloatingPointError if a value is NaN.
    """
    atlas = uv_atlas or unwrap(mesh, texture_size, padding)
    positions = mesh.vertices[atlas.vmapping].astype(np.float64)

    def query_surface(face: np.ndarray, weights: np.ndarray) -> np.ndarray:
        points = interpolate_barycentric(positions, atlas.faces[face], weights).astype(np.float32)
        values = appearance(points)
        if np.isnan(values).any():  # would become black
            raise FloatingPointError("the field returned colors that are not finite; run again with another seed")
        return values

    channels = 5 if has_material else 3
    baked = to_uint8(bake_texture(atlas.uv, atlas.faces, texture_size, query_surface, supersample, channels=channels))
    texture, maps = np.ascontiguousarray(baked[..., :3]), np.ascontiguousarray(baked[..., 3:])
    if sharp_edges:
        all_normals, _, corners = split_at_creases(mesh)
        pairs = np.stack([atlas.faces.ravel(), corners.ravel()], 1)
        (rows, normal_rows), faces = _unique_rows(pairs)
        arrays = positions[rows], all_normals[normal_rows], atlas.uv[rows]
    else:
        arrays, faces = (positions, vertex_normals(mesh)[atlas.vmapping], atlas.uv), atlas.faces
    vertices, normals, uv = (array.astype(np.float32) for array in arrays)
    materials = maps if has_material else None
    return TexturedMesh(vertices, faces.astype(np.int32), normals, uv, texture, metallic_roughness=materials)


def _unique_rows(pairs: Int[np.ndarray, "n 2"]) -> tuple[Int[np.ndarray, "2 m"], Int[np.ndarray, "f 3"]]:
    """Return the distinct pairs, one per column, and the pair of each corner, three to a face."""
    unique, inverse = np.unique(pairs, axis=0, return_inverse=True)
    return unique.T, inverse.reshape(-1, 3)


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

    A texel like all its neighbors keeps one sample, at its center.
    ``query`` maps faces (n,) and barycentric weights (n, 3) to values (n, channels).
    """
    mean, covered = _average_samples(uv, faces, size, query, 1, channels)
    if supersample > 1:
        filled = dilate_texture(mean, covered)
        difference = ndimage.maximum_filter(filled, (3, 3, 1)) - ndimage.minimum_filter(filled, (3, 3, 1))
        detailed = (difference.max(-1) > SMOOTH_DIFFERENCE) | ~covered
        fine, fine_covered = _average_samples(uv, faces, size, query, supersample, channels, detailed)
        mean, covered = np.where((detailed & fine_covered)[..., None], fine, mean), covered | fine_covered
    return dilate_texture(mean, covered)


def _average_samples(
    uv: Float[np.ndarray, "v 2"],
    faces: Int[np.ndarray, "f 3"],
    size: int,
    query: Callable[[np.ndarray, np.ndarray], np.ndarray],
    supersample: int,
    channels: int,
    wanted: Bool[np.ndarray, "size size"] | None = None,
) -> tuple[Float[np.ndarray, "size size {channels}"], Bool[np.ndarray, "size size"]]:
    """Return the mean of the samples of each ``wanted`` texel, and which texels have any."""
    total, count = np.zeros((size * size, channels)), np.zeros(size * size, np.int64)
    for texel, face, weights in _texel_samples(uv, faces, size, supersample):
        if wanted is not None:
            rows = np.flatnonzero(wanted.ravel()[texel])
            texel, face, weights = texel[rows], face[rows], weights[rows]
        for start in range(0, len(texel), TEXEL_CHUNK):
            part = slice(start, start + TEXEL_CHUNK)
            # a texel occurs at most once per round, so plain indexing is a correct scatter-add
            total[texel[part]] += query(face[part], weights[part])
            count[texel[part]] += 1
    return (total / np.maximum(count, 1)[:, None]).reshape(size, size, channels), count.reshape(size, size) > 0


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
