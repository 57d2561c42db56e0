"""Colours for a surface that is given, distilled from a prior: Magic3D's second stage (arXiv 2211.10440)
with its geometry held still. A generator of steps, as `optimize`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.cameras.orbit import Cameras, sample_orbit
from dreamfusion3d.core.async_scalar import Later
from dreamfusion3d.core.config import Config
from dreamfusion3d.core.optimizers import step_if_finite
from dreamfusion3d.core.types import Mesh, Render
from dreamfusion3d.fields.texture_field import PaintField
from dreamfusion3d.guidance import load_guidance
from dreamfusion3d.memory.checkpointed import Block, State
from dreamfusion3d.memory.oom_fallback import Ladder, Plan
from dreamfusion3d.priors.protocol import Prior, Prompts
from dreamfusion3d.rendering.deferred import compose, see
from dreamfusion3d.training.checkpoint import Run
from dreamfusion3d.training.guidance_loss import Way, attempt, guidance_loss
from dreamfusion3d.training.loop import SampleCameras, Step, take_steps
from dreamfusion3d.training.regularizers import variation
from dreamfusion3d.training.render_workload import Pictures, Shown
from dreamfusion3d.training.schedules import geometric
from dreamfusion3d.training.step_planner import planned, unplanned

MLP_SHARE = 0.1  # of the hash table's rate


def paint(
    field: PaintField,
    mesh: Mesh,
    normals: Float[np.ndarray, "v 3"],
    prior: Prior,
    text: Prompts,
    config: Config,
    steps: int,
    *,
    generator: torch.Generator,
    checkpoint: Path | None = None,
    preview: Path | None = None,
    sample_cameras: SampleCameras | None = None,
    budget: int | None = None,
    tell: Callable[[Plan[Way]], None] = lambda plan: None,
) -> Iterator[Step]:
    """Distil ``prior`` into the colours of ``mesh`` (scene units), in place.

    The window of times goes from ``guidance.t_start`` to ``guidance.t_end`` of ``config``; see
    `from_grey` and `from_colours`. Checkpoints, previews, cameras, budget and ``tell`` are those of
    `optimize`.
    """
    problems: list[str] = []
    guidance = load_guidance(config.guidance, device=generator.device, warn=problems.append)
    run = Run(field, _optimiser(field, config), None, generator, guidance)
    if budget is None:
        ladder = unplanned(prior, config, generator.device, tiled=False)
    else:
        pictures = _pictures(field, mesh, normals, config, sample_cameras, generator.device)
        ladder = planned(pictures, prior, text, config, budget, generator.device)
        tell(ladder.plan)
    yield from take_steps(
        run, steps, lambda: _step(run, ladder, mesh, normals, prior, text, config, steps, sample_cameras),
        checkpoint=checkpoint, preview=preview, problems=problems, rate="paint.rate", told=ladder.told,
    )


def _pictures(
    field: PaintField, mesh: Mesh, normals: np.ndarray, config: Config, sample_cameras: SampleCameras | None,
    device: torch.device,
) -> Pictures:
    """Those of a run's steps, for a plan."""
    def block(cameras: Cameras) -> Block:
        def painted(_: State) -> State:
            hits = see(mesh, normals, cameras)
            picture, albedo = compose(hits, field.albedo(hits.positions))
            return {"rgb": picture.rgb, "opacity": picture.opacity, "albedo": albedo}

        return Block("painted", painted)

    def shown(cameras: Cameras, tiles: int) -> Shown:
        with torch.no_grad():
            made = block(cameras)({})
        rgb, albedo = (made[name].requires_grad_(True) for name in ("rgb", "albedo"))
        return Shown(Render(rgb, made["opacity"], made["opacity"]), albedo, lambda: None)

    def losses(cameras: Cameras, shown: Shown) -> Tensor:
        return _smoothness(shown.detail, shown.picture, config)

    cameras = _cameras(config, sample_cameras, torch.Generator(device).manual_seed(0))
    learning: list[Tensor] = [p for p in field.parameters() if p.requires_grad]
    return Pictures(cameras, block, shown, losses, learning, tiled=False)


def from_grey(config: Config) -> Config:
    """For a mesh without colours: the guidance begins with the coarse pattern and ends with detail."""
    return _with_times(config, config.paint.t_start, config.paint.t_end)


def from_colours(config: Config) -> Config:
    """For colours that are good already: low levels of noise only, which leave the pattern alone."""
    return _with_times(config, config.paint.t_end, config.paint.t_end)


def _with_times(config: Config, start: tuple[float, float], end: tuple[float, float]) -> Config:
    return dataclasses.replace(
        config, guidance=dataclasses.replace(config.guidance, t_start=start, t_end=end)
    )


def _step(
    run: Run[PaintField, None], ladder: Ladder[Way], mesh: Mesh, normals: np.ndarray, prior: Prior,
    text: Prompts, config: Config, steps: int, sample_cameras: SampleCameras | None,
) -> tuple[Later, Render]:
    """One update of the colours; the gradient's norm, and the pictures it was taken from."""
    progress = run.index / max(steps - 1, 1)
    share = geometric(progress, 1.0, config.optim.final_rate, begin=0.5)
    for group, rate in zip(run.optimiser.param_groups, _rates(config), strict=True):
        group["lr"] = rate * share
    cameras = _cameras(config, sample_cameras, run.generator)
    hits = see(mesh, normals, cameras)
    run.optimiser.zero_grad(set_to_none=True)

    def backward(way: Way) -> Render:
        picture, albedo = compose(hits, run.field.albedo(hits.positions))
        loss = guidance_loss(
            run.guidance, picture, cameras, prior, text, config, progress, generator=run.generator, way=way
        )
        (loss + _smoothness(albedo, picture, config)).backward()
        return picture

    picture = attempt(run, ladder, backward)
    return step_if_finite(run.optimiser), picture


def _smoothness(albedo: Tensor, picture: Render, config: Config) -> Float[Tensor, ""]:
    return config.paint.variation_weight * variation(albedo, picture.opacity)


def _cameras(config: Config, sample_cameras: SampleCameras | None, generator: torch.Generator) -> Cameras:
    size = config.paint.size
    if sample_cameras is None:
        return sample_orbit(config.optim.views, generator=generator, size=size)
    return sample_cameras(config.optim.views, generator=generator).resized(size, size)


def _rates(config: Config) -> tuple[float, float]:
    return config.paint.rate, MLP_SHARE * config.paint.rate


def _optimiser(field: PaintField, config: Config) -> torch.optim.Adam:
    """Adam as in `optimize`: the table apart from the MLP."""
    table, rest = _rates(config)
    others: list[Tensor] = [p for name, p in field.named_parameters() if name != "table"]
    return torch.optim.Adam(
        [{"params": [field.table], "lr": table}, {"params": others, "lr": rest}],
        betas=(0.9, 0.99), eps=1e-15, fused=field.table.device.type == "cuda",
    )
