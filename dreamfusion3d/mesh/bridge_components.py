"""Bridge components that the field connects only at a lower density.

A single level for the whole shape cuts the mast that carries a sail: the mast is thin, so its density
is low, and the sail would be removed as a floater. Where the field connects two components at a lower
level, a thin bridge connects them in the mesh.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra

from dreamfusion3d.mesh.space_carving import dilate_ball

MIN_COMPONENT_FRACTION = 0.02  # of the largest component's samples; anything smaller is a floater
LEVEL_DROPS = np.arange(0.25, 2.01, 0.25)  # below the level, in log density
BRIDGE_RADIUS = 0.02  # scene units
BRIDGE_LEVEL_OFFSET = 0.5  # value of a bridge above the level


def bridge_components(
    grid: Float[np.ndarray, "r r r"], level: float, bound: float = 1.0, *, min_fraction: float = MIN_COMPONENT_FRACTION
) -> Float[np.ndarray, "r r r"]:
    """Connect each component of {grid > level} to the largest one, if it has ``min_fraction`` of its samples.

    ``grid`` is log density. A component is bridged if one of the `LEVEL_DROPS` connects it to the
    components joined so far; all others are left unchanged.
    """
    labels, count = ndimage.label(grid > level)
    if count < 2:
        return grid
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    order = [int(i) for i in np.argsort(-sizes, kind="stable") if sizes[i] >= min_fraction * sizes.max()]
    connected = labels == order[0]
    result = grid
    radius = max(BRIDGE_RADIUS * (grid.shape[0] - 1) / (2 * bound), 1.5)
    for component in order[1:]:
        path = _find_path(grid, level, labels == component, connected)
        if path is not None:
            connected = connected | (labels == component)
            bridge = np.zeros(grid.shape, bool)
            bridge[tuple(path.T)] = True
            raised = np.maximum(result, np.float32(level + BRIDGE_LEVEL_OFFSET))
            result = np.where(dilate_ball(bridge, radius), raised, result)
    return result


def _find_path(
    grid: Float[np.ndarray, "r r r"],
    level: float,
    component: Bool[np.ndarray, "r r r"],
    connected: Bool[np.ndarray, "r r r"],
) -> Int[np.ndarray, "n 3"] | None:
    """Find the shortest path between two components at the highest level that connects them."""
    for drop in LEVEL_DROPS:
        labels, _ = ndimage.label(grid > level - drop)
        common_labels = np.intersect1d(labels[component], labels[connected])
        if len(common_labels):
            return _shortest_path(labels == common_labels[0], component, connected)
    return None


def _shortest_path(
    mask: Bool[np.ndarray, "r r r"], start: Bool[np.ndarray, "r r r"], goal: Bool[np.ndarray, "r r r"]
) -> Int[np.ndarray, "n 3"]:
    """Return the samples of a shortest face-connected path through ``mask``."""
    voxels = np.argwhere(mask)
    voxel_index = np.full(mask.shape, -1, np.int64)
    voxel_index[mask] = np.arange(len(voxels))
    edges = []
    for axis in range(3):
        low = np.moveaxis(voxel_index, axis, 0)[:-1].ravel()
        high = np.moveaxis(voxel_index, axis, 0)[1:].ravel()
        both = (low >= 0) & (high >= 0)
        edges.append(np.stack([low[both], high[both]]))
    i, j = np.concatenate(edges, axis=1)
    graph = coo_matrix((np.ones(len(i)), (i, j)), shape=(len(voxels), len(voxels))).tocsr()
    options = {"directed": False, "min_only": True, "return_predecessors": True, "unweighted": True}
    distance, predecessor, _ = dijkstra(graph, indices=voxel_index[mask & start], **options)
    ends = voxel_index[mask & goal]
    node, path = int(ends[np.argmin(distance[ends])]), []
    while node >= 0:  # the predecessor of the first node is negative
        path.append(node)
        node = int(predecessor[node])
    return voxels[path]
