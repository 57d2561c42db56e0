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

from dreamfusion3d.mesh.space_carving import within

LEAST = 0.02  # of the largest body's samples: what is smaller is a floater
DROPS = np.arange(0.25, 2.01, 0.25)  # below the level, in logarithms of the density
THICK = 0.02  # scene units, half the width of a bridge
FILLED = 0.5  # above the level


def joined(
    grid: Float[np.ndarray, "r r r"], level: float, bound: float = 1.0
) -> Float[np.ndarray, "r r r"]:
    """The grid (log density) with a bridge from each large body of {grid > level} to the largest one,
    where some level at most DROPS lower holds them together. Others are left as they are."""
    labels, count = ndimage.label(grid > level)
    if count < 2:
        return grid
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    order = [int(i) for i in np.argsort(-sizes, kind="stable") if sizes[i] >= LEAST * sizes.max()]
    held = labels == order[0]
    result = grid
    radius = max(THICK * (grid.shape[0] - 1) / (2 * bound), 1.5)
    for body in order[1:]:
        way = _way(grid, level, labels == body, held)
        if way is None:
            continue
        held = held | (labels == body)
        bridge = np.zeros(grid.shape, bool)
        bridge[tuple(way.T)] = True
        result = np.where(within(bridge, radius), np.maximum(result, np.float32(level + FILLED)), result)
    return result


def _way(
    grid: Float[np.ndarray, "r r r"], level: float, body: Bool[np.ndarray, "r r r"],
    held: Bool[np.ndarray, "r r r"],
) -> Int[np.ndarray, "n 3"] | None:
    """The shortest way from a body to what is held, at the highest level that joins them."""
    for drop in DROPS:
        labels, _ = ndimage.label(grid > level - drop)
        shared = np.intersect1d(labels[body], labels[held])
        if len(shared):
            return _shortest(labels == shared[0], body, held)
    return None


def _shortest(
    room: Bool[np.ndarray, "r r r"], start: Bool[np.ndarray, "r r r"], goal: Bool[np.ndarray, "r r r"]
) -> Int[np.ndarray, "n 3"]:
    """Samples of a shortest way through ``room``, from face to face."""
    places = np.argwhere(room)
    number = np.full(room.shape, -1, np.int64)
    number[room] = np.arange(len(places))
    one, two = [], []
    for axis in range(3):
        low = np.moveaxis(number, axis, 0)[:-1].ravel()
        high = np.moveaxis(number, axis, 0)[1:].ravel()
        both = (low >= 0) & (high >= 0)
        one.append(low[both])
        two.append(high[both])
    i, j = np.concatenate(one), np.concatenate(two)
    graph = coo_matrix((np.ones(len(i)), (i, j)), shape=(len(places), len(places))).tocsr()
    far, before, _ = dijkstra(
        graph, directed=False, indices=number[room & start], min_only=True, return_predecessors=True,
        unweighted=True,
    )
    ends = number[room & goal]
    at, way = int(ends[np.argmin(far[ends])]), []
    while at >= 0:  # the first one has no predecessor: a negative number
        way.append(at)
        at = int(before[at])
    return places[way]
