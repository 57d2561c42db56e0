"""Quads in place of triangles, for modellers: QuadriFlow, in a process of its own.

Huang et al., "QuadriFlow: A Scalable and Robust Method for Quadrangulation", SGP 2018, by the package
pyQuadriFlow. Everything after it works on triangles, so a mesh of quads is one of triangles of which
each two in a row, (a, b, c) and (a, c, d), are a quad.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from dreamfusion3d.core.errors import MissingExtraError
from dreamfusion3d.core.types import Mesh
from dreamfusion3d.mesh.intersections import self_intersections
from dreamfusion3d.mesh.quality import mesh_quality
from dreamfusion3d.mesh.simplify import VOLUME_DRIFT, simplify

QUADRIFLOW_TIMEOUT_S = 300.0  # 10,000 quads take 10 to 45 s of one core
MAX_ATTEMPTS = 4  # each from the number of quads that the one before laid
MAX_SOURCE_FACES = 60_000  # of the mesh that is read: finer ones make it slower, not better


def require_quadriflow() -> None:
    """MissingExtraError where pyQuadriFlow is not installed."""
    if importlib.util.find_spec("pyQuadriFlow") is None:
        raise MissingExtraError("pyQuadriFlow", "quads", "--quads")


def remesh_to_quads(mesh: Mesh, max_faces: int, timeout_s: float = QUADRIFLOW_TIMEOUT_S) -> Mesh | str:
    """At most ``faces`` / 2 quads, as pairs of triangles, on the surface of a closed ``mesh``; or in words
    why there are none. What comes back has the topology and the volume of ``mesh``, and no more
    faces that cross."""
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
        return "QuadriFlow's faces run through each other, as in thin walls; more --faces may help"
    return result


def is_quad_mesh(faces: Int[np.ndarray, "f 3"]) -> bool:
    """Whether each two faces in a row are a quad."""
    return len(faces) > 0 and len(faces) % 2 == 0 and bool(are_quad_halves(faces[0::2], faces[1::2]).all())


def are_quad_halves(first: np.ndarray, second: np.ndarray) -> Bool[np.ndarray, " n"]:
    """Whether triangles (a, b, c) of ``one`` and (a, c, d) of ``two`` (n, 3) have their diagonal in common;
    corners are of any type that can be compared."""
    return (first[:, 0] == second[:, 0]) & (first[:, 2] == second[:, 1])


def _split_quads(vertices: Float[np.ndarray, "v 3"], quads: Int[np.ndarray, "q 4"]) -> Int[np.ndarray, "f 3"]:
    """Each quad cut along its shorter diagonal."""
    a, b, c, d = (vertices[quads[:, k]] for k in range(4))
    flip = np.linalg.norm(c - a, axis=1) > np.linalg.norm(d - b, axis=1)
    flipped = np.where(flip[:, None], np.roll(quads, -1, axis=1), quads)
    return flipped[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3).astype(np.int64)


def _remesh_within_budget(
    mesh: Mesh, max_quads: int, timeout_s: float
) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "q 4"]] | str:
    """QuadriFlow takes the number for a hint, and is asked again for fewer when it lays more."""
    target, deadline = max_quads, time.monotonic() + timeout_s
    for _ in range(MAX_ATTEMPTS):
        found = _run_quadriflow(mesh, target, max(deadline - time.monotonic(), 1.0))
        if isinstance(found, str) or len(found[1]) <= max_quads:
            return found
        target = max(int(0.98 * target * max_quads / len(found[1])), 8)
    return f"QuadriFlow lays more than {max_quads} quads"


def _run_quadriflow(
    mesh: Mesh, quads: int, timeout_s: float
) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "q 4"]] | str:
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(p for p in (root, os.environ.get("PYTHONPATH", "")) if p)
    with tempfile.TemporaryDirectory(prefix="dreamfusion3d-quads-") as folder:
        source, target = Path(folder, "in.npz"), Path(folder, "out.npz")
        np.savez(source, vertices=mesh.vertices, faces=mesh.faces, quads=quads)
        command = [sys.executable, "-m", "dreamfusion3d.mesh.quads_worker", str(source), str(target)]
        try:
            subprocess.run(
                command,
                timeout=timeout_s,
                check=True,
                capture_output=True,
                text=True,
                env={**os.environ, "PYTHONPATH": path},
            )
            with np.load(target, allow_pickle=False) as result:
                return result["vertices"], result["quads"]
        except subprocess.TimeoutExpired:
            return f"QuadriFlow did not finish within {timeout_s:g} s"
        except subprocess.CalledProcessError as error:
            return f"QuadriFlow failed with exit code {error.returncode}"
        except (OSError, ValueError, KeyError):
            return "QuadriFlow gave no mesh"
