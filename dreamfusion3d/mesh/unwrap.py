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
from dreamfusion3d.mesh.rasterize import uv_overlap_counts

XATLAS_TIMEOUT_S = 120.0  # 20k faces take 2 s; a hang is for ever
MAX_UV_OVERLAP = 1e-3  # of the covered texels


class UVAtlas(NamedTuple):
    """``vmapping[i]`` is the mesh vertex that atlas vertex ``i`` came from; faces keep their order."""

    vmapping: Int[np.ndarray, " n"]
    faces: Int[np.ndarray, "f 3"]
    uv: Float[np.ndarray, "n 2"]  # [0, 1], origin at the bottom left of a square texture
    method: Literal["xatlas", "projection"]
    reason: str  # why xatlas was not used; empty when it was


def unwrap(mesh: Mesh, texture_size: int = 1024, padding: int = 4, timeout_s: float = XATLAS_TIMEOUT_S) -> UVAtlas:
    """Charts without overlap on a square texture, about ``padding`` texels apart."""
    atlas = _run_xatlas(mesh, texture_size, padding, timeout_s)
    if isinstance(atlas, UVAtlas):
        problem = _atlas_problem(mesh, atlas, texture_size)
        if problem is None:
            return atlas
    else:
        problem = atlas
    vmapping, faces, uv = project_charts(mesh, texture_size, padding)
    return UVAtlas(vmapping, faces, uv, "projection", problem)


def _run_xatlas(mesh: Mesh, texture_size: int, padding: int, timeout_s: float) -> UVAtlas | str:
    """The atlas, or in words why there is none."""
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(p for p in (root, os.environ.get("PYTHONPATH", "")) if p)
    with tempfile.TemporaryDirectory(prefix="dreamfusion3d-unwrap-") as folder:
        source, target = Path(folder, "in.npz"), Path(folder, "out.npz")
        np.savez(source, vertices=mesh.vertices, faces=mesh.faces, size=texture_size, padding=padding)
        command = [sys.executable, "-m", "dreamfusion3d.mesh.xatlas_worker", str(source), str(target)]
        try:
            subprocess.run(
                command,
                timeout=timeout_s,
                check=True,
                capture_output=True,
                text=True,
                env={**os.environ, "PYTHONPATH": path},
            )
        except subprocess.TimeoutExpired:
            return f"xatlas did not finish within {timeout_s:g} s"
        except subprocess.CalledProcessError as error:
            last = (error.stderr or "").strip().splitlines()[-1:]
            return f"xatlas failed with exit code {error.returncode}" + "".join(f": {line}" for line in last)
        with np.load(target, allow_pickle=False) as result:
            vmapping, faces = result["vmapping"], result["faces"]
            # one divisor for both axes: texels stay square, the atlas fills its longer side
            uv = (result["texels"] / float(result["side"])).astype(np.float32)
    return UVAtlas(vmapping, faces, uv, "xatlas", "")


def _atlas_problem(mesh: Mesh, atlas: UVAtlas, texture_size: int) -> str | None:
    """What is wrong with an atlas, or None."""
    if atlas.faces.shape != mesh.faces.shape or not np.array_equal(atlas.vmapping[atlas.faces], mesh.faces):
        return "xatlas changed the faces"
    if not np.isfinite(atlas.uv).all() or atlas.uv.min() < 0 or atlas.uv.max() > 1:
        return "xatlas left the unit square"
    counts = uv_overlap_counts(atlas.uv, atlas.faces, texture_size)
    if int((counts > 1).sum()) > MAX_UV_OVERLAP * int((counts > 0).sum()):
        return "xatlas' charts overlap"
    return None
