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
from dreamfusion3d.evaluation.color import judge_colours, surface
from dreamfusion3d.evaluation.consistency import REPEATED, judge_consistency
from dreamfusion3d.evaluation.geometry import bank, judge_geometry, nearest
from dreamfusion3d.evaluation.ground_truth import ground_truth_mesh, painted, parts_at, true_mesh, true_solid
from dreamfusion3d.evaluation.subject import Evidence, of_folder, of_truth
from dreamfusion3d.evaluation.voxels import REACH, axis, centred, iou, solid
from dreamfusion3d.mesh.bake import bake
from dreamfusion3d.mesh.clean import welded
from dreamfusion3d.mesh.io.axes import place
from dreamfusion3d.mesh.io.gltf import write_glb
from dreamfusion3d.mesh.quality import quality
from dreamfusion3d.mesh.simplify import simplify
from dreamfusion3d.priors.image_text import train
from dreamfusion3d.priors.image_text.embedded_clip import Judge, JudgeNet
from dreamfusion3d.priors.image_text.train import one_changed
from dreamfusion3d.priors.loading import load_prior
from dreamfusion3d.priors.pixel.conditioner import world_vocabulary
from dreamfusion3d.procedural.categories import KINDS
from dreamfusion3d.procedural.dataset import make
from dreamfusion3d.procedural.objects import Meaning, meant_instances
from dreamfusion3d.procedural.prompt_rules import read
from tests.support.shapes import mesh_of, sphere, torus
from tests.support.tiny import tiny_folder

FEW = ["mug", "chair", "barrel", "duck"]


@pytest.fixture(autouse=True)
def few_kinds(monkeypatch):
    """Some kinds compete instead of all: their true props take a while to make."""
    monkeypatch.setattr(geometry, "KINDS", {name: KINDS[name] for name in [*FEW, "vase"]})


def truth(prompt, seed=3):
    meaning = read(prompt).meaning
    assert meaning is not None
    return of_truth(prompt, meaning, seed=seed), meaning


@pytest.mark.parametrize("shape", [lambda p: sphere(p, 0.6), torus])
def test_a_solid_is_the_inside_of_its_mesh(shape):
    mesh = mesh_of(shape, 80, 20_000)
    line = axis(32)
    placed = centred(mesh)
    scale = np.ptp(mesh.vertices, axis=0).max() / (2 * REACH)
    middle = (mesh.vertices.min(0) + mesh.vertices.max(0)) / 2
    grid = np.stack(np.meshgrid(line, line, line, indexing="ij"), -1).reshape(-1, 3) * scale + middle
    inside = (shape(grid) < 0).reshape(32, 32, 32)
    # a voxel within a cell of the surface may fall either way
    assert np.count_nonzero(solid(placed, 32) != inside) < 0.02 * inside.sum()


def test_overlap():
    a, b = np.zeros((2, 2, 2), bool), np.zeros((2, 2, 2), bool)
    assert iou(a, b) == 0
    a[0] = b[:, 0] = True
    assert iou(a, b) == pytest.approx(2 / 6) and iou(a, a) == 1


def test_a_true_solid_is_that_of_its_mesh():
    props = meant_instances(Meaning("mug", count=1), 1, generator=torch.Generator().manual_seed(0))
    by_mesh = solid(centred(true_mesh(props, 0, Meaning("mug", count=1))))
    assert iou(by_mesh, true_solid(props, 0)) > 0.8, "walls are three voxels thick"


def test_a_true_prop_is_its_kind_and_another_is_not():
    for prompt in ("a mug", "a chair", "a duck"):
        evidence, meaning = truth(prompt)
        found = judge_geometry(evidence, meaning, FEW)
        assert found.kind_wins and found.genus_right and found.components == 1 and found.watertight
        other = read("a barrel").meaning
        assert not judge_geometry(evidence, other, FEW).kind_wins


def test_the_nearest_instance_has_the_asked_form():
    evidence, meaning = truth("a mug with two handles and a lid")
    best = nearest(evidence, meaning)
    assert float(best.props.count[0]) == 2 and float(best.props.option[0]) == 1
    props, solids = bank("mug", "normal")
    assert best.overlap == max(iou(evidence.solid, s) for s in (
        solids[i] for i in range(len(props)) if props.count[i] == 2 and props.option[i] == 1))


def colours_of(evidence, meaning):
    props = nearest(evidence, meaning).props
    return judge_colours(evidence, meaning, props, true_mesh(props, 0, meaning, 72))


@pytest.mark.parametrize(
    "prompt", ["a red mug with a blue handle", "a green striped vase", "a purple wooden chair"]
)
def test_colours_of_a_true_prop_are_right_and_others_wrong(prompt):
    evidence, meaning = truth(prompt)
    found = colours_of(evidence, meaning)
    assert found and all(c.right and c.share > 0.6 for c in found)
    wrong = colours_of(evidence, dataclasses.replace(meaning, colour="yellow"))
    assert not wrong[0].right


