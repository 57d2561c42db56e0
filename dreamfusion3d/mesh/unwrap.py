"""UV unwrapping by xatlas under a time limit, with projected charts as the fallback."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from dreamfusion3d.core.types import Mesh
from dreamfusion3d.mesh.native_worker import run_native_worker
from dreamfusion3d.mesh.project_charts import project_charts
from dreamfusion3d.mesh.rasterize import uv_overlap_counts

XATLAS_TIMEOUT_S = 120.0  # 20k faces take 2 s
MAX_UV_OVERLAP = 1e-3  # of the covered texels


class UVAtlas(NamedTuple):
    """UV coordinates of a mesh with vertices split at seams; the faces keep their order."""

    vmapping: Int[np.ndarray, " n"]  # mesh vertex of each atlas vertex
    faces: Int[np.ndarray, "f 3"]
    uv: Float[np.ndarray, "n 2"]  # [0, 1], origin at the bottom left of a square texture
    method: Literal["xatlas", "projection"]
    reason: str  # why xatlas was not used; empty if it was


def unwrap(mesh: Mesh, texture_size: int = 1024, padding: int = 4, timeout_s: float = XATLAS_TIMEOUT_S) -> UVAtlas:
    """Unwrap a mesh into charts that do not overlap, about ``padding`` texels apart on a square texture."""
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
    inputs = {"vertices": mesh.vertices, "faces": mesh.faces, "size": texture_size, "padding": padding}
    result = run_native_worker("dreamfusion3d.mesh.xatlas_worker", "xatlas", timeout_s, **inputs)
    if isinstance(result, str):
        return result
    # one divisor for both axes: texels stay square and the atlas fills its longer side
    uv = (result["texels"] / float(result["side"])).astype(np.float32)
    return UVAtlas(result["vmapping"], result["faces"], uv, "xatlas", "")


def _atlas_problem(mesh: Mesh, atlas: UVAtlas, texture_size: int) -> str | None:
    """Describe the defect of an atlas, or return None."""
    if atlas.faces.shape != mesh.faces.shape or not np.array_equal(atlas.vmapping[atlas.faces], mesh.faces):
        return "xatlas changed the faces"
    if not np.isfinite(atlas.uv).all() or atlas.uv.min() < 0 or atlas.uv.max() > 1:
        return "xatlas left the unit square"
    counts = uv_overlap_counts(atlas.uv, atlas.faces, texture_size)
    if int((counts > 1).sum()) > MAX_UV_OVERLAP * int((counts > 0).sum()):
        return "the charts of xatlas overlap"
    return None
