"""Color accuracy: do the parts named in the prompt have the named colors?

Surface points of the asset are assigned to parts by the nearest point of the most similar
ground-truth object. Each point votes for the named color nearest to its base color.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8
from scipy.spatial import cKDTree

from dreamfusion3d.core.types import TexturedMesh
from dreamfusion3d.evaluation.ground_truth import palette_indices
from dreamfusion3d.evaluation.subject import EvalSubject
from dreamfusion3d.evaluation.voxels import normalize_mesh
from dreamfusion3d.mesh.bake import interpolate_barycentric
from dreamfusion3d.mesh.geometry import face_areas
from dreamfusion3d.procedural.category import Color
from dreamfusion3d.procedural.materials import MATERIALS
from dreamfusion3d.procedural.objects import COLORS, ObjectBatch, ObjectSpec

COLOR_SAMPLES = 4000
COLOR_SAMPLE_SEED = 0
COLOR_TOLERANCE = 13.0  # CIE Lab: half the difference of the two nearest named colors, purple and blue


@dataclass(frozen=True)
class PartColorResult:
    """Color of one part that the prompt names: the fraction of its points that agree, and the majority."""

    part: str  # "first" or "second"
    expected: str
    fraction: float
    observed: str

    @property
    def correct(self) -> bool:
        return self.observed == self.expected


def evaluate_colors(
    subject: EvalSubject, spec: ObjectSpec, objects: ObjectBatch, reference_mesh: TexturedMesh
) -> list[PartColorResult]:
    """Compare the colors of the asset's parts with the colors that the prompt names; one result per named color.

    ``objects`` holds one object, the ground truth most similar to the asset, and ``reference_mesh`` is its mesh.
    """
    requested = {"first": spec.color, "second": spec.second_color}
    named = {part: color for part, color in requested.items() if color in COLORS}
    if not named:
        return []
    if not subject.has_surface:
        return [PartColorResult(part, color, 0.0, "nothing") for part, color in named.items()]
    points, colors = sample_surface_colors(subject.mesh, COLOR_SAMPLES)
    palette_index = _nearest_palette_index(objects, reference_mesh, spec, points)
    color_names = _nearest_named_color(colors)
    # the spots of a spotted object have another color
    palette_slots = {"first": (0,) if MATERIALS[spec.material].is_pattern else (0, 3), "second": (1, 4)}
    out = []
    for part, color in named.items():
        votes = Counter(color_names[np.isin(palette_index, palette_slots[part])].tolist())
        total = sum(votes.values())
        winner = votes.most_common(1)[0][0] if total else "nothing"
        out.append(PartColorResult(part, color, votes[color] / total if total else 0.0, winner))
    return out


def _nearest_palette_index(
    objects: ObjectBatch, reference_mesh: TexturedMesh, spec: ObjectSpec, points: Float[np.ndarray, "n 3"]
) -> np.ndarray:
    """Index into `ObjectSpec.part_colors` of each point, from the nearest face of the reference mesh."""
    face_centers = reference_mesh.vertices[reference_mesh.faces].mean(1)
    normalized = normalize_mesh(reference_mesh)
    _, row = cKDTree(normalized.vertices[normalized.faces].mean(1)).query(points)
    return palette_indices(objects, 0, face_centers, spec.material)[row]


def sample_surface_colors(mesh: TexturedMesh, count: int) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
    """Sample points uniformly on the surface, with their base colors in [0, 1]."""
    rng = np.random.default_rng(COLOR_SAMPLE_SEED)
    area = face_areas(mesh.vertices, mesh.faces)
    face = rng.choice(len(area), count, p=area / area.sum())
    u, v = np.sqrt(rng.random(count)), rng.random(count)
    weights = np.stack([1 - u, u * (1 - v), u * v], -1)
    points = interpolate_barycentric(mesh.vertices, mesh.faces[face], weights)
    return points, texel_values(mesh, mesh.texture, face, weights)


def texel_values(
    mesh: TexturedMesh,
    texture: UInt8[np.ndarray, "h w c"],
    face: Int[np.ndarray, " n"],
    weights: Float[np.ndarray, "n 3"],
) -> Float[np.ndarray, "n c"]:
    """Read the texels of one of the mesh's textures at points of its faces, in [0, 1]."""
    uv = interpolate_barycentric(mesh.uv, mesh.faces[face], weights)
    height, width = texture.shape[:2]
    column = np.clip((uv[:, 0] * width).astype(int), 0, width - 1)
    row = np.clip(((1 - uv[:, 1]) * height).astype(int), 0, height - 1)
    return texture[row, column].astype(np.float64) / 255


def right_color_fraction(
    colors: Float[np.ndarray, "n 3"], palette_index: Int[np.ndarray, " n"], palette: Sequence[Color]
) -> float:
    """Fraction of points that are nearer to their own color of ``palette`` than to its others, in CIE Lab.

    A color that differs by more than `COLOR_TOLERANCE` is not right either, so that an object of one color can fail.
    Equal colors of the palette, such as those of a part without a pattern, count as one.

    Args:
        colors: sRGB base colors in [0, 1].
        palette_index: The color that each point should have.
        palette: sRGB colors in [0, 1].
    """
    difference = np.linalg.norm(_srgb_to_lab(colors)[:, None] - _srgb_to_lab(np.array(palette))[None], axis=-1)
    own = difference[np.arange(len(colors)), palette_index]
    return float(((own <= difference.min(1)) & (own <= COLOR_TOLERANCE)).mean())


def _nearest_named_color(colors: Float[np.ndarray, "n 3"]) -> np.ndarray:
    """Name of the palette color nearest to each color in CIE Lab."""
    palette_lab = _srgb_to_lab(np.array(list(COLORS.values())))
    distance = np.linalg.norm(_srgb_to_lab(colors)[:, None] - palette_lab[None], axis=-1)
    return np.array(list(COLORS))[distance.argmin(1)]


def _srgb_to_lab(srgb: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    return cv2.cvtColor(srgb[None].astype(np.float32), cv2.COLOR_RGB2Lab)[0].astype(np.float64)
