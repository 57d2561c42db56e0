"""Running ahead of a GPU changes nothing that a step computes; here on a CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from dreamfusion3d.cameras.orbit import OrbitCameras, orbit_cameras
from dreamfusion3d.memory.step_plan import StepPlan
from dreamfusion3d.rendering.occupancy_grid import OccupancyGrid
from dreamfusion3d.rendering.tiled import render_field_tiled
from dreamfusion3d.rendering.volume import RenderSettings, render_field_with_aux, sample_camera_rays_async
from dreamfusion3d.training import distillation
from dreamfusion3d.training.loop import StepLosses
from dreamfusion3d.training.prefetch import Prefetcher
from tests.support.oracle import OraclePrior
from tests.support.training import (
    NanPrior,
    distill_oracle,
    distillation_config,
    make_field,
    make_generator,
    same_parameters,
    silhouette_iou,
)

SETTINGS = RenderSettings(step_size=0.05)


def test_distill_field_recovers_the_object_when_it_runs_ahead(oracle_prior: OraclePrior) -> None:
    field = make_field()
    steps = list(distill_oracle(oracle_prior, field, run_ahead=True))
    assert [s.index for s in steps] == list(range(1, len(steps) + 1))
    assert silhouette_iou(field, oracle_prior) > 0.75


def test_distill_field_resumes_to_the_same_bits_when_it_runs_ahead(oracle_prior: OraclePrior, tmp_path: Path) -> None:
    """The next cameras are drawn before a checkpoint is written, which must not change what it resumes to."""
    whole, part, resumed = make_field(), make_field(), make_field(seed=5)
    options: dict[str, Any] = {"steps": 14, "run_ahead": True, "checkpoint_every": 6}
    list(distill_oracle(oracle_prior, whole, **options))
    checkpoint = tmp_path / "checkpoint.safetensors"
    for step in distill_oracle(oracle_prior, part, checkpoint=checkpoint, **options):
        if step.index == 8:
            break
    steps = list(distill_oracle(oracle_prior, resumed, checkpoint=checkpoint, **options))
    assert [s.index for s in steps] == list(range(7, 15)) and same_parameters(whole, resumed)


@pytest.mark.parametrize(
    ("bad", "indices"),
    [
        (5, [1, 2, 3, 4, 5, 3, 4, 5, 6, 7, 8]),  # noticed with the sixth
        (6, [1, 2, 3, 4, 5, 3, 4, 5, 6, 7, 8]),  # not saved: a step that is saved waits for its own norm
        (8, [1, 2, 3, 4, 5, 6, 7, 6, 7, 8]),  # nor does the last one pass unnoticed
    ],
)
def test_optimization_loop_skips_a_non_finite_step_and_notices_it_a_step_late(
    oracle_prior: OraclePrior, bad: int, indices: list[int]
) -> None:
    field = make_field()
    steps = list(distill_oracle(NanPrior(oracle_prior, {bad}), field, steps=8, run_ahead=True, checkpoint_every=3))
    assert [s.index for s in steps] == indices
    (warning,) = [s.warning for s in steps if s.warning]
    assert warning.startswith(f"non-finite gradient in step {bad};")
    assert all(torch.isfinite(p).all() for p in field.parameters())


def test_sample_camera_rays_async_gives_the_same_renders() -> None:
    """Even if the occupancy grid has changed since."""
    field, occupancy = make_field(), OccupancyGrid(16)
    occupancy.update(field.density, generator=make_generator(), step=0)
    cameras = orbit_cameras([10.0, 130.0], 20.0, height=16, width=16)
    expected, _ = render_field_with_aux(
        field, cameras, occupancy=occupancy, generator=make_generator(1), settings=SETTINGS
    )
    pending = sample_camera_rays_async(cameras, occupancy, SETTINGS, make_generator(1))
    occupancy.estimator.binaries.fill_(False)
    for tiled in (False, True):
        options: dict[str, Any] = {"generator": make_generator(2), "settings": SETTINGS, "pending": pending}
        image = (
            render_field_tiled(field, cameras, tiles=3, occupancy=occupancy, **options).render
            if tiled
            else render_field_with_aux(field, cameras, occupancy=occupancy, **options)[0]
        )
        assert torch.allclose(image.rgb, expected.rgb, atol=1e-6)


def test_optimization_state_snapshot_restores_the_shaded_fraction(
    oracle_prior: OraclePrior, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that is repeated because memory ran out must shade the samples that it shaded before."""
    field, repeated, calls = make_field(), make_field(), []
    list(distill_oracle(oracle_prior, field, steps=4, run_ahead=True))
    compute_losses = distillation.distillation_losses

    def fails_once(plan: StepPlan, *args: Any, **kwargs: Any) -> StepLosses:
        step = compute_losses(plan, *args, **kwargs)
        calls.append(plan)
        if len(calls) != 3:
            return step

        def backward() -> None:
            step.backward()
            raise MemoryError("planted")

        return StepLosses(step.losses, step.preview, backward)

    monkeypatch.setattr(distillation, "distillation_losses", fails_once)
    steps = list(distill_oracle(oracle_prior, repeated, steps=4, run_ahead=True))
    assert len(calls) == 5 and "out of memory" in (steps[2].warning or "")
    for a, b in zip(field.parameters(), repeated.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-4)


def test_prefetcher_draws_cameras_once_and_in_order() -> None:
    drawn: list[float] = []

    def sample(count: int, *, generator: torch.Generator) -> OrbitCameras:
        drawn.append(360 * float(torch.rand((), generator=generator)))
        return orbit_cameras([drawn[-1]], 0.0, height=4, width=4)

    def new_prefetcher(seed: int) -> Prefetcher:
        config, generator = distillation_config(), make_generator(seed)
        return Prefetcher(make_field(), OccupancyGrid(16), sample, config, 10, generator, run_ahead=True)

    prefetcher, resumed = new_prefetcher(0), new_prefetcher(9)
    azimuths = [float(prefetcher.next_batch(index).cameras.azimuth_deg) for index in range(3)]
    assert len(drawn) == 4 and azimuths == pytest.approx(drawn[:3])
    resumed.load_state_dict(prefetcher.state_dict())
    assert float(resumed.next_batch(3).cameras.azimuth_deg) == pytest.approx(drawn[3])


def test_prefetcher_without_run_ahead_uses_the_generator_of_the_run() -> None:
    generator, twin = make_generator(), make_generator()

    def sample(count: int, *, generator: torch.Generator) -> OrbitCameras:
        return orbit_cameras([360 * float(torch.rand((), generator=generator))], 0.0, height=4, width=4)

    field, grid, other = make_field(), OccupancyGrid(16), OccupancyGrid(16)
    prefetcher = Prefetcher(field, grid, sample, distillation_config(), 10, generator)
    batch = prefetcher.next_batch(0)
    other.update(field.density, generator=twin, step=0)
    assert batch.pending is None and torch.equal(batch.cameras.azimuth_deg, sample(1, generator=twin).azimuth_deg)
    assert torch.equal(generator.get_state(), twin.get_state()) and prefetcher.state_dict() == {}
