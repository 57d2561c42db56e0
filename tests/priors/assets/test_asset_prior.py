"""A prior trained on a folder of meshes: from metadata.jsonl to assets."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
import trimesh

from dreamfusion3d.cli.main import app
from dreamfusion3d.cli.report import run_app
from dreamfusion3d.core.config import resolve_config
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.progress import QuietProgress
from dreamfusion3d.pipelines.text_to_mesh import text_to_mesh
from dreamfusion3d.priors.assets import train, train_command
from dreamfusion3d.priors.assets.metadata import LibraryRecord, read_asset_metadata
from dreamfusion3d.priors.assets.model import TRAINING_COMMAND, AssetEntry, AssetModel, read_index, write_index
from dreamfusion3d.priors.assets.network import AssetNetwork
from dreamfusion3d.priors.assets.recolor import paint_palette, paint_words
from dreamfusion3d.priors.loading import load_pixel_prior
from dreamfusion3d.priors.vocabulary import ASSETS_FOLDER
from dreamfusion3d.priors.weights import load_network

GENERATOR = torch.Generator()


def write_library(folder: Path, lines: list[dict]) -> Path:
    """Colored primitives with the metadata ``lines``; the file's name says which."""
    folder.mkdir(parents=True, exist_ok=True)
    for line in lines:
        name = Path(line["file_name"]).stem
        mesh = trimesh.creation.icosphere(2) if "ball" in name else trimesh.creation.box([1, 0.4, 0.4])
        color = [200, 30, 30, 255] if "red" in name else [30, 30, 200, 255]
        mesh.visual.vertex_colors = [color] * len(mesh.vertices)
        mesh.export(folder / line["file_name"])
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


LINES = [
    {"file_name": "red_ball.ply", "text": "a gizmo", "creator": "Ada", "license": "CC0-1.0", "height_m": 0.3},
    {"file_name": "blue_ball.ply", "text": "a gizmo"},
    {"file_name": "blue_beam.ply", "text": "a beam of steel"},
]


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    return write_library(tmp_path_factory.mktemp("parent") / "things", LINES)


@pytest.fixture(scope="module")
def prior_folder(library, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("prior") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_command, "SURFACE_POINTS", 10_000)
        patch.setattr(train, "TRAINING_POINTS", 20_000)
        patch.setattr(train, "BATCH_SIZE", 1024)
        train_command.train_asset_folder(
            out, library, init_from="scratch", steps=150, seed=0, progress=QuietProgress(), workers=1
        )
    return out


def test_the_networks_learn_shape_and_color(prior_folder):
    for path in (prior_folder / ASSETS_FOLDER).glob("*.safetensors"):
        accuracy = load_network(AssetNetwork, path, TRAINING_COMMAND)[1]["accuracy"]
        assert accuracy["angle_deg"] < 15 and accuracy["right_color"] > 0.9 and accuracy["distance"] < 0.01


