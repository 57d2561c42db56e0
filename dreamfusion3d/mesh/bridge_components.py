"""Parts that only thin fog holds together stay together.

One level for all of a shape cuts the mast that carries a sail: the mast is thin, so its density is
low, and the sail would go as a floater. Where the field does join two bodies, at a lower density, the
mesh does so too, by as thin a bridge.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra

from dreamfusion3d.mesh.space_carving import dilate_ball

MIN_COMPONENT_FRACTION = 0.02  # of the largest body's samples: what is smaller is a floater
LEVEL_DROPS = np.arange(0.25, 2.01, 0.25)  # below the level, in logarithms of the density
BRIDGE_RADIUS = 0.02  # scene units, half the width of a bridge
BRIDGE_LEVEL_OFFSET = 0.5  # above the level


def bridge_components(grid: Float[np.ndarray, "r r r"], level: float, bound: float = 1.0) -> Float[np.ndarray, "r r r"]:
    """The grid (log density) with a bridge from each large body of {grid > level} to the largest one,
    where some level at most DROPS lower holds them together. Others are left as they are."""
    labels, count = ndimage.label(grid > level)
    if count < 2:
        return grid
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    order = [int(i) for i in np.argsort(-sizes, kind="stable") if sizes[i] >= MIN_COMPONENT_FRACTION * sizes.max()]
    connected = labels == order[0]
    result = grid
    radius = max(BRIDGE_RADIUS * (grid.shape[0] - 1) / (2 * bound), 1.5)
    for component in order[1:]:
        path = _find_path(grid, level, labels == component, connected)
        if path is None:
            continue
        connected = connected | (labels == component)
        bridge = np.zeros(grid.shape, bool)
        bridge[tuple(path.T)] = True
        result = np.where(
            dilate_ball(bridge, radius), np.maximum(result, np.float32(level + BRIDGE_LEVEL_OFFSET)), result
        )
    return result


def _find_path(
    grid: Float[np.ndarray, "r r r"],
    level: float,
    component: Bool[np.ndarray, "r r r"],
    connected: Bool[np.ndarray, "r r r"],
) -> Int[np.ndarray, "n 3"] | None:
    """The shortest way from a body to what is held, at the highest level that joins them."""
    for drop in LEVEL_DROPS:
        labels, _ = ndimage.label(grid > level - drop)
        common_labels = np.intersect1d(labels[component], labels[connected])
        if len(common_labels):
            return _shortest_path(labels == common_labels[0], component, connected)
    return None


def _shortest_path(
    mask: Bool[np.ndarray, "r r r"], start: Bool[np.ndarray, "r r r"], goal: Bool[np.ndarray, "r r r"]
) -> Int[np.ndarray, "n 3"]:
    """Samples of a shortest way through ``room``, from face to face."""
    voxels = np.argwhere(mask)
    voxel_index = np.full(mask.shape, -1, np.int64)
    voxel_index[mask] = np.arange(len(voxels))
    edges_from, edges_to = [], []
    for axis in range(3):
        low = np.moveaxis(voxel_index, axis, 0)[:-1].ravel()
        high = np.moveaxis(voxel_index, axis, 0)[1:].ravel()
        both = (low >= 0) & (high >= 0)
        edges_from.append(low[both])
        edges_to.append(high[both])
    i, j = np.concatenate(edges_from), np.concatenate(edges_to)
    graph = coo_matrix((np.ones(len(i)), (i, j)), shape=(len(voxels), len(voxels))).tocsr()
    distance, predecessor, _ = dijkstra(
        graph,
        directed=False,
        indices=voxel_index[mask & start],
        min_only=True,
        return_predecessors=True,
        unweighted=True,
    )
    ends = voxel_index[mask & goal]
    node, path = int(ends[np.argmin(distance[ends])]), []
    while node >= 0:  # the first one has no predecessor: a negative number
        path.append(node)
        node = int(predecessor[node])
    return voxels[path]
