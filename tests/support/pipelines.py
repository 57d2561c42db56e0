"""Pipelines without training or weights, and the folders that they leave."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dreamfusion3d.core import files
from dreamfusion3d.core.config import Config, config_to_dict, resolve_config
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.progress import QuietProgress
from dreamfusion3d.core.types import TexturedMesh
from dreamfusion3d.mesh.io.axes import scale_to_height
from dreamfusion3d.mesh.io.formats import asset_extras, write_asset
from dreamfusion3d.pipelines import surface_extraction
from dreamfusion3d.pipelines.asset_record import Asset, AssetRecord
from dreamfusion3d.pipelines.stages import load_or_compute
from dreamfusion3d.pipelines.text_to_mesh import text_to_mesh
from dreamfusion3d.priors.protocol import TextEmbedding
from dreamfusion3d.rendering import turntable
from dreamfusion3d.training.loop import Step

TINY_SETTINGS = [
    "mesh.grid_resolution=32",
    "mesh.max_faces=500",
    "mesh.texture_size=64",
    "optim.steps=3",
    "field.init=volume",
]
FINISHED_RUN_HEIGHT = 0.5  # meters


class FakePrior:
    """A prior that knows every prompt but "quixnar" and is never trained with."""

    name, sha256, camera_conditioned = "fake", "0" * 64, True

    def check_prompt(self, prompt: str) -> list[str]:
        if "quixnar" in prompt:
            raise InputError("this prior does not know 'quixnar'")
        return ["'shiny' is ignored"] if "shiny" in prompt else []

    def encode_text(self, prompts: list[str]) -> TextEmbedding:
        return TextEmbedding(torch.zeros(len(prompts), 1))

    def alpha_sigma(self, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        raise NotImplementedError

    def encode(self, render: Any, *, generator: torch.Generator) -> torch.Tensor:
        raise NotImplementedError

    def denoise(self, *_: Any, views: int = 1) -> torch.Tensor:
        raise NotImplementedError


def fake_distill_field(field: Any, prior: Any, prompts: Any, config: Config, **_: Any) -> Iterator[Step]:
    """Take steps that leave the field at its initialization, DreamFusion's blob."""
    total = config.optim.steps
    for index in range(1, total + 1):
        yield Step(index, total, gradient_norm=1.0, seconds=0.0)


@pytest.fixture
def small_renders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Render silhouettes, thumbnail and turntable small."""
    monkeypatch.setattr(surface_extraction, "SILHOUETTE_VIEWS", 6)
    monkeypatch.setattr(surface_extraction, "SILHOUETTE_SIZE", 32)
    for name, options in (("write_turntable", {"seconds": 0.1, "size": 32}), ("write_thumbnail", {"size": 32})):
        monkeypatch.setattr(turntable, name, functools.partial(getattr(turntable, name), **options))


@pytest.fixture
def untrained(small_renders: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `text_to_mesh` skip the training and load the fake prior."""
    monkeypatch.setattr("dreamfusion3d.priors.loading.load_prior", lambda name, *, device: FakePrior())
    monkeypatch.setattr("dreamfusion3d.training.distillation.distill_field", fake_distill_field)


def make_ball(out: Path, prompt: str = "a ball", *, sets: tuple[str, ...] = (), **options: Any) -> Asset:
    """Run `text_to_mesh` with tiny settings; for tests with the fixture ``untrained``."""
    return text_to_mesh(prompt, out=out, config=resolve_config(sets=[*TINY_SETTINGS, *sets]), device="cpu", **options)


def glb_sha256(asset: Asset) -> str:
    return files.file_sha256(asset.main_file)


def write_finished_run(mesh: TexturedMesh, folder: Path) -> Path:
    """Write the folder of a finished run "A pot" with a GLB and an OBJ of ``mesh``."""
    config = resolve_config(sets=["mesh.formats=glb,obj", f"mesh.height_m={FINISHED_RUN_HEIGHT}"])
    placed, extras = scale_to_height(mesh, FINISHED_RUN_HEIGHT), asset_extras("A pot", 3, "embedded")
    written: list[Path] = []
    for suffix in config.mesh.formats:
        written += write_asset(suffix, placed, folder / f"{folder.name}.{suffix}", "a_pot", extras)
    (folder / "work").mkdir()
    load_or_compute(folder / "work" / "textured.npz", TexturedMesh, lambda: mesh, QuietProgress())
    record = AssetRecord(
        prompt="A pot",
        seed=3,
        slug=folder.name,
        config=config_to_dict(config),
        prior={"name": "embedded", "sha256": "0" * 64},
        files={path.name: {"sha256": files.file_sha256(path), "bytes": path.stat().st_size} for path in written},
    )
    record.write(folder / "asset.json")
    return folder


def folder_contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
