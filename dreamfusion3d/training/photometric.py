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
from dreamfusion3d.cameras.orbit import OrbitCameras, sample_orbit_cameras
from dreamfusion3d.core.async_scalar import AsyncScalar, DelayedScalar
from dreamfusion3d.core.config import Config
from dreamfusion3d.core.image_metrics import psnr, ssim
from dreamfusion3d.core.optimizers import step_if_finite
from dreamfusion3d.core.types import Field, Render
from dreamfusion3d.fields.nerf import NerfField
from dreamfusion3d.guidance import Guidance, load_guidance
from dreamfusion3d.rendering.chunked import render_field_chunked
from dreamfusion3d.rendering.occupancy_grid import OccupancyGrid, occupied_cells
from dreamfusion3d.rendering.volume import OccupancyLike, Rays, RenderSettings, render_field, render_rays
from dreamfusion3d.training.checkpoint import OptimizationState
from dreamfusion3d.training.loop import Step, make_field_optimizer, run_steps
from dreamfusion3d.training.previews import PREVIEW_INTERVAL, PreviewWriter
from dreamfusion3d.training.schedules import geometric_ramp

ERROR_DECAY = 0.95  # of the squared error that the progress shows
EVALUATION_BACKGROUND = (1.0, 1.0, 1.0)  # behind photos whose object is cut out, where figures are taken
PREVIEW_PHOTOS = 3  # photos in the preview


@runtime_checkable
class NovelViewLoss(Protocol):
    """What is asked of the field's pictures from poses that no photo has."""

    @property
    def guidance(self) -> Guidance | None:
        """Whose state goes into checkpoints; None where there is none."""

    @property
    def end_fraction(self) -> float:
        """Share of the steps after which it is not asked any more."""

    def __call__(
        self, rendered: Render, cameras: OrbitCameras, progress: float, *, generator: torch.Generator
    ) -> Float[Tensor, ""]: ...


@dataclass(frozen=True)
class PhotoBackground:
    """What is behind the object."""

    color: tuple[float, float, float]
    random: bool  # the object is cut out: any colour may be put behind it
    border_std: float = 0.0  # how far the photos' borders are from one colour


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
    """Fits ``field`` to ``photos`` (scene units), in place. ``ground`` is `ground_of` the photos.

    ``unseen`` is asked every ``reconstruction.novel_view_interval`` steps. Checkpoints and previews are those of `optimize`: a
    resumed run takes the same steps as an undisturbed one.
    """
    optim, device = config.optim, generator.device
    photos, background = photos.to(device), background or estimate_background(photos)
    occupancy = OccupancyGrid(config.render.occupancy_grid_resolution, device)
    load_warnings: list[str] = []
    guidance = novel_view_loss.guidance if novel_view_loss else None
    if guidance is None:  # nothing asks it; a run has one
        guidance = load_guidance(dataclasses.replace(config.guidance, type="sds"), device=device)
    state = OptimizationState(field, make_field_optimizer(field, config), occupancy, generator, guidance)
    field.set_sharpness(optim.sharpness)
    error = 0.0

    errors = DelayedScalar(delayed=device.type == "cuda")

    def step() -> tuple[AsyncScalar, None]:
        nonlocal error
        norm, async_error = _step(
            state, photos, background, novel_view_loss, state.index / max(optim.steps - 1, 1), config
        )
        step_error = errors.update(async_error)
        error = ERROR_DECAY * error + (1 - ERROR_DECAY) * step_error if error else step_error
        return norm, None

    with PreviewWriter(preview) as previews:
        for info in run_steps(
            state,
            optim.steps,
            step,
            checkpoint=checkpoint,
            preview=None,
            load_warnings=load_warnings,
            lr_setting="optim.lr_hashgrid",
        ):
            if preview and (info.index % PREVIEW_INTERVAL == 0 or info.index == 1):
                previews.submit(_render_preview(field, photos, state.occupancy, background, config))
            yield dataclasses.replace(info, metric=f"{psnr(error):.1f} dB")