def test_finished_networks_are_kept_until_the_mesh_changes(prior_folder, library, monkeypatch):
    def fail(*_: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(train_command, "read_asset_surface", fail)
    folder = prior_folder / ASSETS_FOLDER
    jobs = [train_command.AssetJob(folder, library, entry, 100, 0) for entry in read_index(folder)]
    assert all("angle_deg" in train_command.train_asset(job) for job in jobs)
    changed = write_library(library.parent / "changed" / library.name, LINES)
    trimesh.creation.box().export(changed / "red_ball.ply")
    with pytest.raises(AssertionError, match="again"):
        train_command.train_asset(train_command.AssetJob(folder, changed, jobs[0].entry, 100, 0))


def test_a_seed_draws_one_of_the_models_with_its_credits(prior_folder):
    prior = load_pixel_prior(str(prior_folder))
    drawn = [prior.sample_solid("a gizmo", generator=GENERATOR.manual_seed(seed)) for seed in range(12)]
    assert {solid.instance["asset"] for solid in drawn} == {"things_red_ball", "things_blue_ball"}
    red = next(solid for solid in drawn if solid.instance["asset"] == "things_red_ball")
    assert red.instance["file_name"] == "red_ball.ply" and red.instance["text"] == "a gizmo"
    assert red.instance["creator"] == "Ada" and red.instance["license"] == "CC0-1.0"
    assert red.height is not None and red.height.meters == 0.3
    point = torch.tensor([[0.5, 0, 0]])
    assert red.albedo(point)[0].tolist() == pytest.approx([0.78, 0.12, 0.12], abs=0.1)


def test_an_asset_is_made_from_it_without_optimization(prior_folder, tmp_path):
    config = resolve_config("instant", sets=[f"prior.name={prior_folder}", "mesh.grid_resolution=48"])
    asset = text_to_mesh("a beam of steel", out=tmp_path, config=config, device="cpu")
    record = json.loads((asset.folder / "asset.json").read_text())
    assert record["instance"]["file_name"] == "blue_beam.ply" and record["mesh"]["watertight"]


def test_other_words_are_reported_and_colors_are_painted(prior_folder):
    prior = load_pixel_prior(str(prior_folder))
    assert prior.check_solid("a green gizmo") == []
    assert prior.check_solid("a furry gizmo") == ["this prior ignores the words 'furry'"]
    green = prior.sample_solid("a green gizmo", generator=GENERATOR.manual_seed(0))
    red, g, blue = green.albedo(torch.tensor([[0.5, 0, 0]]))[0].tolist()
    assert g > max(red, blue)


def test_a_prior_of_assets_alone_names_them_and_cannot_optimize(prior_folder):
    prior = load_pixel_prior(str(prior_folder))
    with pytest.raises(InputError, match="knows no shape for 'a pitcher'.*a gizmo, a beam of steel"):
        prior.check_solid("a pitcher")
    with pytest.raises(InputError, match="no image model"):
        prior.check_prompt("a pitcher")
    assert prior.sha256 and not prior.knows_solid("a pitcher")


@pytest.mark.parametrize(("preferred", "drawn"), [(True, "asset"), (False, "style")])
def test_an_asset_precedes_a_category_if_it_is_preferred(prior_folder, preferred, drawn):
    prior = load_pixel_prior()
    prior.assets = AssetModel(prior_folder / ASSETS_FOLDER)
    prior.assets.entries = [AssetEntry("things_blue_beam", LibraryRecord("mug.ply", "a mug", {}), "", preferred)]
    solid = prior.sample_solid("a mug", generator=GENERATOR.manual_seed(0))
    assert ("asset" in solid.instance) == (drawn == "asset")
    # a handle is no word of the library
    assert "asset" not in prior.sample_solid("a mug with one handle", generator=GENERATOR.manual_seed(0)).instance


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "is not a JSON object"),
        ('{"text": "a box"}', "has no file_name"),
        ('{"file_name": "red_ball.ply"}', "has no text"),
        ('{"file_name": "red_ball.ply", "text": "a the"}', "does not say what"),
        ('{"file_name": "absent.ply", "text": "a box"}', "is not in"),
        ('{"file_name": "metadata.jsonl", "text": "a box"}', "is no mesh file"),
        ('{"file_name": "red_ball.ply", "text": "a box", "height_m": -1}', "height_m must be a number of meters"),
        ('{"file_name": "red_ball.ply", "text": "a box", "height_m": true}', "height_m must be a number of meters"),
    ],
)
def test_bad_lines_are_named(tmp_path, line, message):
    folder = write_library(tmp_path, LINES[:1])
    with open(folder / "metadata.jsonl", "a") as stream:
        stream.write(line + "\n")
    with pytest.raises(InputError, match=f"line 2 of .*{message}"):
        read_asset_metadata(folder)


@pytest.mark.parametrize("content", ["", "{}", '{"assets": [{"name": "x"}]}'])
def test_a_damaged_index_is_one_line(prior_folder, tmp_path, content):
    (tmp_path / ASSETS_FOLDER).mkdir()
    (tmp_path / ASSETS_FOLDER / "index.json").write_text(content)
    with pytest.raises(InputError, match=r"index.json is damaged"):
        load_pixel_prior(str(tmp_path))


def test_files_of_one_name_get_networks_of_their_own():
    records = [LibraryRecord(name, "a box", {}) for name in ("a/box.glb", "a-box.glb", "c.glb")]
    names = [entry.name for entry in train_command.name_entries(records, "props")]
    assert len(set(names)) == 3 and names[2] == "props_c"


def test_painting_keeps_shades_and_other_hues():
    palette = torch.tensor([[0.6, 0.3, 0.1, 0.5, 0], [0.3, 0.15, 0.05, 0.5, 0], [0.2, 0.3, 0.9, 0.5, 0]])
    painted = paint_palette(palette, ["red"])
    assert torch.equal(painted[2], palette[2]) and torch.equal(painted[:, 3:], palette[:, 3:])
    torch.testing.assert_close(painted[1, :3], painted[0, :3] / 2)
    assert torch.equal(paint_palette(palette, []), palette)


def test_a_material_keeps_the_color_that_is_named():
    palette = torch.tensor([[0.6, 0.3, 0.1, 0.5, 0], [0.2, 0.3, 0.9, 0.5, 0]])
    assert paint_words(["red", "metal", "blue"]) == ["metal", "red"]
    painted = paint_palette(palette, ["metal", "red"])
    assert painted[:, 4].tolist() == [1, 0]
    torch.testing.assert_close(painted[0, :3], paint_palette(palette, ["red"])[0, :3])


def test_a_black_asset_is_painted():
    painted = paint_palette(torch.zeros(1, 5), ["white"])
    assert painted[0, :3].min() > 0.8


def test_a_network_mixes_its_palette():
    network = AssetNetwork(2)
    network.palette.copy_(torch.eye(2, 5))
    mixed = network.mix(torch.tensor([[10.0, -10.0], [0.0, 0.0]]))
    torch.testing.assert_close(mixed, torch.tensor([[1.0, 0, 0, 0, 0], [0.5, 0.5, 0, 0, 0]]), atol=1e-4, rtol=0)


