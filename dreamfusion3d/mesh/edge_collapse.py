"""Edge collapse that cannot change the topology.

Quadric error metrics (Garland and Heckbert 1997) over a heap, where an edge is collapsed only
if the link condition holds (Dey et al. 1999: its ends share exactly two neighbours), no face
turns over and none becomes a needle. Slower than fast-simplification, which checks none of
these: it is for the noisy surfaces which that one tears.
"""

from __future__ import annotations

import heapq
from typing import no_type_check

import numpy as np

from dreamfusion3d.core.numba_cache import njit
from dreamfusion3d.core.types import Mesh

PULL = 1e-3  # of the quadric's trace, towards the edge's middle: flat regions have no best point
MAX_TURN = 0.2  # cosine between a face's normals before and after
MIN_SHAPE = 0.05  # 4 sqrt(3) area / sum of squared sides: 1 for an equilateral triangle


def collapse(mesh: Mesh, target: int) -> Mesh:
    """At most ``target`` faces, or as few as the topology allows. Needs a closed manifold."""
    vertices = np.ascontiguousarray(mesh.vertices, np.float64).copy()
    faces = np.ascontiguousarray(mesh.faces, np.int64).copy()
    alive = _collapse(vertices, faces, int(target), PULL, MAX_TURN, MIN_SHAPE)
    used, flat = np.unique(faces[alive], return_inverse=True)
    return Mesh(vertices[used], flat.reshape(-1, 3).astype(np.int64))


@no_type_check
@njit
def _normal(v, w, apex):
    """Normal, twice the area long, of the triangle (apex, v, w); in scalars: arrays are slow here."""
    ax, ay, az = v[0] - apex[0], v[1] - apex[1], v[2] - apex[2]
    bx, by, bz = w[0] - apex[0], w[1] - apex[1], w[2] - apex[2]
    return ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx


@no_type_check
@njit
def _squared(v, w):
    return (v[0] - w[0]) ** 2 + (v[1] - w[1]) ** 2 + (v[2] - w[2]) ** 2


@no_type_check
@njit
def _quadrics(vertices, faces):
    """Area-weighted sums of plane quadrics: xx xy xz xw yy yz yw zz zw ww for each vertex."""
    q = np.zeros((vertices.shape[0], 10))
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        x, y, z = _normal(vertices[b], vertices[c], vertices[a])
        length = np.sqrt(x * x + y * y + z * z)
        if length == 0.0:
            continue
        x, y, z = x / length, y / length, z / length
        w = -(x * vertices[a, 0] + y * vertices[a, 1] + z * vertices[a, 2])
        for k in range(3):
            v = faces[f, k]
            q[v, 0] += x * x * length
            q[v, 1] += x * y * length
            q[v, 2] += x * z * length
            q[v, 3] += x * w * length
            q[v, 4] += y * y * length
            q[v, 5] += y * z * length
            q[v, 6] += y * w * length
            q[v, 7] += z * z * length
            q[v, 8] += z * w * length
            q[v, 9] += w * w * length
    return q


@no_type_check
@njit
def _best_point(q, middle, pull, out):
    """Where the quadric is least, near the middle; returns its value there."""
    e = pull * (q[0] + q[4] + q[7]) + 1e-30
    xx, yy, zz, xy, xz, yz = q[0] + e, q[4] + e, q[7] + e, q[1], q[2], q[5]
    bx, by, bz = e * middle[0] - q[3], e * middle[1] - q[6], e * middle[2] - q[8]
    cx, cy, cz = yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy
    det = xx * cx + xy * cy + xz * cz
    if det > 0.0:  # positive definite by the pull; the inverse by cofactors
        out[0] = (cx * bx + cy * by + cz * bz) / det
        out[1] = (cy * bx + (xx * zz - xz * xz) * by + (xy * xz - xx * yz) * bz) / det
        out[2] = (cz * bx + (xy * xz - xx * yz) * by + (xx * yy - xy * xy) * bz) / det
    else:
        out[0], out[1], out[2] = middle[0], middle[1], middle[2]
    x, y, z = out[0], out[1], out[2]
    return (
        q[0] * x * x + 2 * q[1] * x * y + 2 * q[2] * x * z + 2 * q[3] * x + q[4] * y * y
        + 2 * q[5] * y * z + 2 * q[6] * y + q[7] * z * z + 2 * q[8] * z + q[9]
    )


@no_type_check
@njit
def _shared(a, b, faces, alive, head, follow, mark, token):
    """Neighbours that a and b share; an edge may go only if there are exactly two."""
    corner = head[a]
    while corner >= 0:
        f = corner // 3
        if alive[f]:
            for k in range(3):
                mark[faces[f, k]] = token
        corner = follow[corner]
    mark[a] = mark[b] = token + 1
    count = 0
    corner = head[b]
    while corner >= 0:
        f = corner // 3
        if alive[f]:
            for k in range(3):
                v = faces[f, k]
                if mark[v] == token:
                    mark[v] = token + 1
                    count += 1
        corner = follow[corner]
    return count


