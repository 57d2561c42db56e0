"""Judges: what they say of true props, of wrong ones, and of planted faults."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from dreamfusion3d.cli import main, report
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.types import Mesh
from dreamfusion3d.evaluation import evaluate, geometry, prompt_lists, retrieval
from dreamfusion3d.evaluation.color import evaluate_colors, sample_surface_colors
from dreamfusion3d.evaluation.consistency import REPEATED_FRONT_THRESHOLD, evaluate_consistency
from dreamfusion3d.evaluation.geometry import evaluate_geometry, nearest_reference, reference_objects
from dreamfusion3d.evaluation.ground_truth import (
    color_faces,
    colored_ground_truth_mesh,
    ground_truth_mesh,
    ground_truth_voxels,
    palette_indices,
)
from dreamfusion3d.evaluation.subject import EvalSubject, ground_truth_subject, load_subject
from dreamfusion3d.evaluation.voxels import FRAME_HALF_EXTENT, normalize_mesh, solid_voxels, voxel_centers, voxel_iou
from dreamfusion3d.mesh.bake import bake_albedo
from dreamfusion3d.mesh.geometry import weld_mesh
from dreamfusion3d.mesh.io.axes import scale_to_height
from dreamfusion3d.mesh.io.gltf import write_glb
from dreamfusion3d.mesh.quality import mesh_quality
from dreamfusion3d.mesh.simplify import simplify
from dreamfusion3d.priors.image_text import train
from dreamfusion3d.priors.image_text.embedded_clip import EmbeddedClip, EmbeddedClipEncoder
from dreamfusion3d.priors.image_text.train import hard_negative
from dreamfusion3d.priors.loading import load_prior
from dreamfusion3d.priors.pixel.conditioner import procedural_vocabulary
from dreamfusion3d.procedural.categories import CATEGORIES
from dreamfusion3d.procedural.dataset import render_dataset
from dreamfusion3d.procedural.objects import ObjectSpec, sample_objects_for_spec
from dreamfusion3d.procedural.prompt_rules import parse_with_rules
from tests.support.shapes import mesh_of, sphere, torus
from tests.support.tiny import tiny_folder

FEW = ["mug", "chair", "barrel", "duck"]


@pytest.fixture(autouse=True)
def few_kinds(monkeypatch):
    """Some kinds compete instead of all: their true props take a while to make."""
    monkeypatch.setattr(geometry, "CATEGORIES", {name: CATEGORIES[name] for name in [*FEW, "vase"]})


def truth(prompt, seed=3):
    meaning = parse_with_rules(prompt).spec
    assert meaning is not None
    return ground_truth_subject(prompt, meaning, seed=seed), meaning


@pytest.mark.parametrize("shape", [lambda p: sphere(p, 0.6), torus])
def test_a_solid_is_the_inside_of_its_mesh(shape):
    mesh = mesh_of(shape, 80, 20_000)
    line = voxel_centers(32)
    placed = normalize_mesh(mesh)
    scale = np.ptp(mesh.vertices, axis=0).max() / (2 * FRAME_HALF_EXTENT)
    middle = (mesh.vertices.min(0) + mesh.vertices.max(0)) / 2
    grid = np.stack(np.meshgrid(line, line, line, indexing="ij"), -1).reshape(-1, 3) * scale + middle
    inside = (shape(grid) < 0).reshape(32, 32, 32)
    # a voxel within a cell of the surface may fall either way
    assert np.count_nonzero(solid_voxels(placed, 32) != inside) < 0.02 * inside.sum()


def test_overlap():
    a, b = np.zeros((2, 2, 2), bool), np.zeros((2, 2, 2), bool)
    assert voxel_iou(a, b) == 0
    a[0] = b[:, 0] = True
    assert voxel_iou(a, b) == pytest.approx(2 / 6) and voxel_iou(a, a) == 1


def test_a_true_solid_is_that_of_its_mesh():
    props = sample_objects_for_spec(ObjectSpec("mug", count=1), 1, generator=torch.Generator().manual_seed(0))
    by_mesh = solid_voxels(normalize_mesh(colored_ground_truth_mesh(props, 0, ObjectSpec("mug", count=1))))
    assert voxel_iou(by_mesh, ground_truth_voxels(props, 0)) > 0.8, "walls are three voxels thick"


def test_a_true_prop_is_its_kind_and_another_is_not():
    for prompt in ("a mug", "a chair", "a duck"):
        evidence, meaning = truth(prompt)
        found = evaluate_geometry(evidence, meaning, FEW)
        assert found.category_correct and found.genus_correct and found.components == 1 and found.watertight
        other = parse_with_rules("a barrel").spec
        assert not evaluate_geometry(evidence, other, FEW).category_correct


def test_the_nearest_instance_has_the_asked_form():
    evidence, meaning = truth("a mug with two handles and a lid")
    best = nearest_reference(evidence, meaning)
    assert float(best.objects.count[0]) == 2 and float(best.objects.option[0]) == 1
    props, solids = reference_objects("mug", "normal")
    assert best.iou == max(
        voxel_iou(evidence.solid, s)
        for s in (solids[i] for i in range(len(props)) if props.count[i] == 2 and props.option[i] == 1)
    )


def colours_of(evidence, meaning):
    props = nearest_reference(evidence, meaning).objects
    return evaluate_colors(evidence, meaning, props, colored_ground_truth_mesh(props, 0, meaning, 72))


@pytest.mark.parametrize("prompt", ["a red mug with a blue handle", "a green striped vase", "a purple wooden chair"])
def test_colours_of_a_true_prop_are_right_and_others_wrong(prompt):
    evidence, meaning = truth(prompt)
    found = colours_of(evidence, meaning)
    assert found and all(c.right and c.share > 0.6 for c in found)
    wrong = colours_of(evidence, dataclasses.replace(meaning, color="yellow"))
    assert not wrong[0].right


def test_unnamed_colours_are_not_judged():
    assert colours_of(*truth("a mug")) == []


def test_surface_points_carry_the_texture():
    points, colours = sample_surface_colors(_two_coloured(), 2000)
    assert np.abs(np.linalg.norm(points, axis=1) - 0.5).max() < 0.03
    right = points[:, 0] > 0.1
    assert (colours[right] == [1, 0, 0]).all() and (colours[points[:, 0] < -0.1] == [0, 0, 1]).all()


def _two_coloured():
    ball = mesh_of(lambda p: sphere(p, 0.5), 40)
    side = (ball.vertices[ball.faces].mean(1)[:, 0] < 0).astype(np.int64)
    return color_faces(ball, side, [(1.0, 0.0, 0.0), (0.0, 0.0, 1.0)])


def test_a_planted_second_face_is_found():
    """The front half of a duck, mirrored to the back: a duck with two faces."""
    evidence, _ = truth("a duck")
    mesh = evidence.mesh
    front = mesh.vertices[mesh.faces].mean(1)[:, 2] > 0
    half = mesh.faces[front]
    mirrored = mesh.vertices * [1, 1, -1]
    two_faced = dataclasses.replace(
        mesh,
        vertices=np.concatenate([mesh.vertices, mirrored]),
        normals=np.concatenate([mesh.normals, mesh.normals * [1, 1, -1]]),
        uv=np.tile(mesh.uv, (2, 1)),
        faces=np.concatenate([half, half[:, ::-1] + len(mesh.vertices)]),
    )
    planted = EvalSubject(evidence.prompt, two_faced, evidence.facts)
    honest = evaluate_consistency(evidence, evidence)
    assert honest.score == 0 and not honest.has_repeated_front
    found = evaluate_consistency(planted, evidence)
    assert found.has_repeated_front and found.score > REPEATED_FRONT_THRESHOLD
    assert found.azimuth_deg[int(np.argmax(found.excess))] == pytest.approx(180, abs=46)
    # another instance of the same kind is no second face
    other, _ = truth("a duck", seed=9)
    assert not evaluate_consistency(other, evidence).has_repeated_front


def test_welding_joins_what_lies_at_one_place():
    ball = _two_coloured()
    joined = weld_mesh(ball)
    assert isinstance(joined, Mesh) and len(joined.vertices) < len(ball.vertices) / 4
    np.testing.assert_allclose(joined.vertices[joined.faces], ball.vertices[ball.faces])


class Known:
    """An encoder that knows the answer by the picture's mean colour."""

    name = "known"

    def pictures(self, views):
        return retrieval.over_grey(views).mean((1, 2))

    def sentences(self, prompts):
        return np.array([[float(w in p) for w in ("red", "green", "blue")] for p in prompts])


