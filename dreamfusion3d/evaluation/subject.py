"""What the judges look at: a finished asset, or a true prop in its place."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float

from dreamfusion3d.cameras.orbit import Cameras, orbit
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.types import TexturedMesh
from dreamfusion3d.evaluation.ground_truth import true_mesh
from dreamfusion3d.evaluation.voxels import centred, solid
from dreamfusion3d.mesh.clean import welded
from dreamfusion3d.mesh.io.gltf import read_glb
from dreamfusion3d.mesh.quality import quality
from dreamfusion3d.procedural.objects import Meaning, meant_instances
from dreamfusion3d.rendering.mesh_renderer import render_mesh

VIEWS = 8
ELEVATION_DEG = 20.0
SIZE = 64
GREY = 190  # of the base colour where the texture is taken away


@dataclass(frozen=True)
class Evidence:
    """A mesh in the frame of comparison, the prompt it was made for, and facts of its topology."""

    prompt: str
    mesh: TexturedMesh
    facts: dict[str, Any]  # components, watertight, genus
    folder: Path | None = None

    @cached_property
    def solid(self) -> Bool[np.ndarray, "r r r"]:
        return solid(self.mesh)

    @cached_property
    def views(self) -> Float[np.ndarray, "v h w 4"]:
        """Premultiplied RGBA from all around, the front first."""
        return _pictures(self.mesh, cameras())

    @cached_property
    def grey_views(self) -> Float[np.ndarray, "v h w 4"]:
        """The same without the texture: what the shape alone says."""
        grey = np.full((4, 4, 3), GREY, np.uint8)
        return _pictures(dataclasses.replace(self.mesh, texture=grey), cameras())


def cameras() -> Cameras:
    return orbit([360 * i / VIEWS for i in range(VIEWS)], ELEVATION_DEG, height=SIZE, width=SIZE)


def _pictures(mesh: TexturedMesh, cameras: Cameras) -> Float[np.ndarray, "v h w 4"]:
    seen = render_mesh(mesh, cameras)
    return torch.cat([seen.rgb, seen.opacity[..., None]], -1).numpy()


def of_folder(folder: Path) -> Evidence:
    """A finished asset: its GLB, and what asset.json says of it."""
    try:
        record = json.loads((folder / "asset.json").read_text(encoding="utf-8"))
        mesh = read_glb(folder / f"{record['slug']}.glb")
        facts = {k: record["mesh"][k] for k in ("components", "watertight", "genus")}
        return Evidence(str(record["prompt"]), centred(mesh), facts, folder)
    except (OSError, ValueError, KeyError, AttributeError, TypeError, IndexError) as error:
        raise InputError(f"{folder} is no finished asset with a GLB ({error})") from None


def of_truth(prompt: str, meaning: Meaning, *, seed: int) -> Evidence:
    """A true prop that the prompt means, as a perfect asset would be."""
    props = meant_instances(meaning, 1, generator=torch.Generator().manual_seed(seed))
    mesh = true_mesh(props, 0, meaning)
    facts = quality(welded(mesh))
    known = {"components": facts.components, "watertight": facts.watertight, "genus": facts.genus}
    return Evidence(prompt, centred(mesh), known)
