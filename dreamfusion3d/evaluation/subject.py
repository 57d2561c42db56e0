"""Subjects of an evaluation: finished assets, or ground-truth objects in their place."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float

from dreamfusion3d.cameras.orbit import OrbitCameras, orbit_cameras
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.types import Mesh, TexturedMesh
from dreamfusion3d.evaluation.ground_truth import colored_ground_truth_mesh
from dreamfusion3d.evaluation.voxels import normalize_mesh, solid_voxels
from dreamfusion3d.mesh.geometry import face_areas, weld_mesh
from dreamfusion3d.mesh.io.gltf import read_glb
from dreamfusion3d.mesh.quality import mesh_quality
from dreamfusion3d.procedural.objects import ObjectSpec, sample_objects_for_spec
from dreamfusion3d.rendering.mesh_renderer import render_mesh

EVAL_VIEWS = 8  # at equal azimuth steps, the front first
EVAL_ELEVATION_DEG = 20.0
EVAL_IMAGE_SIZE = 64
TEXTURELESS_GRAY = 190  # base color of the textureless views


@dataclass(frozen=True)
class EvalSubject:
    """A mesh in the comparison frame, its prompt and its topology."""

    prompt: str
    mesh: TexturedMesh
    topology: dict[str, Any]  # components, watertight, genus
    folder: Path | None = None
    seed: int | None = None
    instance: dict[str, Any] | None = None  # of its true object, if the prior said it

    @cached_property
    def surface(self) -> Mesh:
        """The mesh without its texture."""
        return Mesh(self.mesh.vertices, self.mesh.faces)

    @cached_property
    def has_surface(self) -> bool:
        """Whether the faces have an area; if not, there is nothing to sample."""
        return bool(face_areas(self.mesh.vertices, self.mesh.faces).sum() > 0)

    @cached_property
    def voxels(self) -> Bool[np.ndarray, "r r r"]:
        return solid_voxels(self.mesh)

    @cached_property
    def views(self) -> Float[np.ndarray, "v h w 4"]:
        """Premultiplied RGBA renders from all sides, the front first."""
        return _render_rgba(self.mesh)

    @cached_property
    def textureless_views(self) -> Float[np.ndarray, "v h w 4"]:
        """The same views without texture and material: shape alone."""
        gray = np.full((4, 4, 3), TEXTURELESS_GRAY, np.uint8)
        return _render_rgba(replace(self.mesh, texture=gray, metallic_roughness=None))


def evaluation_cameras() -> OrbitCameras:
    azimuths = [360 * i / EVAL_VIEWS for i in range(EVAL_VIEWS)]
    return orbit_cameras(azimuths, EVAL_ELEVATION_DEG, height=EVAL_IMAGE_SIZE, width=EVAL_IMAGE_SIZE)


def matte(mesh: TexturedMesh) -> TexturedMesh:
    """Return the mesh without its material: images are compared without reflections."""
    return replace(mesh, metallic_roughness=None)


def _render_rgba(mesh: TexturedMesh) -> Float[np.ndarray, "v h w 4"]:
    render = render_mesh(matte(mesh), evaluation_cameras())
    return torch.cat([render.rgb, render.opacity[..., None]], -1).numpy()


def load_subject(folder: Path) -> EvalSubject:
    """Load a finished asset: its GLB, and prompt and topology from asset.json. Raises InputError if it is none."""
    try:
        record = json.loads((folder / "asset.json").read_text(encoding="utf-8"))
        mesh = read_glb(folder / f"{record['slug']}.glb", normal_map=False)
        topology = {k: record["mesh"][k] for k in ("components", "watertight", "genus")}
        return EvalSubject(
            str(record["prompt"]), normalize_mesh(mesh), topology, folder, record.get("seed"), record.get("instance")
        )
    except (OSError, ValueError, KeyError, AttributeError, TypeError, IndexError) as error:
        raise InputError(f"{folder} is not a finished asset with a GLB ({error}); add glb to mesh.formats") from None


def ground_truth_subject(prompt: str, spec: ObjectSpec, *, seed: int) -> EvalSubject:
    """Sample a ground-truth object of the prompt, as a perfect asset would be."""
    objects = sample_objects_for_spec(spec, 1, generator=torch.Generator().manual_seed(seed))
    mesh = colored_ground_truth_mesh(objects, 0, spec)
    measured = mesh_quality(weld_mesh(mesh))
    topology = {name: getattr(measured, name) for name in ("components", "watertight", "genus")}
    return EvalSubject(prompt, normalize_mesh(mesh), topology, seed=seed)
