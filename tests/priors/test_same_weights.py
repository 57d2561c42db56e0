"""The weights make the asset, not the name by which they are asked for."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from dreamfusion3d.core import files
from dreamfusion3d.core.config import resolve
from dreamfusion3d.core.progress import Quiet
from dreamfusion3d.pipelines.export import export
from dreamfusion3d.pipelines.text_to_mesh import text_to_mesh
from dreamfusion3d.priors.vocabulary import embedded_folder

SETS = ["optim.steps=4", "mesh.resolution=48", "mesh.faces=1500", "mesh.texture_size=64"]


def test_a_copy_of_the_embedded_prior_gives_the_same_file(tmp_path: Path) -> None:
    copy = tmp_path / "weights" / "mine"
    shutil.copytree(embedded_folder(), copy)
    before = torch.get_rng_state()
    made = [
        text_to_mesh(
            "a pink donut", out=tmp_path / name, config=resolve("draft", None, SETS, prior__name=prior),
            progress=Quiet(),
        )
        for name, prior in (("shipped", None), ("copy", str(copy)))
    ]
    one, two = (files.sha256(asset.main) for asset in made)
    assert one == two
    assert made[1].record["prior"]["name"] == "mine"
    assert torch.equal(torch.get_rng_state(), before), "the global generator is the caller's"
    assert files.sha256(export(made[1].folder, "glb")[0]) == one