@no_type_check
@njit
def _spoils(a, b, point, vertices, faces, alive, head, follow, max_turn, min_shape):
    """Whether moving a to the point would turn over or squash a face of a that survives."""
    corner = head[a]
    while corner >= 0:
        f, k = corner // 3, corner % 3
        corner = follow[corner]
        v, w = faces[f, (k + 1) % 3], faces[f, (k + 2) % 3]
        if not alive[f] or v == b or w == b:
            continue
        ox, oy, oz = _normal(vertices[v], vertices[w], vertices[a])
        nx, ny, nz = _normal(vertices[v], vertices[w], point)
        old, new = np.sqrt(ox * ox + oy * oy + oz * oz), np.sqrt(nx * nx + ny * ny + nz * nz)
        if ox * nx + oy * ny + oz * nz <= max_turn * old * new:
            return True
        side = _squared(vertices[v], vertices[w])
        shape = 3.4641 * new / (side + _squared(vertices[v], point) + _squared(vertices[w], point))
        before = 3.4641 * old / (
            side + _squared(vertices[v], vertices[a]) + _squared(vertices[w], vertices[a])
        )
        # a needle is refused, unless it was a worse one before
        if shape < min_shape and shape < before:
            return True
    return False


@no_type_check
@njit
def _merge(a, b, faces, alive, head, follow):
    """Faces of both ends go, b's others become a's; returns how many went."""
    gone = 0
    last = -1
    first = -1
    for corner in (head[a], head[b]):
        while corner >= 0:
            f, k = corner // 3, corner % 3
            after = follow[corner]
            if alive[f]:
                other, third = faces[f, (k + 1) % 3], faces[f, (k + 2) % 3]
                if faces[f, k] == a and (other == b or third == b):
                    alive[f] = False
                    gone += 1
                else:
                    faces[f, k] = a
                    if last < 0:
                        first = corner
                    else:
                        follow[last] = corner
                    last = corner
            corner = after
    if last >= 0:
        follow[last] = -1
    head[a], head[b] = first, -1
    return gone


@no_type_check
@njit
def _push(heap, a, b, q, vertices, stamp, pull, point):
    low, high = min(a, b), max(a, b)
    cost = _best_point(q[low] + q[high], 0.5 * (vertices[low] + vertices[high]), pull, point)
    heapq.heappush(heap, (max(cost, 0.0), low, high, stamp[low], stamp[high]))


@no_type_check
@njit
def _collapse(vertices, faces, target, pull, max_turn, min_shape):
    count = vertices.shape[0]
    q = _quadrics(vertices, faces)
    alive = np.ones(faces.shape[0], np.bool_)
    head, follow = np.full(count, -1, np.int64), np.full(faces.size, -1, np.int64)
    for corner in range(faces.size):  # each vertex' corners as a linked list
        v = faces[corner // 3, corner % 3]
        follow[corner] = head[v]
        head[v] = corner
    stamp, mark = np.zeros(count, np.int64), np.full(count, -1, np.int64)
    point, token, left = np.zeros(3), 0, faces.shape[0]
    heap = [(0.0, np.int64(0), np.int64(0), np.int64(-1), np.int64(-1))]
    heap.pop()
    for f in range(faces.shape[0]):
        for k in range(3):
            if faces[f, k] < faces[f, (k + 1) % 3]:  # once an edge: its other face runs the other way
                _push(heap, faces[f, k], faces[f, (k + 1) % 3], q, vertices, stamp, pull, point)
    while left > target and len(heap) > 0:
        _, a, b, stamp_a, stamp_b = heapq.heappop(heap)
        if stamp[a] != stamp_a or stamp[b] != stamp_b:
            continue
        token += 2
        if _shared(a, b, faces, alive, head, follow, mark, token) != 2:
            continue
        _best_point(q[a] + q[b], 0.5 * (vertices[a] + vertices[b]), pull, point)
        if _spoils(a, b, point, vertices, faces, alive, head, follow, max_turn, min_shape) or _spoils(
            b, a, point, vertices, faces, alive, head, follow, max_turn, min_shape
        ):
            continue
        left -= _merge(a, b, faces, alive, head, follow)
        vertices[a] = point
        q[a] += q[b]
        stamp[a] += 1
        stamp[b] = -1
        token += 2
        corner = head[a]
        while corner >= 0:
            for k in range(3):
                v = faces[corner // 3, k]
                if v != a and mark[v] != token:
                    mark[v] = token
                    _push(heap, a, v, q, vertices, stamp, pull, point)
            corner = follow[corner]
    return alive
