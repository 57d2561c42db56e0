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
from dreamfusion3d.mesh.quality import quality
from dreamfusion3d.mesh.simplify import VOLUME_DRIFT, simplify

TIME_LIMIT_S = 300.0  # 10,000 quads take 10 to 45 s of one core
TRIES = 4  # each from the number of quads that the one before laid
INPUT_FACES = 60_000  # of the mesh that is read: finer ones make it slower, not better


def check_quads() -> None:
    """MissingExtraError where pyQuadriFlow is not installed."""
    if importlib.util.find_spec("pyQuadriFlow") is None:
        raise MissingExtraError("pyQuadriFlow", "quads", "--quads")


def quad_mesh(mesh: Mesh, faces: int, time_limit_s: float = TIME_LIMIT_S) -> Mesh | str:
    """At most ``faces`` / 2 quads, as pairs of triangles, on the surface of a closed ``mesh``; or in words
    why there are none. What comes back has the topology and the volume of ``mesh``, and no more
    faces that cross."""
    check_quads()
    source = simplify(mesh, INPUT_FACES)
    found = _within_budget(source, max(faces // 2, 8), time_limit_s)
    if isinstance(found, str):
        return found
    vertices, quads = found
    result = Mesh(vertices, _halved(vertices, quads))
    before, after = quality(mesh), quality(result)
    same = (after.euler_number, after.components) == (before.euler_number, before.components)
    if not (same and after.manifold):
        return "QuadriFlow changed the topology"
    if abs(after.volume - before.volume) > VOLUME_DRIFT * abs(before.volume) or after.degenerate_faces:
        return "QuadriFlow folded the surface"
    if len(self_intersections(result)) and not len(self_intersections(source)):
        return "QuadriFlow's faces run through each other, as in thin walls; more --faces may help"
    return result


def is_of_quads(faces: Int[np.ndarray, "f 3"]) -> bool:
    """Whether each two faces in a row are a quad."""
    return len(faces) > 0 and len(faces) % 2 == 0 and bool(paired(faces[0::2], faces[1::2]).all())


def paired(one: np.ndarray, two: np.ndarray) -> Bool[np.ndarray, " n"]:
    """Whether triangles (a, b, c) of ``one`` and (a, c, d) of ``two`` (n, 3) have their diagonal in common;
    corners are of any type that can be compared."""
    return (one[:, 0] == two[:, 0]) & (one[:, 2] == two[:, 1])


def _halved(vertices: Float[np.ndarray, "v 3"], quads: Int[np.ndarray, "q 4"]) -> Int[np.ndarray, "f 3"]:
    """Each quad cut along its shorter diagonal."""
    a, b, c, d = (vertices[quads[:, k]] for k in range(4))
    turn = np.linalg.norm(c - a, axis=1) > np.linalg.norm(d - b, axis=1)
    turned = np.where(turn[:, None], np.roll(quads, -1, axis=1), quads)
    return turned[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3).astype(np.int64)


def _within_budget(
    mesh: Mesh, quads: int, time_limit_s: float
) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "q 4"]] | str:
    """QuadriFlow takes the number for a hint, and is asked again for fewer when it lays more."""
    asked, ends = quads, time.monotonic() + time_limit_s
    for _ in range(TRIES):
        found = _by_quadriflow(mesh, asked, max(ends - time.monotonic(), 1.0))
        if isinstance(found, str) or len(found[1]) <= quads:
            return found
        asked = max(int(0.98 * asked * quads / len(found[1])), 8)
    return f"QuadriFlow lays more than {quads} quads"


def _by_quadriflow(
    mesh: Mesh, quads: int, time_limit_s: float
) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "q 4"]] | str:
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(p for p in (root, os.environ.get("PYTHONPATH", "")) if p)
    with tempfile.TemporaryDirectory(prefix="dreamfusion3d-quads-") as folder:
        source, target = Path(folder, "in.npz"), Path(folder, "out.npz")
        np.savez(source, vertices=mesh.vertices, faces=mesh.faces, quads=quads)
        command = [sys.executable, "-m", "dreamfusion3d.mesh.quads_worker", str(source), str(target)]
        try:
            subprocess.run(
                command, timeout=time_limit_s, check=True, capture_output=True, text=True,
                env={**os.environ, "PYTHONPATH": path},
            )
            with np.load(target, allow_pickle=False) as result:
                return result["vertices"], result["quads"]
        except subprocess.TimeoutExpired:
            return f"QuadriFlow did not finish within {time_limit_s:g} s"
        except subprocess.CalledProcessError as error:
            return f"QuadriFlow failed with exit code {error.returncode}"
        except (OSError, ValueError, KeyError):
            return "QuadriFlow gave no mesh"
