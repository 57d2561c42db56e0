"""Is it the kind that was asked for, and has it the holes and pieces that it should?"""

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

REFERENCES_PER_FORM = 3  # of every form
REFERENCE_SEED = 1_000_003  # of the instances that are compared with


@dataclass(frozen=True)
class GeometryResult:
    """Overlap with the best instance of the asked kind, and of all others; topology."""

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


@dataclass(frozen=True)
class NearestReference:
    """The instance that overlaps best."""

    objects: ObjectBatch
    iou: float


def evaluate_geometry(subject: EvalSubject, spec: ObjectSpec, categories: list[str] | None = None) -> GeometryResult:
    """``kinds``: those that compete; all of the world when None."""
    best = {
        category: max(voxel_iou(subject.voxels, candidate) for candidate in reference_objects(category, spec.size)[1])
        for category in {*(categories or CATEGORIES), spec.category}
    }
    expected_iou = best.pop(spec.category)
    other = max(best, key=lambda k: best[k], default=spec.category)
    topology = subject.topology
    return GeometryResult(
        expected_iou,
        best.get(other, 0.0),
        other,
        topology["genus"],
        CATEGORIES[spec.category].expected_genus(spec.count),
        topology["components"],
        topology["watertight"],
    )


def nearest_reference(subject: EvalSubject, spec: ObjectSpec) -> NearestReference:
    """The instance of the asked kind and form that is most like the asset."""
    objects, voxel_grids = reference_objects(spec.category, spec.size)
    same_form = [
        i for i in range(len(objects)) if int(objects.count[i]) == spec.count and bool(objects.option[i]) == spec.option
    ]
    ious = [voxel_iou(subject.voxels, voxel_grids[i]) for i in same_form]
    best = int(np.argmax(ious))
    return NearestReference(objects[[same_form[best]]], ious[best])


@cache
def reference_objects(category: str, size: str) -> tuple[ObjectBatch, list[Bool[np.ndarray, "r r r"]]]:
    """INSTANCES of every form of a kind, and their solids in the frame of comparison."""
    generator = torch.Generator().manual_seed(REFERENCE_SEED)
    batches = [
        sample_objects(category, count, size, REFERENCES_PER_FORM, option=option, generator=generator)
        for count, option in CATEGORIES[category].variants()
    ]
    names = ("variation", "count", "option", "scale")
    objects = ObjectBatch(batches[0].category, *(torch.cat([getattr(b, n) for b in batches]) for n in names))
    return objects, [ground_truth_voxels(objects, i) for i in range(len(objects))]