def test_ranks_and_r_precision():
    likeness = np.array([[0.9, 0.1, 0.2], [0.5, 0.5, 0.1], [0.3, 0.2, 0.1]])
    assert retrieval.prompt_ranks(likeness, [0, 1, 2]) == [1, 2, 3], "a tie counts against the asset"
    assert retrieval.r_precision([1, 2, 3]) == pytest.approx(1 / 3)
    red, blue = (np.zeros((2, 8, 8, 4)) for _ in range(2))
    red[..., 0] = blue[..., 2] = red[..., 3] = blue[..., 3] = 1
    found = retrieval.similarity_matrix(Known(), [red, blue], ["a red mug", "a blue mug"])
    assert retrieval.prompt_ranks(found, [0, 1]) == [1, 1]


def test_verdicts_and_calibration():
    assets = [truth("a red mug")[0], truth("a blue chair")[0]]
    *counts, (total, verdicts) = evaluate.evaluate_subjects(assets, Known(), ["a green duck"])
    assert [n for n, _ in counts] == [1, 2] and total == 2 and verdicts is not None
    figures = evaluate.summarize_results(verdicts)
    assert figures["assets"] == 2 and figures["colours_right"] == 1.0 and figures["watertight"] == 1.0
    assert figures["kind_wins"] == 1.0 and figures["r_precision"] == 1.0
    json.dumps([v.as_dict() for v in verdicts])
    wrong = evaluate.mislabeled_subjects(assets)
    assert [w.prompt for w in wrong] == ["a blue chair", "a red mug"]
    *_, (_, wrong_verdicts) = evaluate.evaluate_subjects(wrong, Known())
    lower = evaluate.summarize_results(wrong_verdicts)
    assert evaluate.find_weak_categories(verdicts) == []
    assert evaluate.find_weak_categories(wrong_verdicts) == ["chair", "mug"]
    assert evaluate.find_weak_categories([*verdicts, wrong_verdicts[0]]) == [], "half of the chairs won"
    assert lower["kind_wins"] == 0.0 and lower["r_precision"] == 0.0 and lower["colours_right"] == 0.0
    assert [e.prompt for e in evaluate.upper_bound_subjects(["a red mug", "a hamburger"])] == ["a red mug"]


