"""Ranks of prompts and R-precision."""

from __future__ import annotations

import numpy as np
import pytest

from dreamfusion3d.evaluation.retrieval import prompt_ranks, r_precision, similarity_matrix
from tests.support.evaluation import MeanColorEncoder


def test_prompt_ranks_and_r_precision():
    similarity = np.array([[0.9, 0.1, 0.2], [0.5, 0.5, 0.1], [0.3, 0.2, 0.1]])
    assert prompt_ranks(similarity, [0, 1, 2]) == [1, 2, 3], "a tie counts against the asset"
    assert r_precision([1, 2, 3]) == pytest.approx(1 / 3)


def test_similarity_matrix_ranks_the_right_prompts_first():
    red, blue = (np.zeros((2, 8, 8, 4)) for _ in range(2))
    red[..., 0] = blue[..., 2] = red[..., 3] = blue[..., 3] = 1
    similarity = similarity_matrix(MeanColorEncoder(), [red, blue], ["a red mug", "a blue mug"])
    assert prompt_ranks(similarity, [0, 1]) == [1, 1]
