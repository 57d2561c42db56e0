"""The sheet of several seeds."""

from __future__ import annotations

import base64
import json
import re
import shutil

import imageio.v3 as imageio
import numpy as np
import pytest
import torch

from cli.main import app
from cli.report import run_app
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.pipelines.seed_sheet import label_cells, preview_mesh, write_seed_sheet
from dreamfusion3d.priors.null import NullPrior
from dreamfusion3d.priors.vocabulary import embedded_folder
from dreamfusion3d.procedural.categories import CATEGORIES
from tests.support.solids import Box


def test_a_preview_has_the_color_of_each_face():
    class Halves(Box):
        def appearance(self, x):
            top = (x[:, 1:2] > 0).float()
            return torch.cat([top, 0 * top, 1 - top, 0.25 + 0.5 * top, top], 1)

    mesh = preview_mesh(Halves(), torch.device("cpu"), 32)
    height = mesh.texture.shape[0]
    row, column = ((1 - mesh.uv[:, 1]) * height).astype(int), (mesh.uv[:, 0] * height).astype(int)
    is_top = mesh.vertices.reshape(-1, 3, 3)[..., 1].mean(1).repeat(3) > 0
    red = mesh.texture[row, column, 0] == 255
    assert (red == is_top).all() and 0.3 < red.mean() < 0.7
    assert (mesh.metallic_roughness[row, column][is_top] == [191, 255]).all()
    # normals are split: those of flat faces are along an axis
    assert (np.abs(mesh.normals).max(1) > 0.99).mean() > 0.9


def test_cells_are_in_reading_order():
    images = [np.full((40, 40, 3), 50 * i, np.uint8) for i in range(5)]
    sheet = label_cells(images, [""] * 5, columns=4)
    assert sheet.shape == (80, 160, 3)
    assert [int(sheet[20 + 40 * (i // 4), 20 + 40 * (i % 4), 0]) for i in range(5)] == [0, 50, 100, 150, 200]


def test_seeds_are_other_objects_and_the_sheet_repeats(tmp_path, capsys):
    arguments = ["generate", "an apple", "--seeds", "2", "--seed", "3", "--out", str(tmp_path), "--device", "cpu"]
    assert run_app(app, [*arguments, "--quiet"]) == 0
    path = tmp_path / "an_apple_seeds.png"
    assert capsys.readouterr().out == f"{path}\n"
    image = imageio.imread(path)
    left, right = np.split(image.astype(int), 2, axis=1)
    assert np.abs(left - right).max() > 100
    again = write_seed_sheet("an apple", [3, 4], out=tmp_path / "again", device="cpu")
    np.testing.assert_array_equal(imageio.imread(again), image)


def test_the_vocabulary_page_shows_each_style(tmp_path, capsys):
    folder = tmp_path / "prior"
    shutil.copytree(embedded_folder(), folder, ignore=shutil.ignore_patterns("shapes", "assets"))
    (folder / "shapes").mkdir()
    shutil.copy(embedded_folder() / "shapes" / "jar.safetensors", folder / "shapes")
    page = tmp_path / "words.html"
    assert run_app(app, ["vocabulary", "--prior", str(folder), "--html", str(page)]) == 0
    assert "jar" in capsys.readouterr().out
    entries = json.loads(re.search(r"const entries = (.*);\n", page.read_text())[1])
    assert [entry["noun"] for entry in entries] == CATEGORIES["jar"].style_names
    for entry in entries:
        image = imageio.imread(base64.b64decode(entry["image"].split(",")[1]))
        assert image.shape == (160, 160, 3) and image.std() > 10
        assert entry["command"] == f'text2mesh "a {entry["noun"]}" --prior {folder}'
    assert run_app(app, ["vocabulary", "--html", str(tmp_path / "words.txt")]) == 2
    assert "must be an HTML file" in capsys.readouterr().err


def test_bad_requests_are_one_line(tmp_path, capsys, monkeypatch):
    assert run_app(app, ["generate", "a mug", "--seeds", "65"]) == 2
    assert run_app(app, ["generate", "a mug", "--seeds", "2", "--init", "x.glb"]) == 2
    error = capsys.readouterr().err
    assert "between 1 and 64" in error and "--init cannot be combined with --seeds" in error
    monkeypatch.setattr("dreamfusion3d.priors.loading.load_prior", lambda *_, **__: NullPrior("a mug"))
    with pytest.raises(InputError, match="batch --seeds"):
        write_seed_sheet("a mug", [0], out=tmp_path)
    assert not list(tmp_path.iterdir())
