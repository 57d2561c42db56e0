"""Variety: do the assets of one prompt, made with different seeds, differ as much as true objects do?"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from dreamfusion3d.core.types import Mesh
from dreamfusion3d.evaluation.subject import EvalSubject
from dreamfusion3d.evaluation.true_object import NUM_INSTANCES, RANKING_SAMPLES, true_instance, true_voxels
from dreamfusion3d.evaluation.voxels import voxel_iou
from dreamfusion3d.mesh.checks import chamfer_distance
from dreamfusion3d.mesh.geometry import bounding_diagonal
from dreamfusion3d.priors.image_text.prompt_spec import prompt_to_spec

Solid = tuple[Mesh, Bool[np.ndarray, "r r r"]]


@dataclass(frozen=True)
class VarietyResult:
    """Mean distances between the assets of one prompt, and between as many true objects.

    Attributes:
        prompt: The prompt.
        assets: Number of assets, at least two.
        chamfer: Mean chamfer distance of two assets, relative to their mean bounding diagonal.
        true_chamfer: The same of two true objects.
        iou_distance: Mean of 1 - IoU of two assets' voxels.
        true_iou_distance: The same of two true objects.
    """

    prompt: str
    assets: int
    chamfer: float
    true_chamfer: float
    iou_distance: float
    true_iou_distance: float


def evaluate_variety(subjects: Sequence[EvalSubject]) -> list[VarietyResult]:
    """Return a result for each procedural prompt with assets of two or more seeds (at most `NUM_INSTANCES`)."""
    by_prompt: dict[str, dict[int | None, EvalSubject]] = {}
    for subject in subjects:
        if subject.has_surface:
            by_prompt.setdefault(subject.prompt, {}).setdefault(subject.seed, subject)
    out = []
    for prompt, by_seed in by_prompt.items():
        spec, assets = prompt_to_spec(prompt), list(by_seed.values())[:NUM_INSTANCES]
        if spec is None or len(assets) < 2:
            continue
        grids = true_voxels(spec)
        true_solids = [(true_instance(spec, i).surface, grids[i]) for i in range(len(assets))]
        chamfer, iou_distance = _mean_distances([(asset.surface, asset.voxels) for asset in assets])
        true_chamfer, true_iou_distance = _mean_distances(true_solids)
        out.append(VarietyResult(prompt, len(assets), chamfer, true_chamfer, iou_distance, true_iou_distance))
    return out


def _mean_distances(solids: Sequence[Solid]) -> tuple[float, float]:
    """Mean relative chamfer distance and mean of 1 - IoU over all pairs."""
    distances = [
        (
            2 * chamfer_distance(a, b, RANKING_SAMPLES) / (bounding_diagonal(a) + bounding_diagonal(b)),
            1 - voxel_iou(voxels_a, voxels_b),
        )
        for (a, voxels_a), (b, voxels_b) in itertools.combinations(solids, 2)
    ]
    chamfer, iou_distance = np.mean(distances, axis=0)
    return float(chamfer), float(iou_distance)
