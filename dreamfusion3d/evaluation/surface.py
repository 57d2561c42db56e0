"""Surface: how far the asset's surface, normals and colors are from those of its true object."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from dreamfusion3d.core.types import DEFAULT_MATERIAL, TexturedMesh
from dreamfusion3d.evaluation.color import right_color_fraction, texel_values
from dreamfusion3d.evaluation.subject import EvalSubject
from dreamfusion3d.evaluation.true_object import TrueObject
from dreamfusion3d.mesh.bake import interpolate_barycentric
from dreamfusion3d.mesh.bvh import build_bvh, closest_points
from dreamfusion3d.mesh.checks import CHAMFER_SAMPLES, sample_faces
from dreamfusion3d.mesh.geometry import bounding_diagonal, normalize_vectors

F_SCORE_THRESHOLD = 0.005  # of the true object's bounding diagonal
CLOSE_NORMAL_DEG = 10.0


@dataclass(frozen=True)
class SurfaceResult:
    """Differences between an asset and its true object.

    Attributes:
        normal_angle_mean_deg: Mean angle between the normal of a point and that of the nearest point of the other
            surface, over the points of both surfaces.
        normal_angle_median_deg: Median of the same angles.
        normals_within_10_deg: Fraction of the same angles below 10 degrees.
        chamfer: Mean of both mean point-to-surface distances, relative to the true object's bounding diagonal.
        f_score: Harmonic mean of precision and recall, the fractions of the asset and of the true object within half
            a percent of that diagonal of the other surface.
        right_part_color: Fraction of the asset with the color of the nearest point of the true object.
        roughness_error: Mean absolute difference from the roughness of the nearest point of the true object.
        right_metallic: Fraction of the asset that is a metal where the true object is one, and nowhere else.
    """

    normal_angle_mean_deg: float
    normal_angle_median_deg: float
    normals_within_10_deg: float
    chamfer: float
    f_score: float
    right_part_color: float
    roughness_error: float
    right_metallic: float


def evaluate_surface(
    subject: EvalSubject, true_object: TrueObject, *, num_samples: int = CHAMFER_SAMPLES
) -> SurfaceResult:
    """Compare an asset that has a surface with its true object, from ``num_samples`` points on each.

    The normals of the asset are those that a renderer shades, interpolated from its vertices. A normal map is not
    used. Those of the true object are the gradients of its distance.
    """
    mesh = subject.mesh
    face, weights = sample_faces(subject.surface, num_samples)
    points = interpolate_barycentric(mesh.vertices, mesh.faces[face], weights)
    to_true = closest_points(true_object.bvh, points)

    true_face, true_weights = sample_faces(true_object.surface, num_samples)
    true_corners = true_object.surface.faces[true_face]
    true_points = interpolate_barycentric(true_object.surface.vertices, true_corners, true_weights)
    to_asset = closest_points(build_bvh(subject.surface), true_points)

    normals = interpolate_barycentric(
        mesh.normals, mesh.faces[np.concatenate([face, to_asset.face])], np.concatenate([weights, to_asset.weights])
    )
    true_normals = true_object.normals(
        np.concatenate([to_true.face, true_face]), np.concatenate([to_true.weights, true_weights])
    )
    angles = _angles_deg(normals, true_normals)
    diagonal = bounding_diagonal(true_object.surface)
    precision, recall = (
        float((d <= F_SCORE_THRESHOLD * diagonal).mean()) for d in (to_true.distance, to_asset.distance)
    )
    part = true_object.palette_indices(to_true.face, to_true.weights)
    material = _material_values(mesh, face, weights)
    true_material = np.array(true_object.spec.part_surfaces())[part]
    return SurfaceResult(
        normal_angle_mean_deg=float(angles.mean()),
        normal_angle_median_deg=float(np.median(angles)),
        normals_within_10_deg=float((angles < CLOSE_NORMAL_DEG).mean()),
        chamfer=float((to_true.distance.mean() + to_asset.distance.mean()) / 2 / diagonal),
        f_score=2 * precision * recall / max(precision + recall, 1e-12),
        right_part_color=right_color_fraction(
            texel_values(mesh, mesh.texture, face, weights), part, true_object.spec.part_colors()
        ),
        roughness_error=float(np.abs(material - true_material)[:, 0].mean()),
        right_metallic=float(((material >= 0.5) == (true_material >= 0.5))[:, 1].mean()),
    )


def _material_values(
    mesh: TexturedMesh, face: Int[np.ndarray, " n"], weights: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, "n 2"]:
    """Roughness and metallic at points of the mesh's faces."""
    if mesh.metallic_roughness is None:
        return np.broadcast_to(DEFAULT_MATERIAL, (len(face), 2))
    return texel_values(mesh, mesh.metallic_roughness, face, weights)


def _angles_deg(a: Float[np.ndarray, "n 3"], b: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
    """Angle between vectors of any length; the arctangent is accurate where the arccosine is not, near 0."""
    a, b = normalize_vectors(a.astype(np.float64)), normalize_vectors(b.astype(np.float64))
    return np.degrees(2 * np.arctan2(np.linalg.norm(a - b, axis=-1), np.linalg.norm(a + b, axis=-1)))
