"""The weights determine the asset, not the name of their prior."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from dreamfusion3d.core import files
from dreamfusion3d.core.config import resolve_config
from dreamfusion3d.core.progress import QuietProgress
from dreamfusion3d.pipelines.export import export_run
from dreamfusion3d.pipelines.text_to_mesh import text_to_mesh
from dreamfusion3d.priors.vocabulary import embedded_folder

TINY_SETTINGS = ["optim.steps=4", "mesh.grid_resolution=48", "mesh.max_faces=1500", "mesh.texture_size=64"]


def test_text_to_mesh_with_a_copy_of_the_embedded_prior(tmp_path: Path) -> None:
    copy = tmp_path / "weights" / "mine"
    shutil.copytree(embedded_folder(), copy)
    before = torch.get_rng_state()
    assets = [
        text_to_mesh(
            "a pink donut",
            out=tmp_path / name,
            config=resolve_config("draft", None, TINY_SETTINGS, prior__name=prior),
            progress=QuietProgress(),
        )
        for name, prior in (("embedded", None), ("copy", str(copy)))
    ]
    one, two = (files.file_sha256(asset.main_file) for asset in assets)
    assert one == two
    assert assets[1].record.prior["name"] == "mine"
    assert torch.equal(torch.get_rng_state(), before), "the global generator is the caller's"
    assert files.file_sha256(export_run(assets[1].folder, "glb")[0]) == one