def test_unnamed_colours_are_not_judged():
    assert colours_of(*truth("a mug")) == []


def test_surface_points_carry_the_texture():
    points, colours = surface(_two_coloured(), 2000)
    assert np.abs(np.linalg.norm(points, axis=1) - 0.5).max() < 0.03
    right = points[:, 0] > 0.1
    assert (colours[right] == [1, 0, 0]).all() and (colours[points[:, 0] < -0.1] == [0, 0, 1]).all()


def _two_coloured():
    ball = mesh_of(lambda p: sphere(p, 0.5), 40)
    side = (ball.vertices[ball.faces].mean(1)[:, 0] < 0).astype(np.int64)
    return painted(ball, side, [(1.0, 0.0, 0.0), (0.0, 0.0, 1.0)])


def test_a_planted_second_face_is_found():
    """The front half of a duck, mirrored to the back: a duck with two faces."""
    evidence, _ = truth("a duck")
    mesh = evidence.mesh
    front = mesh.vertices[mesh.faces].mean(1)[:, 2] > 0
    half = mesh.faces[front]
    mirrored = mesh.vertices * [1, 1, -1]
    two_faced = dataclasses.replace(
        mesh, vertices=np.concatenate([mesh.vertices, mirrored]),
        normals=np.concatenate([mesh.normals, mesh.normals * [1, 1, -1]]), uv=np.tile(mesh.uv, (2, 1)),
        faces=np.concatenate([half, half[:, ::-1] + len(mesh.vertices)]),
    )
    planted = Evidence(evidence.prompt, two_faced, evidence.facts)
    honest = judge_consistency(evidence, evidence)
    assert honest.score == 0 and not honest.repeats_a_front
    found = judge_consistency(planted, evidence)
    assert found.repeats_a_front and found.score > REPEATED
    assert found.azimuth_deg[int(np.argmax(found.excess))] == pytest.approx(180, abs=46)
    # another instance of the same kind is no second face
    other, _ = truth("a duck", seed=9)
    assert not judge_consistency(other, evidence).repeats_a_front


def test_welding_joins_what_lies_at_one_place():
    ball = _two_coloured()
    joined = welded(ball)
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
    assert retrieval.ranks(likeness, [0, 1, 2]) == [1, 2, 3], "a tie counts against the asset"
    assert retrieval.r_precision([1, 2, 3]) == pytest.approx(1 / 3)
    red, blue = (np.zeros((2, 8, 8, 4)) for _ in range(2))
    red[..., 0] = blue[..., 2] = red[..., 3] = blue[..., 3] = 1
    found = retrieval.scores(Known(), [red, blue], ["a red mug", "a blue mug"])
    assert retrieval.ranks(found, [0, 1]) == [1, 1]


def test_verdicts_and_calibration():
    assets = [truth("a red mug")[0], truth("a blue chair")[0]]
    *counts, (total, verdicts) = evaluate.judge_all(assets, Known(), ["a green duck"])
    assert [n for n, _ in counts] == [1, 2] and total == 2 and verdicts is not None
    figures = evaluate.summary(verdicts)
    assert figures["assets"] == 2 and figures["colours_right"] == 1.0 and figures["watertight"] == 1.0
    assert figures["kind_wins"] == 1.0 and figures["r_precision"] == 1.0
    json.dumps([v.as_dict() for v in verdicts])
    wrong = evaluate.misnamed(assets)
    assert [w.prompt for w in wrong] == ["a blue chair", "a red mug"]
    *_, (_, wrong_verdicts) = evaluate.judge_all(wrong, Known())
    lower = evaluate.summary(wrong_verdicts)
    assert evaluate.weak_kinds(verdicts) == []
    assert evaluate.weak_kinds(wrong_verdicts) == ["chair", "mug"]
    assert evaluate.weak_kinds([*verdicts, wrong_verdicts[0]]) == [], "half of the chairs won"
    assert lower["kind_wins"] == 0.0 and lower["r_precision"] == 0.0 and lower["colours_right"] == 0.0
    assert [e.prompt for e in evaluate.perfect(["a red mug", "a hamburger"])] == ["a red mug"]


def test_prompts_that_mean_the_same_are_one():
    assets = [truth("a red mug")[0], truth("a blue chair")[0]]
    *_, (_, verdicts) = evaluate.judge_all(assets, Known(), ["a red cup", "a scarlet mug"])
    assert [v.place for v in verdicts] == [1, 1]


def test_a_twin_sentence_differs_in_one_visible_thing():
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        meaning = Meaning("vase", "red")
        twin = one_changed(meaning, generator=generator)
        slots = [f.name for f in dataclasses.fields(Meaning)]
        changed = [name for name in slots if getattr(twin, name) != getattr(meaning, name)]
        assert len(changed) == 1 and changed[0] not in ("kind", "second_colour", "option")


