"""Remesh triangles to quads with QuadriFlow, run in a subprocess.

Huang et al., "QuadriFlow: A Scalable and Robust Method for Quadrangulation", SGP 2018, through the
package pyQuadriFlow. Later stages work on triangles, so each quad is stored as two consecutive
triangles (a, b, c) and (a, c, d).
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int

from dreamfusion3d.core.errors import MissingExtraError
from dreamfusion3d.core.types import Mesh
from dreamfusion3d.mesh.intersections import self_intersections
from dreamfusion3d.mesh.native_worker import run_native_worker
from dreamfusion3d.mesh.quality import mesh_quality
from dreamfusion3d.mesh.simplify import VOLUME_DRIFT, simplify

QUADRIFLOW_TIMEOUT_S = 300.0  # 10,000 quads take 10 to 45 s of one core
MAX_ATTEMPTS = 4  # each corrects the target by the result of the previous one
MAX_SOURCE_FACES = 60_000  # of the input mesh: more make QuadriFlow slower, not better

Quads = tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "q 4"]]  # vertices and corners


def require_quadriflow() -> None:
    """Raise MissingExtraError if pyQuadriFlow is not installed."""
    if importlib.util.find_spec("pyQuadriFlow") is None:
        raise MissingExtraError("pyQuadriFlow", "quads", "--quads")


def remesh_to_quads(mesh: Mesh, max_faces: int, timeout_s: float = QUADRIFLOW_TIMEOUT_S) -> Mesh | str:
    """Remesh a closed surface to at most ``max_faces`` / 2 quads, stored as pairs of triangles.

    Returns:
        A mesh with the topology and volume of ``mesh`` and without new self-intersections, or a
        message that says why there is none.
    """
    require_quadriflow()
    source = simplify(mesh, MAX_SOURCE_FACES)
    found = _remesh_within_budget(source, max(max_faces // 2, 8), timeout_s)
    if isinstance(found, str):
        return found
    vertices, quads = found
    result = Mesh(vertices, _split_quads(vertices, quads))
    before, after = mesh_quality(mesh), mesh_quality(result)
    same = (after.euler_number, after.components) == (before.euler_number, before.components)
    if not (same and after.manifold):
        return "QuadriFlow changed the topology"
    if abs(after.volume - before.volume) > VOLUME_DRIFT * abs(before.volume) or after.degenerate_faces:
        return "QuadriFlow folded the surface"
    if len(self_intersections(result)) and not len(self_intersections(source)):
        return "QuadriFlow made faces that intersect, as happens at thin walls; try more --faces"
    return result


def is_quad_mesh(faces: Int[np.ndarray, "f 3"]) -> bool:
    """Return True if every two consecutive faces form a quad."""
    return len(faces) > 0 and len(faces) % 2 == 0 and bool(are_quad_halves(faces[0::2], faces[1::2]).all())


def are_quad_halves(first: np.ndarray, second: np.ndarray) -> Bool[np.ndarray, " n"]:
    """Test if triangles (a, b, c) of ``first`` and (a, c, d) of ``second``, both (n, 3), share a diagonal.

    Corners can be of any comparable type.
    """
    return (first[:, 0] == second[:, 0]) & (first[:, 2] == second[:, 1])


def _split_quads(vertices: Float[np.ndarray, "v 3"], quads: Int[np.ndarray, "q 4"]) -> Int[np.ndarray, "f 3"]:
    """Split each quad along its shorter diagonal."""
    a, b, c, d = (vertices[quads[:, k]] for k in range(4))
    flip = np.linalg.norm(c - a, axis=1) > np.linalg.norm(d - b, axis=1)
    flipped = np.where(flip[:, None], np.roll(quads, -1, axis=1), quads)
    return flipped[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3).astype(np.int64)


def _run_quadriflow(mesh: Mesh, target: int, timeout_s: float) -> Quads | str:
    inputs = {"vertices": mesh.vertices, "faces": mesh.faces, "quads": target}
    result = run_native_worker("dreamfusion3d.mesh.quads_worker", "QuadriFlow", timeout_s, **inputs)
    return result if isinstance(result, str) else (result["vertices"], result["quads"])


def _remesh_within_budget(
    mesh: Mesh, max_quads: int, timeout_s: float, remesh: Callable[[Mesh, int, float], Quads | str] = _run_quadriflow
) -> Quads | str:
    """Repeat with a lower target while there are too many quads: QuadriFlow treats the target as a hint."""
    target, deadline = max_quads, time.monotonic() + timeout_s
    for _ in range(MAX_ATTEMPTS):
        found = remesh(mesh, target, max(deadline - time.monotonic(), 1.0))
        if isinstance(found, str) or len(found[1]) <= max_quads:
            return found
        target = max(int(0.98 * target * max_quads / len(found[1])), 8)
    return f"QuadriFlow made more than {max_quads} quads"
