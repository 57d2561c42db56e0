"""A UV atlas: xatlas under a time limit, or plain projections when it does not come back."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from dreamfusion3d.core.types import Mesh
from dreamfusion3d.mesh.project_charts import project_charts
from dreamfusion3d.mesh.rasterize import overlap_counts

TIME_LIMIT_S = 120.0  # 20k faces take 2 s; a hang is for ever
OVERLAP_ALLOWED = 1e-3  # of the covered texels


class Unwrap(NamedTuple):
    """``vmapping[i]`` is the mesh vertex that atlas vertex ``i`` came from; faces keep their order."""

    vmapping: Int[np.ndarray, " n"]
    faces: Int[np.ndarray, "f 3"]
    uv: Float[np.ndarray, "n 2"]  # [0, 1], origin at the bottom left of a square texture
    method: Literal["xatlas", "projection"]
    reason: str  # why xatlas was not used; empty when it was


def unwrap(
    mesh: Mesh, texture_size: int = 1024, padding: int = 4, time_limit_s: float = TIME_LIMIT_S
) -> Unwrap:
    """Charts without overlap on a square texture, about ``padding`` texels apart."""
    found = _by_xatlas(mesh, texture_size, padding, time_limit_s)
    if isinstance(found, Unwrap):
        problem = _problem(mesh, found, texture_size)
        if problem is None:
            return found
    else:
        problem = found
    vmapping, faces, uv = project_charts(mesh, texture_size, padding)
    return Unwrap(vmapping, faces, uv, "projection", problem)


def _by_xatlas(mesh: Mesh, texture_size: int, padding: int, time_limit_s: float) -> Unwrap | str:
    """The atlas, or in words why there is none."""
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(p for p in (root, os.environ.get("PYTHONPATH", "")) if p)
    with tempfile.TemporaryDirectory(prefix="dreamfusion3d-unwrap-") as folder:
        source, target = Path(folder, "in.npz"), Path(folder, "out.npz")
        np.savez(source, vertices=mesh.vertices, faces=mesh.faces, size=texture_size, padding=padding)
        command = [sys.executable, "-m", "dreamfusion3d.mesh.xatlas_worker", str(source), str(target)]
        try:
            subprocess.run(
                command, timeout=time_limit_s, check=True, capture_output=True, text=True,
                env={**os.environ, "PYTHONPATH": path},
            )
        except subprocess.TimeoutExpired:
            return f"xatlas did not finish within {time_limit_s:g} s"
        except subprocess.CalledProcessError as error:
            last = (error.stderr or "").strip().splitlines()[-1:]
            return f"xatlas failed with exit code {error.returncode}" + "".join(f": {line}" for line in last)
        with np.load(target, allow_pickle=False) as result:
            vmapping, faces = result["vmapping"], result["faces"]
            # one divisor for both axes: texels stay square, the atlas fills its longer side
            uv = (result["texels"] / float(result["side"])).astype(np.float32)
    return Unwrap(vmapping, faces, uv, "xatlas", "")


def _problem(mesh: Mesh, found: Unwrap, texture_size: int) -> str | None:
    """What is wrong with an atlas, or None."""
    if found.faces.shape != mesh.faces.shape or not np.array_equal(found.vmapping[found.faces], mesh.faces):
        return "xatlas changed the faces"
    if not np.isfinite(found.uv).all() or found.uv.min() < 0 or found.uv.max() > 1:
        return "xatlas left the unit square"
    counts = overlap_counts(found.uv, found.faces, texture_size)
    if int((counts > 1).sum()) > OVERLAP_ALLOWED * int((counts > 0).sum()):
        return "xatlas' charts overlap"
    return None
