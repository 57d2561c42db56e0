"""View consistency of an object with a planted second face."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dreamfusion3d.evaluation.consistency import REPEATED_FRONT_THRESHOLD, evaluate_consistency
from dreamfusion3d.evaluation.subject import EvalSubject
from tests.support.evaluation import true_subject


def test_evaluate_consistency_finds_a_second_face():
    """The front half of a duck, mirrored to the back: a duck with two faces."""
    subject = true_subject("a duck")
    mesh = subject.mesh
    front_faces = mesh.faces[mesh.vertices[mesh.faces].mean(1)[:, 2] > 0]
    two_faced = dataclasses.replace(
        mesh,
        vertices=np.concatenate([mesh.vertices, mesh.vertices * [1, 1, -1]]),
        normals=np.concatenate([mesh.normals, mesh.normals * [1, 1, -1]]),
        uv=np.tile(mesh.uv, (2, 1)),
        faces=np.concatenate([front_faces, front_faces[:, ::-1] + len(mesh.vertices)]),
    )
    unchanged = evaluate_consistency(subject, subject)
    assert unchanged.score == 0 and not unchanged.has_repeated_front
    result = evaluate_consistency(EvalSubject(subject.prompt, two_faced, subject.topology), subject)
    assert result.has_repeated_front and result.score > REPEATED_FRONT_THRESHOLD
    assert result.azimuth_deg[int(np.argmax(result.excess))] == pytest.approx(180, abs=46)
    # another object of the same category has no second face
    assert not evaluate_consistency(true_subject("a duck", seed=9), subject).has_repeated_front
