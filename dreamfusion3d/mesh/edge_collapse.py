"""Edge collapse that preserves the topology.

Quadric error metrics (Garland and Heckbert 1997) with a heap. An edge is collapsed only if the link
condition holds (Dey et al. 1999: its ends share exactly two neighbors), no face flips and none
becomes a needle. fast-simplification checks none of these and is faster; this is the fallback for
noisy surfaces that it tears.
"""

from __future__ import annotations

import heapq
from typing import no_type_check

import numpy as np
from jaxtyping import Bool

from dreamfusion3d.core.numba_cache import njit
from dreamfusion3d.core.types import Mesh

MIDPOINT_WEIGHT = 1e-3  # of the quadric's trace, pulls towards the midpoint: flat regions have no unique optimum
MIN_NORMAL_COSINE = 0.2  # between a face's normals before and after
MIN_TRIANGLE_QUALITY = 0.05  # 4 sqrt(3) area / sum of squared sides: 1 for an equilateral triangle


def collapse_edges(mesh: Mesh, max_faces: int, locked: Bool[np.ndarray, " v"] | None = None) -> Mesh:
    """Reduce a closed manifold to ``max_faces`` faces, or to as few as its topology and ``locked`` vertices allow."""
    vertices = np.ascontiguousarray(mesh.vertices, np.float64).copy()
    faces = np.ascontiguousarray(mesh.faces, np.int64).copy()
    locked = np.zeros(len(vertices), bool) if locked is None else locked
    alive = _collapse_kernel(vertices, faces, int(max_faces), locked)
    used, flat = np.unique(faces[alive], return_inverse=True)
    return Mesh(vertices[used], flat.reshape(-1, 3).astype(np.int64))


@no_type_check
@njit
def _normal(v, w, apex):
    """Normal of the triangle (apex, v, w), twice its area long. Scalars, because arrays are slow here."""
    ax, ay, az = v[0] - apex[0], v[1] - apex[1], v[2] - apex[2]
    bx, by, bz = w[0] - apex[0], w[1] - apex[1], w[2] - apex[2]
    return ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx


@no_type_check
@njit
def _squared_distance(v, w):
    return (v[0] - w[0]) ** 2 + (v[1] - w[1]) ** 2 + (v[2] - w[2]) ** 2


@no_type_check
@njit
def _quadrics(vertices, faces):
    """Area-weighted sum of plane quadrics per vertex: xx xy xz xw yy yz yw zz zw ww."""
    q = np.zeros((vertices.shape[0], 10))
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        x, y, z = _normal(vertices[b], vertices[c], vertices[a])
        length = np.sqrt(x * x + y * y + z * z)
        if length == 0.0:
            continue
        x, y, z = x / length, y / length, z / length
        plane = (x, y, z, -(x * vertices[a, 0] + y * vertices[a, 1] + z * vertices[a, 2]))
        for v in faces[f]:
            entry = 0
            for i in range(4):
                for j in range(i, 4):
                    q[v, entry] += plane[i] * plane[j] * length
                    entry += 1
    return q


@no_type_check
@njit
def _optimal_point(q, middle, out):
    """Write the minimizer of the quadric, regularized towards the midpoint, to ``out``; return its value."""
    e = MIDPOINT_WEIGHT * (q[0] + q[4] + q[7]) + 1e-30
    xx, yy, zz, xy, xz, yz = q[0] + e, q[4] + e, q[7] + e, q[1], q[2], q[5]
    bx, by, bz = e * middle[0] - q[3], e * middle[1] - q[6], e * middle[2] - q[8]
    cx, cy, cz = yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy
    det = xx * cx + xy * cy + xz * cz
    if det > 0.0:  # positive definite thanks to the regularization; inverse by cofactors
        out[0] = (cx * bx + cy * by + cz * bz) / det
        out[1] = (cy * bx + (xx * zz - xz * xz) * by + (xy * xz - xx * yz) * bz) / det
        out[2] = (cz * bx + (xy * xz - xx * yz) * by + (xx * yy - xy * xy) * bz) / det
    else:
        out[0], out[1], out[2] = middle[0], middle[1], middle[2]
    x, y, z = out[0], out[1], out[2]
    value = q[0] * x * x + 2 * q[1] * x * y + 2 * q[2] * x * z + 2 * q[3] * x + q[4] * y * y
    return value + 2 * q[5] * y * z + 2 * q[6] * y + q[7] * z * z + 2 * q[8] * z + q[9]


@no_type_check
@njit
def _count_common_neighbors(a, b, faces, alive, head, next_corner, mark, token):
    """Count the common neighbors of a and b; the link condition requires exactly two."""
    corner = head[a]
    while corner >= 0:
        f = corner // 3
        if alive[f]:
            for k in range(3):
                mark[faces[f, k]] = token
        corner = next_corner[corner]
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
        corner = next_corner[corner]
    return count


