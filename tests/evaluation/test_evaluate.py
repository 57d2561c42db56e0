"""Results and summaries of several assets."""

from __future__ import annotations

import json

import pytest

from dreamfusion3d.core.errors import InputError
from dreamfusion3d.evaluation.evaluate import (
    evaluate_subjects,
    find_weak_categories,
    mislabeled_subjects,
    summarize_results,
    upper_bound_subjects,
)
from dreamfusion3d.evaluation.subject import load_subject
from tests.support.evaluation import MeanColorEncoder, true_subject


def test_evaluate_subjects_upper_bound_and_chance():
    subjects = [true_subject("a red mug"), true_subject("a blue chair")]
    results = list(evaluate_subjects(subjects, MeanColorEncoder(), ["a green duck"]))
    assert [result.subject for result in results] == subjects
    summary = summarize_results(results)
    assert summary["assets"] == 2 and summary["colors_correct"] == 1.0 and summary["watertight"] == 1.0
    assert summary["category_correct"] == 1.0 and summary["r_precision"] == 1.0
    json.dumps([result.as_dict() for result in results])
    mislabeled = mislabeled_subjects(subjects)
    assert [subject.prompt for subject in mislabeled] == ["a blue chair", "a red mug"]
    wrong_results = list(evaluate_subjects(mislabeled, MeanColorEncoder()))
    chance = summarize_results(wrong_results)
    assert chance["category_correct"] == 0.0 and chance["r_precision"] == 0.0 and chance["colors_correct"] == 0.0
    assert find_weak_categories(results) == []
    assert find_weak_categories(wrong_results) == ["chair", "mug"]
    assert find_weak_categories([*results, wrong_results[0]]) == [], "half of the chairs are correct"


def test_upper_bound_subjects_skips_unknown_prompts():
    assert [s.prompt for s in upper_bound_subjects(["a red mug", "a harmonica"])] == ["a red mug"]


def test_evaluate_subjects_counts_paraphrases_as_one_prompt():
    subjects = [true_subject("a red mug"), true_subject("a blue chair")]
    results = evaluate_subjects(subjects, MeanColorEncoder(), ["a red cup", "a scarlet mug"])
    assert [result.rank for result in results] == [1, 1]


def test_load_subject_rejects_other_folders(tmp_path):
    with pytest.raises(InputError, match="not a finished asset"):
        load_subject(tmp_path)
