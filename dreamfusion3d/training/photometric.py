"""Photometric reconstruction: fit a radiance field to photos (NeRF, arXiv 2003.08934) by the error of random pixels.

Views without a photo can be supervised by a `NovelViewLoss` (DietNeRF, arXiv 2104.00677).

Letters: n pixels of a step, b photos of h x w.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from dreamfusion3d.cameras.capture import Photos
from dreamfusion3d.cameras.orbit import OrbitCameras, sample_orbit_cameras
from dreamfusion3d.core.config import Config
from dreamfusion3d.core.image_metrics import psnr, ssim
from dreamfusion3d.core.types import Field, Render
from dreamfusion3d.fields.nerf import NerfField
from dreamfusion3d.guidance import Guidance
from dreamfusion3d.memory.step_plan import StepPlan
from dreamfusion3d.rendering.chunked import render_field_chunked
from dreamfusion3d.rendering.occupancy_grid import OccupancyGrid, occupied_cells
from dreamfusion3d.rendering.volume import OccupancyLike, Rays, RenderSettings, render_field, render_rays
from dreamfusion3d.training.checkpoint import OptimizationState
from dreamfusion3d.training.loop import OptimizationLoop, Step, StepLosses, make_field_optimizer
from dreamfusion3d.training.schedules import lr_factor

ERROR_DECAY = 0.95  # of the running mean of the squared error
EVALUATION_BACKGROUND = (1.0, 1.0, 1.0)  # behind masked photos, for metrics
PREVIEW_PHOTOS = 3  # in the preview


@runtime_checkable
class NovelViewLoss(Protocol):
    """Loss of renders from poses without a photo."""

    @property
    def guidance(self) -> Guidance | None:
        """Guidance whose state belongs into checkpoints, if any."""

    @property
    def end_fraction(self) -> float:
        """Fraction of the steps after which the loss is off."""

    def __call__(
        self, image: Render, cameras: OrbitCameras, progress: float, *, generator: torch.Generator
    ) -> Float[Tensor, ""]:
        """Return the weighted loss of renders from ``cameras``."""
        ...


@dataclass(frozen=True)
class PhotoBackground:
    """Background of the photos."""

    color: tuple[float, float, float]
    random: bool  # the object is masked, so any color may be put behind it
    border_std: float = 0.0  # standard deviation of the photos' borders


def fit_photos(
    field: NerfField,
    photos: Photos,
    config: Config,
    *,
    generator: torch.Generator,
    background: PhotoBackground | None = None,
    novel_view_loss: NovelViewLoss | None = None,
    checkpoint: Path | None = None,
    preview: Path | None = None,
) -> Iterator[Step]:
    """Fit ``field`` to ``photos`` in place, one step per iteration.

    Args:
        field: the radiance field.
        photos: photos with known cameras, in scene units.
        config: settings; ``optim``, ``render`` and ``reconstruction`` are used.
        generator: source of pixels, ray samples and novel cameras.
        background: what lies behind the object; estimated from the photos by default.
        novel_view_loss: supervises renders from poses without a photo, every ``reconstruction.novel_view_interval``
            steps.
        checkpoint, preview: as for `distill_field`.

    Yields:
        One ``Step`` per optimization step; its metric is a running PSNR in dB.

    Example:
        >>> for step in fit_photos(field, photos, config, generator=generator):
        ...     print(step.index, step.metric)
        1 ... dB
        2 ... dB
    """
    optim, device = config.optim, generator.device
    photos, background = photos.to(device), background or estimate_background(photos)
    occupancy = OccupancyGrid(config.render.occupancy_grid_resolution, device)
    guidance = novel_view_loss.guidance if novel_view_loss else None
    optimizer = make_field_optimizer(field, optim.lr_hashgrid, optim.lr_mlp)
    state = OptimizationState(field, optimizer, occupancy, generator, guidance)
    loop = OptimizationLoop(
        state,
        optim.steps,
        lr_schedule=functools.partial(lr_factor, final=optim.lr_final_factor, decay_from=0.0),
        lr_setting="optim.lr_hashgrid",
        checkpoint=checkpoint,
        preview=preview,
    )

    def compute_losses(plan: StepPlan, progress: float) -> StepLosses:
        losses = {"photometric": _photometric_loss(field, photos, background, occupancy, config, generator)}
        if (
            novel_view_loss is not None
            and progress <= novel_view_loss.end_fraction
            and state.index % config.reconstruction.novel_view_interval == 0
        ):
            cameras = sample_orbit_cameras(
                config.reconstruction.num_novel_views, generator=generator, size=config.render.resolution
            )
            settings = RenderSettings(step_size=config.render.step_size, shading="albedo")
            image = render_field(field, cameras, occupancy=occupancy, generator=generator, settings=settings)
            losses["novel_view"] = novel_view_loss(image, cameras, progress, generator=generator)
        return StepLosses(losses, lambda: _render_preview(field, photos, occupancy, background, config))

    field.set_sharpness(optim.sharpness)
    error = 0.0
    for progress in loop.steps():
        if state.index % optim.occupancy_update_interval == 0:
            occupancy.update(field.density, generator=generator, step=state.index)
        step = loop.update(compute_losses, progress)
        step_error = step.losses["photometric"]
        if math.isfinite(step_error):  # a step that is rolled back does not count
            error = ERROR_DECAY * error + (1 - ERROR_DECAY) * step_error if error else step_error
        yield dataclasses.replace(step, metric=f"{psnr(error):.1f} dB")


def _photometric_loss(
    field: NerfField,
    photos: Photos,
    background: PhotoBackground,
    occupancy: OccupancyGrid,
    config: Config,
    generator: torch.Generator,
) -> Float[Tensor, ""]:
    """Mean squared error of random pixels of all photos."""
    count = config.reconstruction.rays_per_step
    pixels = torch.randint(photos.rgba[..., 0].numel(), (count,), generator=generator, device=generator.device)
    colors = _sample_background(background, len(pixels), generator)
    # the photos' light stays in the color: its directions are unknown
    settings = RenderSettings(step_size=config.render.step_size, shading="albedo")
    rays = Rays.from_cameras(photos.cameras, pixels)
    outputs = render_rays(field, rays, occupancy=occupancy, generator=generator, settings=settings)
    composite = outputs.rgb + (1 - outputs.opacity[:, None]) * colors
    return (composite - photo_colors(photos, pixels, colors)).square().mean()


def _sample_background(background: PhotoBackground, count: int, generator: torch.Generator) -> Float[Tensor, "n 3"]:
    """Sample a color per ray; random ones (instant-ngp, arXiv 2201.05989) leave haze nothing to imitate."""
    if background.random:
        return torch.rand(count, 3, generator=generator, device=generator.device)
    return torch.tensor(background.color, device=generator.device).expand(count, 3)


def photo_colors(photos: Photos, pixels: Int64[Tensor, " n"], background: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """Return the photos' colors, over ``background`` where the object is masked."""
    rgba = photos.rgba.reshape(-1, 4)[pixels].float() / 255
    if not photos.masked:
        return rgba[:, :3]
    return rgba[:, :3] * rgba[:, 3:] + (1 - rgba[:, 3:]) * background