def _step(
    state: OptimizationState[NerfField, OccupancyGrid],
    photos: Photos,
    background: PhotoBackground,
    novel_view_loss: NovelViewLoss | None,
    progress: float,
    config: Config,
) -> tuple[AsyncScalar, AsyncScalar]:
    """One update of the field; the gradient's norm and the mean squared error of the step's pixels."""
    optim, field, generator = config.optim, state.field, state.generator
    if state.index % optim.occupancy_update_interval == 0:
        state.occupancy.update(field.density, generator=generator, step=state.index)
    lr_factor = geometric_ramp(progress, 1.0, optim.lr_final_factor)
    for group, lr in zip(state.optimizer.param_groups, (optim.lr_hashgrid, optim.lr_mlp), strict=True):
        group["lr"] = lr * lr_factor
    pixels = torch.randint(
        photos.rgba[..., 0].numel(),
        (config.reconstruction.rays_per_step,),
        generator=generator,
        device=generator.device,
    )
    background_colors = _sample_background(background, len(pixels), generator)
    # the photos' light stays in the color: its directions are unknown
    settings = RenderSettings(step_size=config.render.step_size, shading="albedo")
    rays = Rays.from_cameras(photos.cameras, pixels)
    outputs = render_rays(field, rays, occupancy=state.occupancy, generator=generator, settings=settings)
    error = (
        (
            outputs.rgb
            + (1 - outputs.opacity[:, None]) * background_colors
            - photo_colors(photos, pixels, background_colors)
        )
        .square()
        .mean()
    )
    loss = error
    use_novel_views = (
        novel_view_loss is not None
        and progress <= novel_view_loss.end_fraction
        and state.index % config.reconstruction.novel_view_interval == 0
    )
    if novel_view_loss is not None and use_novel_views:
        cameras = sample_orbit_cameras(
            config.reconstruction.num_novel_views, generator=generator, size=config.render.resolution
        )
        rendered = render_field(field, cameras, occupancy=state.occupancy, generator=generator, settings=settings)
        loss = loss + novel_view_loss(rendered, cameras, progress, generator=generator)
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    return step_if_finite(state.optimizer), AsyncScalar(error)


def _sample_background(background: PhotoBackground, count: int, generator: torch.Generator) -> Float[Tensor, "n 3"]:
    """A colour a ray. Random ones (instant-ngp, arXiv 2201.05989) leave haze nothing to imitate."""
    if background.random:
        return torch.rand(count, 3, generator=generator, device=generator.device)
    return torch.tensor(background.color, device=generator.device).expand(count, 3)


def photo_colors(photos: Photos, pixels: Int64[Tensor, " n"], background: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """What the photos show there, over ``behind`` where the object is cut out."""
    rgba = photos.rgba.reshape(-1, 4)[pixels].float() / 255
    if not photos.masked:
        return rgba[:, :3]
    return rgba[:, :3] * rgba[:, 3:] + (1 - rgba[:, 3:]) * background


def estimate_background(photos: Photos) -> PhotoBackground:
    """White for figures and any colour for fitting where the object is cut out; else the colour that
    most of the photos' borders have."""
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
    """Of the field's pictures to photos that it was not fitted to, one figure a photo."""

    psnr: tuple[float, ...]  # dB
    ssim: tuple[float, ...]

    @property
    def means(self) -> tuple[float, float]:
        return sum(self.psnr) / len(self.psnr), sum(self.ssim) / len(self.ssim)


def evaluate_views(
    field: Field,
    photos: Photos,
    config: Config,
    *,
    generator: torch.Generator,
    background: PhotoBackground | None = None,
) -> ViewMetrics:
    """PSNR and SSIM, over white where the object is cut out."""
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
    """The field's pictures and the photos, over the same ground."""
    settings = RenderSettings(step_size=config.render.step_size, shading="albedo")
    render, _ = render_field_chunked(field, photos.cameras, occupancy=occupancy, generator=generator, settings=settings)
    background_color = torch.tensor(background.color, device=generator.device)
    pixels = torch.arange(render.opacity.numel(), device=generator.device)
    targets = photo_colors(photos, pixels, background_color.expand(len(pixels), 3))
    return render.over(background_color).clamp(0, 1), targets.view_as(render.rgb)


def _render_preview(
    field: Field, photos: Photos, occupancy: OccupancyGrid, background: PhotoBackground, config: Config
) -> Render:
    """Some photos and the field's pictures from the same places, in turn."""
    device = occupancy.binary.device
    generator = torch.Generator(device).manual_seed(0)  # of the preview alone: the run draws what it would
    subset = photos.select([i * len(photos) // PREVIEW_PHOTOS for i in range(min(PREVIEW_PHOTOS, len(photos)))])
    images, targets = render_with_targets(field, subset, occupancy, background, config, generator)
    rgb = torch.stack([targets, images], 1).flatten(0, 1)
    return Render(rgb, torch.ones_like(rgb[..., 0]), torch.zeros_like(rgb[..., 0]))
