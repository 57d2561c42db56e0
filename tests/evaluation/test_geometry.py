"""Category and topology of ground-truth objects."""

from __future__ import annotations

from dreamfusion3d.evaluation.geometry import evaluate_geometry, nearest_reference, reference_objects
from dreamfusion3d.evaluation.ground_truth import ground_truth_voxels
from dreamfusion3d.evaluation.voxels import voxel_iou
from tests.support.evaluation import FEW_CATEGORIES, parse, true_subject


def test_evaluate_geometry_accepts_the_category_and_rejects_others():
    for prompt in ("a mug", "a chair", "a duck"):
        subject = true_subject(prompt)
        result = evaluate_geometry(subject, parse(prompt), FEW_CATEGORIES)
        assert result.category_correct and result.genus_correct and result.components == 1 and result.watertight
        assert not evaluate_geometry(subject, parse("a barrel"), FEW_CATEGORIES).category_correct


def test_nearest_reference_has_the_form_of_the_prompt_and_the_highest_iou():
    prompt = "a mug with two handles and a lid"
    subject = true_subject(prompt)
    nearest = nearest_reference(subject, parse(prompt))
    assert len(nearest) == 1 and float(nearest.count[0]) == 2 and float(nearest.option[0]) == 1
    objects, voxel_grids = reference_objects("mug", "normal")
    assert voxel_iou(subject.voxels, ground_truth_voxels(nearest, 0)) == max(
        voxel_iou(subject.voxels, voxel_grids[i])
        for i in range(len(objects))
        if objects.count[i] == 2 and objects.option[i] == 1
    )
