"""What a pipeline would refuse in a finished mesh: crossings, a drifted shape, a careless atlas."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from dreamfusion3d.core.types import Mesh, TexturedMesh
from dreamfusion3d.mesh.bvh import BVH, build_bvh, closest_points
from dreamfusion3d.mesh.intersections import self_intersections
from dreamfusion3d.mesh.rasterize import uv_overlap_counts

CHAMFER_SAMPLES = 20_000  # points on each surface: the mean of their distances is steady to about a percent
EVENNESS_FACTOR = 2.0  # a texel density this far from the median still counts as even


@dataclass(frozen=True)
class MeshReport:
    """Figures of the finished mesh beside those of `quality.MeshQuality`."""

    self_intersections: int  # pairs of faces that pass through each other
    silhouette_iou: float  # of the mesh and the field it was made of, mean over the views
    chamfer: float  # from the unsimplified surface, as a share of its bounding box' diagonal
    uv_overlap: float  # share of the covered texels that more than one face covers
    uv_coverage: float  # share of the texture's texels that a face covers
    texel_density: float  # median over the surface, in texels along a metre
    texel_evenness: float  # share of the surface whose density is within a factor 2 of the median

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


class AtlasReport(NamedTuple):
    overlap: float
    coverage: float
    density: float
    evenness: float


def mesh_report(mesh: Mesh, textured: TexturedMesh, unsimplified: Mesh, silhouette_iou: float) -> MeshReport:
    """The figures of ``textured``, whose faces before the UV split are ``mesh``'s.

    ``mesh`` and ``unsimplified`` are in one unit; ``textured`` may be placed, in metres, already.
    """
    atlas = atlas_report(textured)
    return MeshReport(
        self_intersections=len(self_intersections(mesh)),
        silhouette_iou=silhouette_iou,
        chamfer=chamfer_distance(mesh, unsimplified) / bounding_diagonal(unsimplified),
        uv_overlap=atlas.overlap,
        uv_coverage=atlas.coverage,
        texel_density=atlas.density,
        texel_evenness=atlas.evenness,
    )


def bounding_diagonal(mesh: Mesh) -> float:
    """Length of the bounding box' diagonal."""
    return float(np.linalg.norm(np.ptp(mesh.vertices[np.unique(mesh.faces)], axis=0)))


def chamfer_distance(mesh_a: Mesh, mesh_b: Mesh, num_samples: int = CHAMFER_SAMPLES) -> float:
    """Mean of the two mean distances from points of one surface to the other, in the meshes' units.

    Both surfaces are sampled evenly by area, with the same numbers on every run.
    """
    trees: list[BVH] = [build_bvh(mesh) for mesh in (mesh_a, mesh_b)]
    points = [sample_surface(mesh, num_samples) for mesh in (mesh_a, mesh_b)]
    forward, backward = (closest_points(trees[1], points[0]).distance, closest_points(trees[0], points[1]).distance)
    return float((forward.mean() + backward.mean()) / 2)


def sample_surface(mesh: Mesh, count: int) -> Float[np.ndarray, "n 3"]:
    """``count`` points spread over the surface by area: one in each of as many equal shares of it."""
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    total = np.cumsum(area)
    steps = np.arange(count)
    face = np.searchsorted(total, (steps + 0.5) / count * total[-1], side="right")
    face = np.minimum(face, len(area) - 1)
    # the golden and the silver share fill the square evenly; folded over they fill the triangle
    u, v = ((steps * ratio) % 1.0 for ratio in (0.7548776662466927, 0.5698402909980532))
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    weights = np.stack([1 - u - v, u, v], axis=1)
    return np.einsum("nk,nkc->nc", weights, corners[face])


def atlas_report(textured: TexturedMesh) -> AtlasReport:
    """How the texture is shared out over the surface."""
    size = textured.texture.shape[0]
    counts = uv_overlap_counts(textured.uv, textured.faces, size)
    covered = max(int((counts > 0).sum()), 1)
    corners = textured.vertices[textured.faces].astype(np.float64)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    texel_corners = textured.uv[textured.faces].astype(np.float64) * size
    (ax, ay), (bx, by) = ((texel_corners[:, 1] - texel_corners[:, 0]).T, (texel_corners[:, 2] - texel_corners[:, 0]).T)
    density = np.sqrt(np.abs(ax * by - ay * bx) / 2 / np.maximum(area, 1e-30))
    order = np.argsort(density, kind="stable")
    total = np.cumsum(area[order])
    median_density = float(density[order[np.searchsorted(total, total[-1] / 2)]])
    even = (density <= EVENNESS_FACTOR * median_density) & (density * EVENNESS_FACTOR >= median_density)
    return AtlasReport(
        float((counts > 1).sum()) / covered,
        float((counts > 0).mean()),
        median_density,
        float(area[even].sum() / total[-1]),
    )
