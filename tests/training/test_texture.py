"""Colors distilled onto a fixed mesh, with a prior that knows the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dreamfusion3d.core.config import Config, resolve_config
from dreamfusion3d.core.types import Mesh
from dreamfusion3d.evaluation.ground_truth import ground_truth_mesh, palette_indices
from dreamfusion3d.fields.texture_field import TextureField, constant_color
from dreamfusion3d.mesh.simplify import simplify
from dreamfusion3d.mesh.tangents import vertex_normals
from dreamfusion3d.procedural.objects import ObjectBatch, ObjectSpec, sample_objects_for_spec
from dreamfusion3d.training import loop
from dreamfusion3d.training.loop import Step
from dreamfusion3d.training.texture import distill_texture, with_refine_t_range, with_retexture_t_range
from tests.support.oracle import OraclePrior
from tests.support.training import TEXTURE_SETTINGS, make_generator, same_parameters

SPEC = ObjectSpec("mushroom", "red", option=False)


@pytest.fixture(scope="module")
def objects() -> ObjectBatch:
    return sample_objects_for_spec(SPEC, 1, generator=make_generator(0))


@pytest.fixture(scope="module")
def mesh(objects: ObjectBatch) -> Mesh:
    return simplify(ground_truth_mesh(objects, 0, 48), 1500)


@pytest.fixture(scope="module")
def prior(objects: ObjectBatch) -> OraclePrior:
    """A world of one object: whatever the noise, it predicts the true image."""
    return OraclePrior(
        objects,
        SPEC,
        num_camera_sets=4,
        views=2,
        resolution=32,
        generator=make_generator(1),
        elevation_range_deg=(0.0, 40.0),
    )


def start_distillation(
    mesh: Mesh, prior: OraclePrior, field: TextureField, config: Config, steps: int, checkpoint: Path | None = None
) -> Iterator[Step]:
    return distill_texture(
        field,
        mesh,
        vertex_normals(mesh),
        prior,
        prior.encode_text(["", ""]),
        config,
        steps,
        generator=make_generator(2),
        sample_cameras=prior.sample_cameras,
        checkpoint=checkpoint,
    )


def make_texture_field(config: Config, base_color: Callable[[Tensor], Tensor] | None = None) -> TextureField:
    return TextureField(config.texture, base_color or constant_color(), generator=make_generator(3))


def evaluate_colors(field: TextureField, points: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return field.albedo(torch.from_numpy(points).float()).numpy()


def test_distill_texture_recovers_the_colors_of_the_object(
    mesh: Mesh, prior: OraclePrior, objects: ObjectBatch
) -> None:
    config = resolve_config(sets=TEXTURE_SETTINGS)
    field = make_texture_field(config)
    centers = mesh.vertices[mesh.faces].mean(1)
    truth = np.array(SPEC.part_colors())[palette_indices(objects, 0, centers, SPEC.material)]
    before = np.abs(evaluate_colors(field, centers) - truth).mean(1)
    steps = list(start_distillation(mesh, prior, field, with_retexture_t_range(config), 60))
    after = np.abs(evaluate_colors(field, centers) - truth).mean(1)
    assert np.median(before) > 0.25 and np.median(after) < 0.06, (np.median(before), np.median(after))
    assert (after < before).mean() > 0.85
    assert all(list(step.losses) == ["guidance", "texture_tv"] for step in steps)


def test_distill_texture_leaves_good_colors_alone(mesh: Mesh, prior: OraclePrior, objects: ObjectBatch) -> None:
    """With little noise and a prior that agrees, refinement keeps what is right."""
    config = resolve_config(sets=TEXTURE_SETTINGS)
    centers = mesh.vertices[mesh.faces].mean(1)
    palette = torch.tensor(SPEC.part_colors())

    def true_color(x: Tensor) -> Tensor:
        return palette[torch.from_numpy(palette_indices(objects, 0, x.numpy(), SPEC.material))]

    field = make_texture_field(config, true_color)
    before = evaluate_colors(field, centers)
    truth = true_color(torch.from_numpy(centers).float()).numpy()
    assert np.abs(before - truth).max() < 2e-3  # the network adds nothing yet
    for _ in start_distillation(mesh, prior, field, with_refine_t_range(config), 20):
        pass
    assert np.median(np.abs(evaluate_colors(field, centers) - before)) < 0.05


def test_distill_texture_resumes_to_the_same_bits(
    mesh: Mesh, prior: OraclePrior, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 2)
    config, checkpoint = with_retexture_t_range(resolve_config(sets=TEXTURE_SETTINGS)), tmp_path / "c.safetensors"
    whole, part, resumed = (make_texture_field(config) for _ in range(3))
    for _ in start_distillation(mesh, prior, whole, config, 5):
        pass
    for step in start_distillation(mesh, prior, part, config, 5, checkpoint):
        if step.index == 3:
            break
    steps = list(start_distillation(mesh, prior, resumed, config, 5, checkpoint))
    assert [step.index for step in steps] == [3, 4, 5]
    assert same_parameters(whole, resumed)
