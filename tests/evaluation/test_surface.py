"""Surface and images of assets against their true objects, and the variety of their seeds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from dreamfusion3d.core.types import Mesh, TexturedMesh
from dreamfusion3d.evaluation import evaluate, geometry
from dreamfusion3d.evaluation.color import right_color_fraction
from dreamfusion3d.evaluation.evaluate import evaluate_subjects, summarize_results
from dreamfusion3d.evaluation.ground_truth import ground_truth_mesh
from dreamfusion3d.evaluation.likeness import evaluate_likeness
from dreamfusion3d.evaluation.report import METRIC_LABELS, find_faults
from dreamfusion3d.evaluation.subject import EvalSubject
from dreamfusion3d.evaluation.surface import SurfaceResult, evaluate_surface
from dreamfusion3d.evaluation.true_object import TrueObject, nearest_true_object, true_instance
from dreamfusion3d.evaluation.variety import evaluate_variety
from dreamfusion3d.mesh.checks import sample_surface
from dreamfusion3d.mesh.geometry import bounding_diagonal, face_areas
from dreamfusion3d.mesh.tangents import vertex_normals
from dreamfusion3d.procedural.categories import CATEGORIES
from tests.support.evaluation import MeanColorEncoder, parse

MUG = "a red coffee mug with a blue handle"
TOPOLOGY = {"components": 1, "watertight": True, "genus": 0}


def subject_of(mesh: TexturedMesh, prompt: str = MUG, seed: int | None = None) -> EvalSubject:
    return EvalSubject(prompt, mesh, TOPOLOGY, seed=seed)


def compare(mesh: TexturedMesh, true_object: TrueObject) -> SurfaceResult:
    return evaluate_surface(subject_of(mesh), true_object, num_samples=4000)


def test_a_true_object_equals_itself():
    true_object = true_instance(parse(MUG), 0)
    result = compare(true_object.mesh, true_object)
    assert result.chamfer < 1e-7 and result.f_score == 1.0 and result.right_part_color > 0.98
    assert result.normal_angle_median_deg < 1.5 and result.normals_within_10_deg > 0.8, "only creases differ"
    likeness = evaluate_likeness(subject_of(true_object.mesh), true_object, image_size=32)
    assert vars(likeness) == pytest.approx(
        {"base_color_psnr_db": 100, "base_color_ssim": 1, "shaded_psnr_db": 100, "shaded_ssim": 1}
    )


def test_the_nearest_true_object_of_an_instance_is_that_instance():
    true_object = true_instance(parse(MUG), 1)
    nearest = nearest_true_object(subject_of(true_object.mesh), parse(MUG))
    np.testing.assert_array_equal(nearest.own_mesh.vertices, true_object.own_mesh.vertices)


def exact_sphere() -> TrueObject:
    """A red ball without its seam."""
    spec = parse("a red ball")
    objects = true_instance(spec, 0).objects
    category = replace(
        objects.category,
        part_distances=lambda x, y, z, style: [torch.sqrt(x * x + y * y + z * z) - 0.6, torch.ones_like(x)],
    )
    objects = replace(objects, category=category)
    return TrueObject(spec, objects, ground_truth_mesh(objects, 0, 64))


def test_chamfer_and_f_score_of_a_scaled_sphere():
    ball = exact_sphere()
    diagonal = bounding_diagonal(ball.surface)
    for scale in (1.004, 1.02):
        result = compare(replace(ball.mesh, vertices=ball.mesh.vertices * scale), ball)
        distance = 0.8 * (scale - 1)
        assert result.chamfer == pytest.approx(distance / diagonal, rel=0.02)
        assert result.f_score == float(distance < 0.005 * diagonal)


def test_tilted_normals_give_their_angle():
    ball = exact_sphere()
    normals = ball.mesh.vertices / np.linalg.norm(ball.mesh.vertices, axis=1, keepdims=True)
    tangents = np.cross(normals, [0.3, 0.4, 0.866])
    tangents /= np.linalg.norm(tangents, axis=1, keepdims=True)
    for degrees in (0, 7, 30, 180):
        angle = np.radians(degrees)
        tilted = replace(ball.mesh, normals=(np.cos(angle) * normals + np.sin(angle) * tangents).astype(np.float32))
        result = compare(tilted, ball)
        assert result.normal_angle_mean_deg == pytest.approx(degrees, abs=0.5)
        assert result.normal_angle_median_deg == pytest.approx(degrees, abs=0.5)
        assert result.normals_within_10_deg == pytest.approx(float(degrees < 10), abs=0.02)


@pytest.mark.parametrize("prompt", [MUG, "a green striped ball"])
def test_right_part_color_of_one_paint_is_the_area_of_its_part(prompt: str):
    true_object, spec = true_instance(parse(prompt), 0), parse(prompt)
    faces, center = np.arange(len(true_object.surface.faces)), np.full((len(true_object.surface.faces), 3), 1 / 3)
    area = face_areas(true_object.surface.vertices, true_object.surface.faces)
    palette = np.array(spec.part_colors())
    own_color = palette[true_object.palette_indices(faces, center)]
    for color in np.unique(own_color, axis=0):
        texture = np.broadcast_to((color * 255).round().astype(np.uint8), (4, 4, 3)).copy()
        expected = area[(own_color == color).all(1)].sum() / area.sum()
        result = compare(replace(true_object.mesh, texture=texture, metallic_roughness=None), true_object)
        assert result.right_part_color == pytest.approx(expected, abs=0.02)


def test_materials_are_compared_part_by_part():
    spec = parse("a metal bottle with a red cork")
    true_object = true_instance(spec, 0)
    own = compare(true_object.mesh, true_object)
    assert own.roughness_error < 0.005 and own.right_metallic > 0.99  # a face may span two parts
    surfaces = np.array(spec.part_surfaces())
    faces, center = np.arange(len(true_object.surface.faces)), np.full((len(true_object.surface.faces), 3), 1 / 3)
    part = true_object.palette_indices(faces, center)
    share = face_areas(true_object.surface.vertices, true_object.surface.faces)
    share /= share.sum()
    maps = np.broadcast_to(np.array([128, 0], np.uint8), (*true_object.mesh.texture.shape[:2], 2)).copy()
    plastic = replace(true_object.mesh, metallic_roughness=maps)
    result = compare(plastic, true_object)
    assert 0 < share[surfaces[part, 1] == 0].sum() < 1
    assert result.right_metallic == pytest.approx(share[surfaces[part, 1] == 0].sum(), abs=0.02)
    assert result.roughness_error == pytest.approx((share * np.abs(surfaces[part, 0] - 128 / 255)).sum(), abs=0.01)
    assert compare(replace(plastic, metallic_roughness=None), true_object).right_metallic == result.right_metallic


def test_right_color_fraction_counts_equal_colors_as_one_and_rejects_far_ones():
    palette = [(1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (1.0, 0.0, 0.0)]
    colors = np.array([[1.0, 0, 0], [1, 0, 0], [0.98, 0.02, 0], [0.5, 0, 0]])
    assert right_color_fraction(colors, np.array([0, 2, 0, 0]), palette) == 0.75
    assert right_color_fraction(colors, np.array([1, 1, 1, 1]), palette) == 0


def test_every_figure_worsens_with_noise():
    true_object = true_instance(parse(MUG), 0)
    surface, corners = true_object.surface, true_object.surface.faces.reshape(-1)
    noise = np.random.default_rng(0).normal(size=surface.vertices.shape)
    results, images = [], []
    for amount in (0.0, 0.01, 0.02, 0.04):
        noisy = Mesh(surface.vertices + amount * noise, surface.faces)
        mesh = replace(true_object.mesh, vertices=noisy.vertices[corners], normals=vertex_normals(noisy)[corners])
        results.append(compare(mesh, true_object))
        images.append(evaluate_likeness(subject_of(mesh), true_object, image_size=48))
    for name in ("normal_angle_mean_deg", "normal_angle_median_deg", "chamfer"):
        assert (np.diff([getattr(result, name) for result in results]) > 0).all(), name
    for name in ("normals_within_10_deg", "f_score"):
        assert (np.diff([getattr(result, name) for result in results]) <= 0).all(), name
        assert getattr(results[-1], name) < 0.7 * getattr(results[0], name), name
    for name in vars(images[0]):
        assert (np.diff([getattr(image, name) for image in images]) < 0).all(), name


def test_distances_equal_those_of_dense_samples():
    """The slow way: the nearest of many points on the other surface."""
    true_object, other = true_instance(parse(MUG), 0), true_instance(parse(MUG), 1)
    result = compare(other.mesh, true_object)
    few, many = (tuple(sample_surface(o.surface, n) for o in (other, true_object)) for n in (4000, 200_000))
    diagonal = bounding_diagonal(true_object.surface)
    forward, backward = (cKDTree(many[1 - k]).query(few[k])[0] for k in range(2))
    # the nearest sample is farther than the surface by less than the spacing of the samples
    spacing = np.sqrt(face_areas(true_object.surface.vertices, true_object.surface.faces).sum() / 200_000)
    expected = (forward.mean() + backward.mean()) / 2 / diagonal
    assert expected - spacing / diagonal < result.chamfer <= expected + 1e-6
    precision, recall = ((distance < 0.005 * diagonal).mean() for distance in (forward, backward))
    assert result.f_score == pytest.approx(2 * precision * recall / (precision + recall), abs=0.02)


def test_variety_of_copies_is_0_and_of_true_objects_1():
    subjects = [subject_of(true_instance(parse(MUG), i).mesh, seed=i) for i in range(3)]
    (copies,) = evaluate_variety([subjects[0], replace(subjects[0], seed=8)])
    assert copies.assets == 2 and copies.chamfer < 1e-6 and copies.iou_distance == 0
    assert copies.true_chamfer > 0.001 and copies.true_iou_distance > 0.05
    assert summarize_results([], [copies])["variety_ratio"] == pytest.approx(0, abs=1e-3)
    summary = summarize_results([], evaluate_variety(subjects))
    assert summary["variety_ratio"] == pytest.approx(1) and summary["variety_iou_ratio"] == pytest.approx(1, abs=0.1)
    assert evaluate_variety([subjects[0], subjects[0], replace(subjects[1], prompt="a mug")]) == [], "one seed each"
    assert summarize_results([])["variety_ratio"] is None


def test_upper_bound_subjects_of_a_repeated_prompt_differ(monkeypatch: pytest.MonkeyPatch):
    ball = true_instance(parse("a red ball"), 0).mesh
    monkeypatch.setattr(evaluate, "ground_truth_subject", lambda prompt, spec, seed: subject_of(ball, prompt, seed))
    assert len({subject.seed for subject in evaluate.upper_bound_subjects([MUG, MUG])}) == 2


@pytest.mark.parametrize("faces", [[], [[0, 0, 0], [1, 1, 1]]], ids=["none", "without area"])
def test_an_asset_without_a_surface_is_reported(faces: list[list[int]], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(geometry, "CATEGORIES", {"ball": CATEGORIES["ball"]})
    true_object = true_instance(parse("a red ball"), 0)
    mesh = replace(true_object.mesh, faces=np.array(faces, np.int64).reshape(-1, 3))
    (result,) = evaluate_subjects([subject_of(mesh, "a red ball")], MeanColorEncoder())
    assert result.surface is None and result.likeness is None and "no surface" in find_faults(result)
    summary = summarize_results([result], evaluate_variety([result.subject]))
    assert summary["surfaces_compared"] == 0 and summary["chamfer"] is None and summary["colors_correct"] == 0
    assert set(summary) == set(METRIC_LABELS)
