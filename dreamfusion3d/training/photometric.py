"""The field fitted to photos (NeRF, arXiv 2003.08934): random pixels, squared error. A generator of steps.

What few photos do not show can be taught from poses that none was taken from, see ``Unseen`` and
``unseen.py`` (DietNeRF, arXiv 2104.00677).

Letters: n pixels of a step, b photos of h x w.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from dreamfusion3d.cameras.capture import Photos
from dreamfusion3d.cameras.orbit import Cameras, sample_orbit
from dreamfusion3d.core.async_scalar import Later, Trailing
from dreamfusion3d.core.config import Config
from dreamfusion3d.core.image_metrics import decibels, ssim
from dreamfusion3d.core.optimizers import step_if_finite
from dreamfusion3d.core.types import Field, Render
from dreamfusion3d.fields.nerf import NerfField
from dreamfusion3d.guidance import Guidance, load_guidance
from dreamfusion3d.rendering.occupancy_grid import Occupancy, filled
from dreamfusion3d.rendering.pinhole import Grid, photograph, shoot
from dreamfusion3d.rendering.volume import RenderSettings, render
from dreamfusion3d.training.checkpoint import Run
from dreamfusion3d.training.loop import Step, adam_for, take_steps
from dreamfusion3d.training.previews import EVERY, Previews
from dreamfusion3d.training.schedules import geometric

SMOOTHING = 0.95  # of the squared error that the progress shows
WHITE = (1.0, 1.0, 1.0)  # behind photos whose object is cut out, where figures are taken
SHOWN = 3  # photos in the preview



@runtime_checkable
class Unseen(Protocol):
    """What is asked of the field's pictures from poses that no photo has."""

    @property
    def guidance(self) -> Guidance | None:
        """Whose state goes into checkpoints; None where there is none."""

    @property
    def until(self) -> float:
        """Share of the steps after which it is not asked any more."""

    def __call__(
        self, picture: Render, cameras: Cameras, progress: float, *, generator: torch.Generator
    ) -> Float[Tensor, ""]: ...


@dataclass(frozen=True)
class Ground:
    """What is behind the object."""

    colour: tuple[float, float, float]
    random: bool  # the object is cut out: any colour may be put behind it
    spread: float = 0.0  # how far the photos' borders are from one colour


def fit(
    field: NerfField,
    photos: Photos,
    config: Config,
    *,
    generator: torch.Generator,
    ground: Ground | None = None,
    unseen: Unseen | None = None,
    checkpoint: Path | None = None,
    preview: Path | None = None,
) -> Iterator[Step]:
    """Fits ``field`` to ``photos`` (scene units), in place. ``ground`` is `ground_of` the photos.

    ``unseen`` is asked every ``fit.unseen_every`` steps. Checkpoints and previews are those of `optimize`: a
    resumed run takes the same steps as an undisturbed one.
    """
    optim, device = config.optim, generator.device
    photos, ground = photos.to(device), ground or ground_of(photos)
    occupancy = Occupancy(config.render.occupancy_resolution, device)
    problems: list[str] = []
    guidance = unseen.guidance if unseen else None
    if guidance is None:  # nothing asks it; a run has one
        guidance = load_guidance(dataclasses.replace(config.guidance, kind="sds"), device=device)
    run = Run(field, adam_for(field, config), occupancy, generator, guidance)
    field.set_sharpness(optim.sharpness)
    error = 0.0

    errors = Trailing(late=device.type == "cuda")

    def step() -> tuple[Later, None]:
        nonlocal error
        norm, later = _step(run, photos, ground, unseen, run.index / max(optim.steps - 1, 1), config)
        now = errors.told(later)
        error = SMOOTHING * error + (1 - SMOOTHING) * now if error else now
        return norm, None

    with Previews(preview) as previews:
        for taken in take_steps(
            run, optim.steps, step, checkpoint=checkpoint, preview=None, problems=problems,
            rate="optim.table_rate",
        ):
            if preview and (taken.index % EVERY == 0 or taken.index == 1):
                previews.show(_compared(field, photos, run.occupancy, ground, config))
            yield dataclasses.replace(taken, figure=f"{decibels(error):.1f} dB")


