"""Convex collision bodies for physics engines."""

from __future__ import annotations

import importlib.util

import numpy as np
from jaxtyping import Float
from scipy.spatial import ConvexHull

from dreamfusion3d.core.errors import MissingExtraError
from dreamfusion3d.core.types import Mesh
from dreamfusion3d.mesh.simplify import clean_faces

HULL_DIRECTIONS = 64  # bounds the vertices of a hull, and half its faces: Unity accepts at most 255
CONCAVITY = 0.05  # CoACD's concavity threshold
MAX_PARTS = 16
SEED = 0


def convex_hull(mesh: Mesh) -> Mesh:
    """Approximate the convex hull by the extreme vertices along `HULL_DIRECTIONS` uniform directions.

    The result is convex, closed, inside the true hull, and has at most 2 `HULL_DIRECTIONS` faces.
    """
    points = mesh.vertices.astype(np.float64)
    corners = np.unique(np.argmax(points @ _fibonacci_directions(HULL_DIRECTIONS).T, axis=0))
    if len(corners) < 4:
        corners = np.arange(len(points))
    hull = ConvexHull(points[corners])
    faces = hull.simplices.astype(np.int64)
    a, b, c = (points[corners][faces[:, k]] for k in range(3))
    inwards = (np.cross(b - a, c - a) * hull.equations[:, :3]).sum(1) < 0
    faces[inwards] = faces[inwards][:, ::-1]
    return clean_faces(Mesh(points[corners], faces))


def require_coacd() -> None:
    """Raise MissingExtraError if CoACD is not installed."""
    if importlib.util.find_spec("coacd") is None:
        raise MissingExtraError("coacd", "collision", "--collision parts")


def convex_decomposition(mesh: Mesh) -> list[Mesh]:
    """Decompose a mesh into convex hulls, so that a cup keeps its cavity and a handle its hole.

    Uses CoACD (Wei et al., "Approximate Convex Decomposition for 3D Meshes with Collision-Aware
    Concavity and Tree Search", 2022). Raises MissingExtraError if it is not installed.
    """
    require_coacd()
    import coacd

    coacd.set_log_level("error")
    source = coacd.Mesh(mesh.vertices, mesh.faces)
    parts = coacd.run_coacd(source, threshold=CONCAVITY, max_convex_hull=MAX_PARTS, seed=SEED)
    return [convex_hull(Mesh(np.asarray(v, np.float64), np.asarray(f, np.int64))) for v, f in parts]


def _fibonacci_directions(count: int) -> Float[np.ndarray, "n 3"]:
    """Return both directions of each axis, then a Fibonacci spiral over the sphere."""
    axes = np.concatenate([np.eye(3), -np.eye(3)])
    step = np.arange(count - len(axes)) + 0.5
    y, angle = 1 - 2 * step / len(step), step * np.pi * (3 - np.sqrt(5.0))
    radius = np.sqrt(1 - y * y)
    return np.concatenate([axes, np.stack([radius * np.cos(angle), y, radius * np.sin(angle)], axis=1)])