def test_the_judge_learns(monkeypatch):
    monkeypatch.setattr(train, "PICTURES", 12)
    *_, (_, data) = make(12, 2, kinds=["mug", "duck"], generator=torch.Generator().manual_seed(0))
    net = JudgeNet(world_vocabulary(), (8, 8, 16, 16))
    run = train.train_judge(net, data, steps=40, rate=5e-3, generator=torch.Generator().manual_seed(0))
    losses = [loss for _, loss, _ in run]
    assert sum(losses[-8:]) < 0.85 * sum(losses[:8])


def test_lists_are_those_of_the_grammar_and_apart():
    both = [prompt_lists.prompts(name) for name in prompt_lists.NAMES]
    for name, found in zip(prompt_lists.NAMES, both, strict=True):
        assert found == prompt_lists.make(name) and len(found) == prompt_lists.LENGTH
        assert all(read(p).meaning and not read(p).unknown and not read(p).notes for p in found)
    assert not set(both[0]) & set(both[1])
    with pytest.raises(InputError, match="development or reporting"):
        prompt_lists.prompts("nowhere.txt")


def test_the_judge_net_round_trip(tmp_path):
    net = JudgeNet(["kind:mug", "colour:red"], (8, 8, 16, 16))
    net.save(tmp_path / "net")
    one, other = Judge(net), Judge(JudgeNet.load(tmp_path / "net"))
    views = np.random.default_rng(0).random((2, 64, 64, 4)).astype(np.float32)
    np.testing.assert_allclose(one.pictures(views), other.pictures(views), atol=1e-2)
    assert np.linalg.norm(one.sentences(["a red mug"]), axis=1) == pytest.approx(1, abs=1e-5)
    with pytest.raises(InputError, match="hamburger"):
        one.sentences(["a hamburger"])


def test_bad_input_is_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(retrieval, "load_encoder", lambda name: Known())
    foreign = tmp_path / "foreign.txt"
    foreign.write_text("  # a comment\na hamburger\n")
    for arguments, words in (
        (("--prompts", foreign), "serves none"),
        (("--prompts", foreign, "--set", "mesh.formats=obj"), "GLB"),
        ((), "either a folder"), ((tmp_path,), "no finished asset"),
        ((tmp_path, "--prompts", "reporting"), "either a folder"),
        (("--prompts", tmp_path / "none.txt"), "development or reporting"),
    ):
        out = ("--out", tmp_path / "report", "--quiet")
        assert report.run(main.app, ["evaluate", *map(str, (*arguments, *out))]) == 2
        captured = capsys.readouterr()
        assert words in captured.err.splitlines()[-1] and captured.out == ""
    with pytest.raises(InputError, match="no finished asset"):
        of_folder(tmp_path)


def finished(folder, prompt, of=None):
    """A folder as text2mesh leaves it, with a true prop for a mesh (or another one)."""
    meaning = read(of or prompt).meaning
    props = meant_instances(meaning, 1, generator=torch.Generator().manual_seed(4))
    mesh = simplify(ground_truth_mesh(props, 0, 64), 3000)
    colours = np.array(meaning.paints())
    textured = bake(mesh, lambda p: colours[parts_at(props, 0, p, meaning.finish)].astype(np.float32), 128)
    folder.mkdir(parents=True)
    write_glb(place(textured, 0.3), folder / f"{folder.name}.glb", folder.name, {})
    facts = quality(mesh)
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
    assert report.run(main.app, [*common, "--prior", str(folder), "--mark-weak"]) == 0
    assert "weak kinds: duck" in capsys.readouterr().err
    kinds = ["kinds", "--prior", str(folder)]
    for arguments, listed in ((kinds, False), ([*kinds, "--all"], True)):
        assert report.run(main.app, arguments) == 0
        lines = capsys.readouterr().out.splitlines()
        assert any(line.startswith("duck") for line in lines) == listed
        assert any(line.startswith("mug") for line in lines)
    prior = load_prior(str(folder))
    assert any("poorly" in warning for warning in prior.check_prompt("a duck"))
    assert not any("poorly" in warning for warning in prior.check_prompt("a mug"))
    (folder / "weak_kinds.json").write_text("[]")
    assert report.run(main.app, kinds) == 2
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
    assert report.run(main.app, ["evaluate", str(tmp_path / "assets"), "--out", str(out)]) == 0
    captured = capsys.readouterr()
    assert "left out" in captured.err and "broken" in captured.err
    assert captured.out == f"{out / 'report.html'}\n"
    record = json.loads((out / "report.json").read_text())
    assert set(record["summary"]) == {"assets", "true props", "misnamed"}
    found = record["summary"]["assets"]
    assert record["rivals"] == 62
    assert found["assets"] == 2 and found["kind_wins"] == found["genus_right"] == found["colours_right"] == 1
    assert record["summary"]["misnamed"]["kind_wins"] == 0
    page = (out / "report.html").read_text()
    assert page.count("<div class=card>") == 2 and "a blue chair" in page and "http" not in page
    assert sorted(p.name for p in out.iterdir()) == ["report.html", "report.json"]