def estimate_background(photos: Photos) -> PhotoBackground:
    """Estimate the background: any color if the object is masked, else the median color of the borders."""
    if photos.masked:
        return PhotoBackground(EVALUATION_BACKGROUND, random=True)
    rgb = photos.rgba[..., :3].float() / 255
    edges = (rgb[:, 0], rgb[:, -1], rgb[:, :, 0], rgb[:, :, -1])
    border = torch.cat([edge.reshape(-1, 3) for edge in edges])
    color = border.median(0).values
    red, green, blue = color.tolist()
    return PhotoBackground((red, green, blue), random=False, border_std=float((border - color).square().mean().sqrt()))


@dataclass(frozen=True)
class ViewMetrics:
    """Image metrics of held-out photos, one figure per photo."""

    psnr: tuple[float, ...]  # dB
    ssim: tuple[float, ...]

    @property
    def means(self) -> tuple[float, float]:
        """Mean PSNR in dB and mean SSIM."""
        return sum(self.psnr) / len(self.psnr), sum(self.ssim) / len(self.ssim)


def evaluate_views(
    field: Field,
    photos: Photos,
    config: Config,
    *,
    generator: torch.Generator,
    background: PhotoBackground | None = None,
) -> ViewMetrics:
    """Measure PSNR and SSIM on ``photos``, over white if the object is masked."""
    photos, background = photos.to(generator.device), background or estimate_background(photos)
    images, targets = render_with_targets(
        field, photos, occupied_cells(field, config, generator), background, config, generator
    )
    errors = (images - targets).square().mean((1, 2, 3)).tolist()
    return ViewMetrics(tuple(map(psnr, errors)), tuple(ssim(images, targets).tolist()))


def render_with_targets(
    field: Field,
    photos: Photos,
    occupancy: OccupancyLike,
    background: PhotoBackground,
    config: Config,
    generator: torch.Generator,
) -> tuple[Float[Tensor, "b h w 3"], Float[Tensor, "b h w 3"]]:
    """Render the photos' views; return renders and photos over the same background."""
    settings = RenderSettings(step_size=config.render.step_size, shading="albedo")
    render, _ = render_field_chunked(field, photos.cameras, occupancy=occupancy, generator=generator, settings=settings)
    background_color = torch.tensor(background.color, device=generator.device)
    pixels = torch.arange(render.opacity.numel(), device=generator.device)
    targets = photo_colors(photos, pixels, background_color.expand(len(pixels), 3))
    return render.over(background_color).clamp(0, 1), targets.view_as(render.rgb)


def _render_preview(
    field: Field, photos: Photos, occupancy: OccupancyGrid, background: PhotoBackground, config: Config
) -> Render:
    """Render some photos' views for a preview, side by side with the photos."""
    device = occupancy.binary.device
    generator = torch.Generator(device).manual_seed(0)  # for the preview alone: the run's draws stay as they are
    subset = photos.select([i * len(photos) // PREVIEW_PHOTOS for i in range(min(PREVIEW_PHOTOS, len(photos)))])
    images, targets = render_with_targets(field, subset, occupancy, background, config, generator)
    rgb = torch.stack([targets, images], 1).flatten(0, 1)
    return Render(rgb, torch.ones_like(rgb[..., 0]), torch.zeros_like(rgb[..., 0]))