@no_type_check
@njit
def _breaks_face(a, b, point, vertices, faces, alive, head, next_corner):
    """Test if moving a to the point would flip or squash one of its remaining faces."""
    corner = head[a]
    while corner >= 0:
        f, k = corner // 3, corner % 3
        corner = next_corner[corner]
        v, w = faces[f, (k + 1) % 3], faces[f, (k + 2) % 3]
        if not alive[f] or v == b or w == b:
            continue
        ox, oy, oz = _normal(vertices[v], vertices[w], vertices[a])
        nx, ny, nz = _normal(vertices[v], vertices[w], point)
        old, new = np.sqrt(ox * ox + oy * oy + oz * oz), np.sqrt(nx * nx + ny * ny + nz * nz)
        if ox * nx + oy * ny + oz * nz <= MIN_NORMAL_COSINE * old * new:
            return True
        side = _squared_distance(vertices[v], vertices[w])
        sides_before = side + _squared_distance(vertices[v], vertices[a]) + _squared_distance(vertices[w], vertices[a])
        sides_after = side + _squared_distance(vertices[v], point) + _squared_distance(vertices[w], point)
        quality = 3.4641 * new / sides_after
        # reject a needle unless the face was a worse one before
        if quality < MIN_TRIANGLE_QUALITY and quality < 3.4641 * old / sides_before:
            return True
    return False


@no_type_check
@njit
def _merge_vertices(a, b, faces, alive, head, next_corner):
    """Remove the faces at both ends, move the other faces of b to a; return the number removed."""
    removed, last, first = 0, -1, -1
    for corner in (head[a], head[b]):
        while corner >= 0:
            f, k = corner // 3, corner % 3
            after = next_corner[corner]
            if alive[f]:
                other, third = faces[f, (k + 1) % 3], faces[f, (k + 2) % 3]
                if faces[f, k] == a and (other == b or third == b):
                    alive[f] = False
                    removed += 1
                else:
                    faces[f, k] = a
                    if last < 0:
                        first = corner
                    else:
                        next_corner[last] = corner
                    last = corner
            corner = after
    if last >= 0:
        next_corner[last] = -1
    head[a], head[b] = first, -1
    return removed


@no_type_check
@njit
def _push_edge(heap, a, b, q, vertices, stamp, point):
    low, high = min(a, b), max(a, b)
    cost = _optimal_point(q[low] + q[high], 0.5 * (vertices[low] + vertices[high]), point)
    heapq.heappush(heap, (max(cost, 0.0), low, high, stamp[low], stamp[high]))


@no_type_check
@njit
def _collapse_kernel(vertices, faces, max_faces, locked):
    count = vertices.shape[0]
    q = _quadrics(vertices, faces)
    alive = np.ones(faces.shape[0], np.bool_)
    head, next_corner = np.full(count, -1, np.int64), np.full(faces.size, -1, np.int64)
    for corner in range(faces.size):  # linked list of the corners of each vertex
        v = faces[corner // 3, corner % 3]
        next_corner[corner] = head[v]
        head[v] = corner
    stamp, mark = np.zeros(count, np.int64), np.full(count, -1, np.int64)
    point, token, faces_left = np.zeros(3), 0, faces.shape[0]
    heap = [(0.0, np.int64(0), np.int64(0), np.int64(-1), np.int64(-1))]
    heap.pop()
    for f in range(faces.shape[0]):
        for k in range(3):
            if faces[f, k] < faces[f, (k + 1) % 3]:  # once per edge: the adjacent face has it in the opposite direction
                _push_edge(heap, faces[f, k], faces[f, (k + 1) % 3], q, vertices, stamp, point)
    while faces_left > max_faces and len(heap) > 0:
        _, a, b, stamp_a, stamp_b = heapq.heappop(heap)
        if stamp[a] != stamp_a or stamp[b] != stamp_b or locked[a] or locked[b]:
            continue
        token += 2
        if _count_common_neighbors(a, b, faces, alive, head, next_corner, mark, token) != 2:
            continue
        _optimal_point(q[a] + q[b], 0.5 * (vertices[a] + vertices[b]), point)
        mesh = vertices, faces, alive, head, next_corner
        if _breaks_face(a, b, point, *mesh) or _breaks_face(b, a, point, *mesh):
            continue
        faces_left -= _merge_vertices(a, b, faces, alive, head, next_corner)
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
                    _push_edge(heap, a, v, q, vertices, stamp, point)
            corner = next_corner[corner]
    return alive