def test_prompts_that_mean_the_same_are_one():
    assets = [truth("a red mug")[0], truth("a blue chair")[0]]
    *_, (_, verdicts) = evaluate.evaluate_subjects(assets, Known(), ["a red cup", "a scarlet mug"])
    assert [v.rank for v in verdicts] == [1, 1]


def test_a_twin_sentence_differs_in_one_visible_thing():
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        meaning = ObjectSpec("vase", "red")
        twin = hard_negative(meaning, generator=generator)
        slots = [f.name for f in dataclasses.fields(ObjectSpec)]
        changed = [name for name in slots if getattr(twin, name) != getattr(meaning, name)]
        assert len(changed) == 1 and changed[0] not in ("category", "second_color", "option")


def test_the_judge_learns(monkeypatch):
    monkeypatch.setattr(train, "BATCH_SIZE", 12)
    *_, (_, data) = render_dataset(12, 2, categories=["mug", "duck"], generator=torch.Generator().manual_seed(0))
    net = EmbeddedClip(procedural_vocabulary(), (8, 8, 16, 16))
    run = train.train_embedded_clip(net, data, steps=40, learning_rate=5e-3, generator=torch.Generator().manual_seed(0))
    losses = [loss for _, loss, _ in run]
    assert sum(losses[-8:]) < 0.85 * sum(losses[:8])


def test_lists_are_those_of_the_grammar_and_apart():
    both = [prompt_lists.load_prompt_list(name) for name in prompt_lists.PROMPT_LISTS]
    for name, found in zip(prompt_lists.PROMPT_LISTS, both, strict=True):
        assert found == prompt_lists.generate_prompt_list(name) and len(found) == prompt_lists.PROMPT_LIST_LENGTH
        assert all(
            parse_with_rules(p).spec and not parse_with_rules(p).unknown_words and not parse_with_rules(p).notes
            for p in found
        )
    assert not set(both[0]) & set(both[1])
    with pytest.raises(InputError, match="development or reporting"):
        prompt_lists.load_prompt_list("nowhere.txt")


def test_the_judge_net_round_trip(tmp_path):
    net = EmbeddedClip(["kind:mug", "colour:red"], (8, 8, 16, 16))
    net.save(tmp_path / "net")
    one, other = EmbeddedClipEncoder(net), EmbeddedClipEncoder(EmbeddedClip.load(tmp_path / "net"))
    views = np.random.default_rng(0).random((2, 64, 64, 4)).astype(np.float32)
    np.testing.assert_allclose(one.encode_images(views), other.encode_images(views), atol=1e-2)
    assert np.linalg.norm(one.encode_texts(["a red mug"]), axis=1) == pytest.approx(1, abs=1e-5)
    with pytest.raises(InputError, match="hamburger"):
        one.encode_texts(["a hamburger"])


