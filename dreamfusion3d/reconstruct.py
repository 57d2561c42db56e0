"""The field fitted to photos (NeRF, arXiv 2003.08934): random pixels, squared error. A generator of steps.

What few photos do not show can be taught from poses that none was taken from, see ``Unseen`` and
``unseen.py`` (DietNeRF, arXiv 2104.00677).

Letters: n pixels of a step, b photos of h x w.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from dreamfusion3d.adam import step_if_finite
from dreamfusion3d.cameras import Cameras, sample_orbit
from dreamfusion3d.checkpoint import Run
from dreamfusion3d.config import Config
from dreamfusion3d.field.nerf import NerfField
from dreamfusion3d.guidance import Guidance, load_guidance
from dreamfusion3d.later import Later, Trailing
from dreamfusion3d.optimize import Step, adam_for, take_steps
from dreamfusion3d.photos import Photos, Pinholes
from dreamfusion3d.previews import EVERY, Previews
from dreamfusion3d.render.composite import accumulate
from dreamfusion3d.render.hidden import around
from dreamfusion3d.render.occupancy import Occupancy
from dreamfusion3d.render.volume import Rays, RenderSettings, march_through, render, weigh
from dreamfusion3d.schedules import geometric
from dreamfusion3d.types import Field, Render

CHUNK = 1 << 14  # rays of one call where no gradient is wanted
SWEEPS = 4  # looks at random points of every cell of a new occupancy grid
SMOOTHING = 0.95  # of the squared error that the progress shows
WHITE = (1.0, 1.0, 1.0)  # behind photos whose object is cut out, where figures are taken
SHOWN = 3  # photos in the preview

Grid: TypeAlias = Occupancy | Bool[Tensor, "x y z"]


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


def shoot(
    field: Field, cameras: Pinholes, pixels: Int64[Tensor, " n"], occupancy: Grid, *, step_size: float,
    generator: torch.Generator,
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, " n"]]:
    """Premultiplied colour and opacity of ``pixels``, differentiable in the field's parameters.

    A photo's light stays in the colour: nobody knows where its lamps were.
    """
    origins, directions = cameras.rays(pixels)
    rays = Rays(origins, directions, origins.new_zeros(1, 3), len(pixels))
    samples = march_through(rays, occupancy, RenderSettings(step_size=step_size), generator)
    weight, albedo = weigh(field, rays, samples)
    values = torch.cat([albedo, torch.ones_like(weight)[:, None]], -1)
    summed = accumulate(weight, values, samples.ray_indices, len(pixels))
    return summed[:, :3], summed[:, 3]


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


@torch.no_grad()
def photograph(
    field: Field, cameras: Pinholes, occupancy: Grid, *, step_size: float, generator: torch.Generator
) -> tuple[Float[Tensor, "b h w 3"], Float[Tensor, "b h w"]]:
    """Whole pictures as `shoot` sees them, a part at a time."""
    shape = (len(cameras), cameras.height, cameras.width)
    parts = [
        shoot(field, cameras, pixels, occupancy, step_size=step_size, generator=generator)
        for pixels in torch.arange(math.prod(shape), device=generator.device).split(CHUNK)
    ]
    return (
        torch.cat([rgb for rgb, _ in parts]).view(*shape, 3),
        torch.cat([opacity for _, opacity in parts]).view(shape),
    )


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


@torch.no_grad()
def filled(field: Field, config: Config, generator: torch.Generator) -> Bool[Tensor, "x y z"]:
    """Cells where a field that is no longer fitted has density, with their neighbours: a few looks at
    random points may miss a thin wall."""
    occupancy = Occupancy(config.render.occupancy_resolution, generator.device)
    for sweep in range(SWEEPS):
        occupancy.update(field.density, generator=generator, step=sweep)
    return around(occupancy.binary)


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


def decibels(error: float) -> float:
    """PSNR of a mean squared error of values in [0, 1]; 100 at most."""
    return -10 * math.log10(max(error, 1e-10))


def ssim(
    one: Float[Tensor, "b h w c"], two: Float[Tensor, "b h w c"]
) -> Float[Tensor, " b"]:
    """Structural similarity (Wang et al. 2004, eq. 13; Gaussian window of 11 pixels, sigma 1.5), a mean
    over channels and places; of values in [0, 1]."""
    size = min(11, *(s - (s + 1) % 2 for s in one.shape[1:3]))  # odd
    place = torch.arange(size, device=one.device, dtype=torch.float64) - size // 2
    bell = torch.exp(-place.square() / (2 * 1.5**2))
    window = torch.outer(bell, bell) / bell.sum() ** 2

    def mean(x: Tensor) -> Tensor:
        flat = x.double().permute(0, 3, 1, 2).reshape(-1, 1, *x.shape[1:3])
        return F.conv2d(flat, window[None, None]).view(x.shape[0], x.shape[3], -1)

    m1, m2 = mean(one), mean(two)
    v1, v2 = mean(one * one) - m1 * m1, mean(two * two) - m2 * m2
    both = mean(one * two) - m1 * m2
    c1, c2 = 0.01**2, 0.03**2
    map_ = (2 * m1 * m2 + c1) * (2 * both + c2) / ((m1 * m1 + m2 * m2 + c1) * (v1 + v2 + c2))
    return map_.mean((1, 2)).float()


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