def test_a_second_library_is_added_to_the_first_and_a_changed_one_replaces_itself(prior_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(train_command, "train_asset", lambda job: {"angle_deg": 0.0, "right_color": 1.0})
    options = {"steps": 1, "seed": 0, "progress": QuietProgress(), "workers": 1}

    def train_and_list(library: Path, init_from: str) -> list[tuple[str, str]]:
        train_command.train_asset_folder(tmp_path / "out", library, init_from=init_from, **options)
        return [(entry.library, entry.record.text) for entry in read_index(tmp_path / "out" / ASSETS_FOLDER)]

    marbles = write_library(tmp_path / "marbles", [{"file_name": "blue_ball.ply", "text": "a marble"}])
    of_things = [("things", line["text"]) for line in LINES]
    assert train_and_list(marbles, str(prior_folder)) == [*of_things, ("marbles", "a marble")]
    assert (tmp_path / "out" / ASSETS_FOLDER / "things_red_ball.safetensors").is_file()
    write_library(marbles, [{"file_name": "blue_ball.ply", "text": "a glass marble"}])
    assert train_and_list(marbles, "scratch") == [*of_things, ("marbles", "a glass marble")]


def test_the_digest_covers_captions_and_heights(prior_folder, tmp_path):
    from dreamfusion3d.priors.pixel.prior import pixel_prior_sha256

    copied = shutil.copytree(prior_folder, tmp_path / "prior")
    entries = read_index(copied / ASSETS_FOLDER)
    before = pixel_prior_sha256(copied)
    taller = dataclasses.replace(entries[0], record=dataclasses.replace(entries[0].record, height_m=3.0))
    write_index(copied / ASSETS_FOLDER, [taller, *entries[1:]])
    assert pixel_prior_sha256(copied) != before


def test_a_damaged_network_is_trained_again(prior_folder, library, tmp_path, monkeypatch):
    folder = shutil.copytree(prior_folder, tmp_path / "prior") / ASSETS_FOLDER
    entry = read_index(folder)[0]
    (folder / f"{entry.name}.safetensors").write_bytes(b"torn")
    monkeypatch.setattr(train_command, "SURFACE_POINTS", 2_000)
    monkeypatch.setattr(train, "TRAINING_POINTS", 4_000)
    train_command.train_asset(train_command.AssetJob(folder, library, entry, 2, 0))
    assert load_network(AssetNetwork, folder / f"{entry.name}.safetensors", TRAINING_COMMAND)[1]["steps"] == 2


def test_poor_networks_are_warned_of(library, tmp_path, monkeypatch):
    monkeypatch.setattr(train_command, "train_asset", lambda job: {"angle_deg": float("nan"), "right_color": 1.0})
    progress = QuietProgress()
    warnings: list[str] = []
    monkeypatch.setattr(progress, "warn", warnings.append)
    options = {"steps": 1, "seed": 0, "progress": progress, "workers": 1}
    train_command.train_asset_folder(tmp_path / "out", library, init_from="scratch", **options)
    assert len(warnings) == len(LINES) and "red_ball.ply is learned poorly" in warnings[0]


@pytest.mark.parametrize(
    ("prompt", "note"),
    [
        ("a 20 cm wide gizmo", "only the height"),
        ("a toy gizmo", "ignores the words 'toy'"),
        ("a red and blue gizmo", "ignores the words 'blue'"),
        ("a gizmo with a red lid", "ignores the words 'red', 'lid'"),
    ],
)
def test_what_has_no_effect_on_an_asset_is_said(prior_folder, prompt, note):
    (warning,) = load_pixel_prior(str(prior_folder)).check_solid(prompt)
    assert note in warning


def test_a_stated_height_precedes_that_of_the_asset(prior_folder):
    prior = load_pixel_prior(str(prior_folder))
    height = prior.object_height("a 20 cm gizmo")
    assert height is not None and height.meters == 0.2 and prior.object_height("a gizmo") is None


def test_the_vocabulary_lists_and_draws_captions(prior_folder, tmp_path, capsys):
    page = tmp_path / "words.html"
    assert run_app(app, ["vocabulary", "--prior", str(prior_folder), "--html", str(page)]) == 0
    assert "assets of its library: a gizmo, a beam of steel" in capsys.readouterr().out
    entries = json.loads(re.search(r"const entries = (.*);\n", page.read_text())[1])
    assert [(entry["noun"], entry["description"]) for entry in entries] == [
        ("gizmo", "from a library; 2 of them"),
        ("beam", "from a library"),
    ]
    assert entries[1]["command"] == f'text2mesh "a beam of steel" --prior {prior_folder}'
    assert run_app(app, ["vocabulary", "--prior", str(prior_folder), "--image", str(tmp_path / "words.png")]) == 2
    assert "--html draws its assets" in capsys.readouterr().err


def test_a_prior_of_assets_alone_has_no_image_model_to_train_further(prior_folder, tmp_path, capsys):
    command = ["train-prior", str(tmp_path / "out"), "--init-from", str(prior_folder), "--num-images", "24"]
    assert run_app(app, command) == 2 and "has no image model to train further" in capsys.readouterr().err