def _step(
    run: Run[NerfField, Occupancy], photos: Photos, ground: Ground, unseen: Unseen | None, progress: float,
    config: Config,
) -> tuple[Later, Later]:
    """One update of the field; the gradient's norm and the mean squared error of the step's pixels."""
    optim, field, generator = config.optim, run.field, run.generator
    if run.index % optim.occupancy_every == 0:
        run.occupancy.update(field.density, generator=generator, step=run.index)
    share = geometric(progress, 1.0, optim.final_rate)
    for group, rate in zip(run.optimiser.param_groups, (optim.table_rate, optim.mlp_rate), strict=True):
        group["lr"] = rate * share
    pixels = torch.randint(
        photos.rgba[..., 0].numel(), (config.fit.rays,), generator=generator, device=generator.device
    )
    behind = _behind(ground, len(pixels), generator)
    rgb, opacity = shoot(
        field, photos.cameras, pixels, run.occupancy, step_size=config.render.step_size, generator=generator
    )
    error = (rgb + (1 - opacity[:, None]) * behind - true_colours(photos, pixels, behind)).square().mean()
    loss = error
    asked = unseen is not None and progress <= unseen.until and run.index % config.fit.unseen_every == 0
    if unseen is not None and asked:
        cameras = sample_orbit(config.fit.unseen_views, generator=generator, size=config.render.size)
        settings = RenderSettings(step_size=config.render.step_size, shading="albedo")
        picture = render(field, cameras, occupancy=run.occupancy, generator=generator, settings=settings)
        loss = loss + unseen(picture, cameras, progress, generator=generator)
    run.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    return step_if_finite(run.optimiser), Later(error)


def _behind(ground: Ground, count: int, generator: torch.Generator) -> Float[Tensor, "n 3"]:
    """A colour a ray. Random ones (instant-ngp, arXiv 2201.05989) leave haze nothing to imitate."""
    if ground.random:
        return torch.rand(count, 3, generator=generator, device=generator.device)
    return torch.tensor(ground.colour, device=generator.device).expand(count, 3)


def true_colours(
    photos: Photos, pixels: Int64[Tensor, " n"], behind: Float[Tensor, "n 3"]
) -> Float[Tensor, "n 3"]:
    """What the photos show there, over ``behind`` where the object is cut out."""
    rgba = photos.rgba.reshape(-1, 4)[pixels].float() / 255
    if not photos.cut_out:
        return rgba[:, :3]
    return rgba[:, :3] * rgba[:, 3:] + (1 - rgba[:, 3:]) * behind


def ground_of(photos: Photos) -> Ground:
    """White for figures and any colour for fitting where the object is cut out; else the colour that
    most of the photos' borders have."""
    if photos.cut_out:
        return Ground(WHITE, random=True)
    rgb = photos.rgba[..., :3].float() / 255
    edges = (rgb[:, 0], rgb[:, -1], rgb[:, :, 0], rgb[:, :, -1])
    border = torch.cat([edge.reshape(-1, 3) for edge in edges])
    colour = border.median(0).values
    red, green, blue = colour.tolist()
    return Ground((red, green, blue), random=False, spread=float((border - colour).square().mean().sqrt()))


@dataclass(frozen=True)
class Likeness:
    """Of the field's pictures to photos that it was not fitted to, one figure a photo."""

    psnr: tuple[float, ...]  # dB
    ssim: tuple[float, ...]

    @property
    def means(self) -> tuple[float, float]:
        return sum(self.psnr) / len(self.psnr), sum(self.ssim) / len(self.ssim)


def likeness(
    field: Field, photos: Photos, config: Config, *, generator: torch.Generator, ground: Ground | None = None,
) -> Likeness:
    """PSNR and SSIM, over white where the object is cut out."""
    photos, ground = photos.to(generator.device), ground or ground_of(photos)
    seen, truth = side_by_side(field, photos, filled(field, config, generator), ground, config, generator)
    errors = (seen - truth).square().mean((1, 2, 3)).tolist()
    return Likeness(tuple(map(decibels, errors)), tuple(ssim(seen, truth).tolist()))


def side_by_side(
    field: Field, photos: Photos, occupancy: Grid, ground: Ground, config: Config,
    generator: torch.Generator,
) -> tuple[Float[Tensor, "b h w 3"], Float[Tensor, "b h w 3"]]:
    """The field's pictures and the photos, over the same ground."""
    rgb, opacity = photograph(
        field, photos.cameras, occupancy, step_size=config.render.step_size, generator=generator
    )
    behind = torch.tensor(ground.colour, device=rgb.device)
    pixels = torch.arange(opacity.numel(), device=rgb.device)
    truth = true_colours(photos, pixels, behind.expand(len(pixels), 3))
    return (rgb + (1 - opacity[..., None]) * behind).clamp(0, 1), truth.view_as(rgb)


def _compared(
    field: Field, photos: Photos, occupancy: Occupancy, ground: Ground, config: Config
) -> Render:
    """Some photos and the field's pictures from the same places, in turn."""
    device = occupancy.binary.device
    lot = torch.Generator(device).manual_seed(0)  # of the preview alone: the run draws what it would
    some = photos.select([i * len(photos) // SHOWN for i in range(min(SHOWN, len(photos)))])
    seen, truth = side_by_side(field, some, occupancy, ground, config, lot)
    rgb = torch.stack([truth, seen], 1).flatten(0, 1)
    return Render(rgb, torch.ones_like(rgb[..., 0]), torch.zeros_like(rgb[..., 0]))
