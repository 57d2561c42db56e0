"""Fallback UV atlas: charts of faces with the same dominant axis, projected along it, packed on shelves.

It has more seams and more unused texture than an xatlas atlas, but it always succeeds without overlap:
charts that fold over themselves are cut until they do not.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from trimesh.graph import connected_component_labels

from dreamfusion3d.core.types import Mesh
from dreamfusion3d.mesh.rasterize import rasterize_triangles, uv_overlap_counts, uv_to_pixels

MAX_CUTS = 12  # rounds of halving a folded chart by depth; then each of its faces becomes a chart
# For faces along +x, -x, +y, ...: the axes that become u and v, and the sign of u, so that no chart is mirrored.
PROJECTION_PLANES = ((2, 1, -1), (2, 1, 1), (0, 2, 1), (0, 2, -1), (0, 1, 1), (0, 1, -1))


def project_charts(
    mesh: Mesh, texture_size: int, padding: int
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, "f 3"], Float[np.ndarray, "n 2"]]:
    """Return (vmapping, faces, uv) as in `UVAtlas`."""
    direction, depth = _face_directions(mesh)
    group = direction.astype(np.int64)
    pairs = _adjacent_faces(mesh.faces)
    for cut in range(MAX_CUTS + 1):
        chart = _connected_charts(pairs, group)
        vmapping, faces, uv = _pack_atlas(mesh, direction, chart, texture_size, padding)
        folded = _folded_charts(uv, faces, chart, texture_size)
        if len(folded) == 0:
            break
        bad = np.isin(chart, folded)
        if cut == MAX_CUTS - 1:
            group[bad] = group.max() + 1 + np.arange(bad.sum())
        else:
            group = _split_charts(chart, folded, depth)
    return vmapping, faces, uv


def _face_directions(mesh: Mesh) -> tuple[Int[np.ndarray, " f"], Float[np.ndarray, " f"]]:
    """Return the dominant direction (0 to 5) of each face, and its position along that axis."""
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    axis = np.abs(normal).argmax(1)
    rows = np.arange(len(normal))
    return 2 * axis + (normal[rows, axis] < 0), corners.mean(1)[rows, axis]


def _adjacent_faces(faces: Int[np.ndarray, "f 3"]) -> Int[np.ndarray, "e 2"]:
    """Return pairs of faces that share an edge."""
    edges = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    order = np.lexsort((edges[:, 1], edges[:, 0]))
    same = (edges[order[1:]] == edges[order[:-1]]).all(1)
    return np.stack([order[:-1][same] // 3, order[1:][same] // 3], axis=1)


def _connected_charts(pairs: Int[np.ndarray, "e 2"], group: Int[np.ndarray, " f"]) -> Int[np.ndarray, " f"]:
    """Label connected faces of the same group."""
    same = group[pairs[:, 0]] == group[pairs[:, 1]]
    return connected_component_labels(pairs[same], len(group)).astype(np.int64)


def _split_charts(
    chart: Int[np.ndarray, " f"], folded: Int[np.ndarray, " k"], depth: Float[np.ndarray, " f"]
) -> Int[np.ndarray, " f"]:
    """Return new groups in which the folded charts are cut at their median depth."""
    group = 2 * chart
    for folded_chart in folded:
        faces = np.flatnonzero(chart == folded_chart)
        order = faces[np.argsort(depth[faces], kind="stable")]
        group[order[len(order) // 2 :]] += 1
    return group


def _chart_boxes(
    mesh: Mesh, direction: Int[np.ndarray, " f"], chart: Int[np.ndarray, " f"]
) -> tuple[Float[np.ndarray, "f 3 2"], Float[np.ndarray, "c 2"]]:
    """Project the charts; return face corners relative to the corner of their box, and the size of each box."""
    planes = np.array(PROJECTION_PLANES)[direction]
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    u = np.take_along_axis(corners, planes[:, None, :1], 2)[..., 0] * planes[:, 2:]
    v = np.take_along_axis(corners, planes[:, None, 1:2], 2)[..., 0]
    v = np.where((direction // 2 == 1)[:, None], -v, v)
    flat = np.stack([u, v], -1)
    count = chart.max() + 1
    low, high = np.full((count, 2), np.inf), np.full((count, 2), -np.inf)
    np.minimum.at(low, chart, flat.min(1))
    np.maximum.at(high, chart, flat.max(1))
    return flat - low[chart][:, None], high - low


def _pack_shelves(sizes: Float[np.ndarray, "c 2"], texture_size: float, gap: float) -> Float[np.ndarray, "c 2"] | None:
    """Pack boxes on shelves, tallest first; return their corners, or None if they do not fit."""
    corners = np.empty_like(sizes)
    x = y = gap
    shelf = 0.0
    for i in np.argsort(-sizes[:, 1], kind="stable"):
        width, height = sizes[i]
        if x + width + gap > texture_size:
            x, y, shelf = gap, y + shelf + gap, 0.0
        if x + width + gap > texture_size or y + height + gap > texture_size:
            return None
        corners[i] = x, y
        x, shelf = x + width + gap, max(shelf, height)
    return corners


def _pack_atlas(
    mesh: Mesh, direction: Int[np.ndarray, " f"], chart: Int[np.ndarray, " f"], texture_size: int, padding: int
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, "f 3"], Float[np.ndarray, "n 2"]]:
    corners, sizes = _chart_boxes(mesh, direction, chart)
    gap, atlas_size = float(padding), float(texture_size)
    # reduce the gap if not even points would fit with it
    while _pack_shelves(sizes * 0, atlas_size, gap) is None:
        gap /= 2
    low, high = 0.0, texture_size / max(float(sizes.max()), 1e-12)
    offsets = _pack_shelves(sizes * low, atlas_size, gap)
    for _ in range(14):
        middle = (low + high) / 2
        candidate = _pack_shelves(sizes * middle, atlas_size, gap)
        if candidate is None:
            high = middle
        else:
            low, offsets = middle, candidate
    assert offsets is not None
    uv = (corners * low + offsets[chart][:, None]) / texture_size
    key = chart[:, None] * np.int64(len(mesh.vertices)) + mesh.faces
    _, first, faces = np.unique(key, return_index=True, return_inverse=True)
    uv = np.clip(uv.reshape(-1, 2)[first], 0, 1).astype(np.float32)
    return mesh.faces.ravel()[first].astype(np.int64), faces.reshape(-1, 3).astype(np.int64), uv


def _folded_charts(
    uv: Float[np.ndarray, "n 2"], faces: Int[np.ndarray, "f 3"], chart: Int[np.ndarray, " f"], size: int
) -> Int[np.ndarray, " k"]:
    """Return charts that cover a texel twice; boxes are disjoint, so any face there identifies the chart."""
    overlapping = uv_overlap_counts(uv, faces, size) > 1
    if not overlapping.any():
        return np.zeros(0, np.int64)
    face = rasterize_triangles(uv_to_pixels(uv, size), faces, size, size).face[overlapping]
    return np.unique(chart[face[face >= 0]])