def test_bad_input_is_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(retrieval, "load_encoder", lambda name: Known())
    foreign = tmp_path / "foreign.txt"
    foreign.write_text("  # a comment\na hamburger\n")
    for arguments, words in (
        (("--prompts", foreign), "serves none"),
        (("--prompts", foreign, "--set", "mesh.formats=obj"), "GLB"),
        ((), "either a folder"),
        ((tmp_path,), "no finished asset"),
        ((tmp_path, "--prompts", "reporting"), "either a folder"),
        (("--prompts", tmp_path / "none.txt"), "development or reporting"),
    ):
        out = ("--out", tmp_path / "report", "--quiet")
        assert report.run_app(main.app, ["evaluate", *map(str, (*arguments, *out))]) == 2
        captured = capsys.readouterr()
        assert words in captured.err.splitlines()[-1] and captured.out == ""
    with pytest.raises(InputError, match="no finished asset"):
        load_subject(tmp_path)


def finished(folder, prompt, of=None):
    """A folder as text2mesh leaves it, with a true prop for a mesh (or another one)."""
    meaning = parse_with_rules(of or prompt).spec
    props = sample_objects_for_spec(meaning, 1, generator=torch.Generator().manual_seed(4))
    mesh = simplify(ground_truth_mesh(props, 0, 64), 3000)
    colours = np.array(meaning.part_colors())
    textured = bake_albedo(
        mesh, lambda p: colours[palette_indices(props, 0, p, meaning.material)].astype(np.float32), 128
    )
    folder.mkdir(parents=True)
    write_glb(scale_to_height(textured, 0.3), folder / f"{folder.name}.glb", folder.name, {})
    facts = mesh_quality(mesh)
    known = {k: getattr(facts, k) for k in ("components", "watertight", "genus")}
    record = {"prompt": prompt, "slug": folder.name, "mesh": known}
    (folder / "asset.json").write_text(json.dumps(record))


def test_kinds_that_lost_are_marked(tmp_path, capsys, monkeypatch):
    """Beside the weights; and the command that lists kinds leaves them out."""
    monkeypatch.setattr(retrieval, "load_encoder", lambda name: Known())
    folder = tiny_folder(tmp_path / "prior")
    finished(tmp_path / "assets" / "duck", "a duck", of="a blue chair")
    finished(tmp_path / "assets" / "mug", "a red mug with one handle")
    common = ["evaluate", str(tmp_path / "assets"), "--out", str(tmp_path / "report")]
    assert report.run_app(main.app, [*common, "--prior", str(folder), "--mark-weak"]) == 0
    assert "weak categories: duck" in capsys.readouterr().err
    kinds = ["vocabulary", "--prior", str(folder)]
    for arguments, listed in ((kinds, False), ([*kinds, "--all"], True)):
        assert report.run_app(main.app, arguments) == 0
        lines = capsys.readouterr().out.splitlines()
        assert any(line.startswith("duck") for line in lines) == listed
        assert any(line.startswith("mug") for line in lines)
    prior = load_prior(str(folder))
    assert any("weak at" in warning for warning in prior.check_prompt("a duck"))
    assert not any("weak at" in warning for warning in prior.check_prompt("a mug"))
    (folder / "weak_kinds.json").write_text("[]")
    assert report.run_app(main.app, kinds) == 2
    assert "weak_kinds.json is damaged" in capsys.readouterr().err


def test_evaluate_finished_assets(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(retrieval, "load_encoder", lambda name: Known())
    for name, prompt in (("red_mug", "a red mug with one handle"), ("blue_chair", "a blue chair")):
        finished(tmp_path / "assets" / name, prompt)
    # a renamed folder is judged, one without its GLB is named and left out
    (tmp_path / "assets" / "red_mug").rename(tmp_path / "assets" / "my mug")
    finished(tmp_path / "assets" / "broken", "a duck")
    (tmp_path / "assets" / "broken" / "broken.glb").write_bytes(b"")
    out = tmp_path / "report"
    assert report.run_app(main.app, ["evaluate", str(tmp_path / "assets"), "--out", str(out)]) == 0
    captured = capsys.readouterr()
    assert "skipped" in captured.err and "broken" in captured.err
    assert captured.out == f"{out / 'report.html'}\n"
    record = json.loads((out / "report.json").read_text())
    assert set(record["summary"]) == {"assets", "ground truth", "mislabeled"}
    found = record["summary"]["assets"]
    assert record["candidate_prompts"] == 62
    assert found["assets"] == 2 and found["kind_wins"] == found["genus_right"] == found["colours_right"] == 1
    assert record["summary"]["mislabeled"]["kind_wins"] == 0
    page = (out / "report.html").read_text()
    assert page.count("<div class=card>") == 2 and "a blue chair" in page and "http" not in page
    assert sorted(p.name for p in out.iterdir()) == ["report.html", "report.json"]
