"""Subjects and an encoder for tests of the evaluation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from dreamfusion3d.core.types import TexturedMesh
from dreamfusion3d.evaluation.ground_truth import color_faces, ground_truth_mesh, palette_indices
from dreamfusion3d.evaluation.subject import EvalSubject, ground_truth_subject
from dreamfusion3d.mesh.bake import bake_albedo
from dreamfusion3d.mesh.io.axes import scale_to_height
from dreamfusion3d.mesh.io.gltf import write_glb
from dreamfusion3d.mesh.quality import mesh_quality
from dreamfusion3d.mesh.simplify import simplify
from dreamfusion3d.priors.image_text.protocol import composite_over_gray
from dreamfusion3d.procedural.objects import ObjectSpec, sample_objects_for_spec
from dreamfusion3d.procedural.prompt_rules import parse_with_rules
from tests.support.shapes import mesh_of, sphere

FEW_CATEGORIES = ["mug", "chair", "barrel", "duck"]


class MeanColorEncoder:
    """An image-text encoder by the mean color of the image and the color words of the prompt."""

    name = "mean color"

    def encode_images(self, views: np.ndarray) -> np.ndarray:
        return composite_over_gray(views).mean((1, 2))

    def encode_texts(self, prompts: Sequence[str]) -> np.ndarray:
        return np.array([[float(word in p) for word in ("red", "green", "blue")] for p in prompts])


def parse(prompt: str) -> ObjectSpec:
    spec = parse_with_rules(prompt).spec
    assert spec is not None
    return spec


def true_subject(prompt: str, seed: int = 3) -> EvalSubject:
    return ground_truth_subject(prompt, parse(prompt), seed=seed)


def two_colored_sphere() -> TexturedMesh:
    """Red where x > 0, blue where x < 0."""
    ball = mesh_of(lambda p: sphere(p, 0.5), 40)
    side = (ball.vertices[ball.faces].mean(1)[:, 0] < 0).astype(np.int64)
    return color_faces(ball, side, [(1.0, 0.0, 0.0), (0.0, 0.0, 1.0)])


def write_asset(folder: Path, prompt: str, shown: str | None = None) -> None:
    """Write a folder as text2mesh does, with a ground-truth object of ``shown`` (default: the prompt)."""
    spec = parse(shown or prompt)
    objects = sample_objects_for_spec(spec, 1, generator=torch.Generator().manual_seed(4))
    mesh = simplify(ground_truth_mesh(objects, 0, 64), 3000)
    colors = np.array(spec.part_colors())
    textured = bake_albedo(
        mesh, lambda p: colors[palette_indices(objects, 0, p, spec.material)].astype(np.float32), 128
    )
    folder.mkdir(parents=True)
    write_glb(scale_to_height(textured, 0.3), folder / f"{folder.name}.glb", folder.name, {})
    quality = mesh_quality(mesh)
    topology = {key: getattr(quality, key) for key in ("components", "watertight", "genus")}
    (folder / "asset.json").write_text(json.dumps({"prompt": prompt, "slug": folder.name, "mesh": topology}))
