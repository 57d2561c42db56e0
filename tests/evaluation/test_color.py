"""Colors of the parts that a prompt names."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dreamfusion3d.core.types import Mesh
from dreamfusion3d.evaluation.color import PartColorResult, evaluate_colors, sample_surface_colors
from dreamfusion3d.evaluation.geometry import nearest_reference
from dreamfusion3d.evaluation.ground_truth import colored_ground_truth_mesh
from dreamfusion3d.evaluation.subject import EvalSubject
from dreamfusion3d.mesh.geometry import weld_mesh
from dreamfusion3d.procedural.objects import ObjectSpec
from tests.support.evaluation import parse, true_subject, two_colored_sphere


def part_colors(subject: EvalSubject, spec: ObjectSpec) -> list[PartColorResult]:
    objects = nearest_reference(subject, spec)
    return evaluate_colors(subject, spec, objects, colored_ground_truth_mesh(objects, 0, spec, 72))


@pytest.mark.parametrize("prompt", ["a red mug with a blue handle", "a green striped vase", "a purple wooden chair"])
def test_evaluate_colors_accepts_true_colors_and_rejects_others(prompt):
    subject, spec = true_subject(prompt), parse(prompt)
    results = part_colors(subject, spec)
    assert results and all(c.correct and c.fraction > 0.6 for c in results)
    assert not part_colors(subject, dataclasses.replace(spec, color="yellow"))[0].correct


def test_evaluate_colors_skips_unnamed_colors():
    assert part_colors(true_subject("a mug"), parse("a mug")) == []


def test_sample_surface_colors_reads_the_texture():
    points, colors = sample_surface_colors(two_colored_sphere(), 2000)
    assert np.abs(np.linalg.norm(points, axis=1) - 0.5).max() < 0.03
    assert (colors[points[:, 0] > 0.1] == [1, 0, 0]).all() and (colors[points[:, 0] < -0.1] == [0, 0, 1]).all()


def test_weld_mesh_joins_the_faces_of_a_colored_mesh():
    ball = two_colored_sphere()
    welded = weld_mesh(ball)
    assert isinstance(welded, Mesh) and len(welded.vertices) < len(ball.vertices) / 4
    np.testing.assert_allclose(welded.vertices[welded.faces], ball.vertices[ball.faces])
