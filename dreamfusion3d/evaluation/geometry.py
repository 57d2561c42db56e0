"""Geometry: is the asset of the category the prompt names, with the expected topology?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from jaxtyping import Bool

from dreamfusion3d.evaluation.ground_truth import ground_truth_voxels
from dreamfusion3d.evaluation.subject import EvalSubject
from dreamfusion3d.evaluation.voxels import voxel_iou
from dreamfusion3d.procedural.categories import CATEGORIES
from dreamfusion3d.procedural.objects import ObjectBatch, ObjectSpec, sample_objects

REFERENCES_PER_FORM = 3  # reference objects per (count, option, style) of a category
REFERENCE_SEED = 1_000_003


@dataclass(frozen=True)
class GeometryResult:
    """IoU with the best reference of the expected category and of the other categories, and topology."""

    iou: float
    best_other_iou: float
    best_other_category: str
    genus: int | None
    expected_genus: int
    components: int
    watertight: bool

    @property
    def category_correct(self) -> bool:
        return self.iou > self.best_other_iou

    @property
    def genus_correct(self) -> bool:
        return self.genus == self.expected_genus


def evaluate_geometry(subject: EvalSubject, spec: ObjectSpec, categories: list[str] | None = None) -> GeometryResult:
    """Compare an asset with reference objects of ``categories`` (default: all) and of its own."""
    best = {
        category: max(voxel_iou(subject.voxels, candidate) for candidate in reference_objects(category, spec.size)[1])
        for category in {*(categories or CATEGORIES), spec.category}
    }
    expected_iou = best.pop(spec.category)
    style = int(nearest_reference(subject, spec).style)
    other = max(best, key=lambda k: best[k], default=spec.category)
    genus = CATEGORIES[spec.category].expected_genus(spec.count, style)
    return GeometryResult(expected_iou, best.get(other, 0.0), other, expected_genus=genus, **subject.topology)


def nearest_reference(subject: EvalSubject, spec: ObjectSpec) -> ObjectBatch:
    """Return the reference object (a batch of one) of the prompt's category and form with the highest IoU."""
    objects, voxel_grids = reference_objects(spec.category, spec.size)
    same_form = (objects.count == spec.count) & (objects.option == spec.option)
    if spec.style:
        same_form &= objects.style == CATEGORIES[spec.category].style_index(spec.style)
    return objects[
        [max(torch.nonzero(same_form)[:, 0].tolist(), key=lambda i: voxel_iou(subject.voxels, voxel_grids[i]))]
    ]


@cache
def reference_objects(category: str, size: str) -> tuple[ObjectBatch, list[Bool[np.ndarray, "r r r"]]]:
    """Return reference objects of every form of a category, and their voxel grids in the comparison frame."""
    generator = torch.Generator().manual_seed(REFERENCE_SEED)
    batches = [
        sample_objects(category, count, size, REFERENCES_PER_FORM, option=option, style=style, generator=generator)
        for count, option in CATEGORIES[category].variants()
        for style in CATEGORIES[category].style_names
    ]
    objects = ObjectBatch.cat(batches)
    return objects, [ground_truth_voxels(objects, i) for i in range(len(objects))]
