"""Checks of a finished mesh: self-intersections, drift from the source surface, quality of the UV atlas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from dreamfusion3d.core.types import Mesh, TexturedMesh
from dreamfusion3d.mesh.bvh import build_bvh, closest_points
from dreamfusion3d.mesh.geometry import bounding_diagonal, face_areas
from dreamfusion3d.mesh.intersections import self_intersections
from dreamfusion3d.mesh.rasterize import uv_overlap_counts

CHAMFER_SAMPLES = 20_000  # per surface: the chamfer distance is then accurate to about 1 %
EVENNESS_FACTOR = 2.0  # a texel density within this factor of the median counts as even


@dataclass(frozen=True)
class MeshReport:
    """Measurements of the finished mesh that complement `MeshQuality`."""

    self_intersections: int  # pairs of faces that intersect
    silhouette_iou: float  # of the mesh and its source field, mean over views
    chamfer: float  # to the unsimplified surface, relative to its bounding diagonal
    uv_overlap: float  # fraction of the covered texels that several faces cover
    uv_coverage: float  # fraction of all texels that a face covers
    texel_density: float  # median over the surface, texels per meter
    texel_evenness: float  # fraction of the surface whose density is within a factor 2 of the median


class AtlasReport(NamedTuple):
    """Quality of a UV atlas: the last four fields of `MeshReport`."""

    overlap: float
    coverage: float
    density: float
    evenness: float


def mesh_report(mesh: Mesh, textured: TexturedMesh, unsimplified: Mesh, silhouette_iou: float) -> MeshReport:
    """Measure ``textured``, which is ``mesh`` after UV unwrapping, possibly scaled to meters.

    ``unsimplified`` is the surface before simplification, in the units of ``mesh``.
    """
    chamfer = chamfer_distance(mesh, unsimplified) / bounding_diagonal(unsimplified)
    return MeshReport(len(self_intersections(mesh)), silhouette_iou, chamfer, *atlas_report(textured))


def chamfer_distance(mesh_a: Mesh, mesh_b: Mesh, num_samples: int = CHAMFER_SAMPLES) -> float:
    """Symmetric chamfer distance: the mean of both mean point-to-surface distances, in mesh units.

    Both surfaces are sampled uniformly by area, with the same points on every run.
    """
    forward = closest_points(build_bvh(mesh_b), sample_surface(mesh_a, num_samples)).distance
    backward = closest_points(build_bvh(mesh_a), sample_surface(mesh_b, num_samples)).distance
    return float((forward.mean() + backward.mean()) / 2)


def sample_surface(mesh: Mesh, count: int) -> Float[np.ndarray, "n 3"]:
    """Sample ``count`` points uniformly by area, one in each of ``count`` equal parts of it."""
    face, weights = sample_faces(mesh, count)
    return np.einsum("nk,nkc->nc", weights, mesh.vertices[mesh.faces[face]].astype(np.float64))


def sample_faces(mesh: Mesh, count: int) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n 3"]]:
    """Return the faces and barycentric weights of the points of `sample_surface`."""
    total = np.cumsum(face_areas(mesh.vertices, mesh.faces))
    steps = np.arange(count)
    face = np.searchsorted(total, (steps + 0.5) / count * total[-1], side="right")
    face = np.minimum(face, len(total) - 1)
    # the R2 sequence (Roberts 2018) fills the unit square; folded over its diagonal, the triangle
    u, v = ((steps * ratio) % 1.0 for ratio in (0.7548776662466927, 0.5698402909980532))
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    return face, np.stack([1 - u - v, u, v], axis=1)


def atlas_report(textured: TexturedMesh) -> AtlasReport:
    """Measure overlap, coverage and texel density of the UV atlas."""
    size = textured.texture.shape[0]
    counts = uv_overlap_counts(textured.uv, textured.faces, size)
    covered = max(int((counts > 0).sum()), 1)
    area = face_areas(textured.vertices, textured.faces)
    texel_corners = textured.uv[textured.faces].astype(np.float64) * size
    (ax, ay), (bx, by) = ((texel_corners[:, 1] - texel_corners[:, 0]).T, (texel_corners[:, 2] - texel_corners[:, 0]).T)
    density = np.sqrt(np.abs(ax * by - ay * bx) / 2 / np.maximum(area, 1e-30))
    order = np.argsort(density, kind="stable")
    total = np.cumsum(area[order])
    median_density = float(density[order[np.searchsorted(total, total[-1] / 2)]])
    even = (density <= EVENNESS_FACTOR * median_density) & (density * EVENNESS_FACTOR >= median_density)
    overlap, coverage = float((counts > 1).sum()) / covered, float((counts > 0).mean())
    return AtlasReport(overlap, coverage, median_density, float(area[even].sum() / total[-1]))
