"""The SDS loop: a generator of steps. No trainer, no callbacks; stop by not asking for more."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dreamfusion3d.cameras import Cameras, sample_orbit
from dreamfusion3d.checkpoint import Run
from dreamfusion3d.config import Config, GuidanceConfig, OptimConfig
from dreamfusion3d.errors import InputError
from dreamfusion3d.field.nerf import NerfField
from dreamfusion3d.files import replacing
from dreamfusion3d.guidance import Guidance, Teacher, load_guidance
from dreamfusion3d.prior.guide import guided
from dreamfusion3d.prior.protocol import Prior, Prompts
from dreamfusion3d.render.occupancy import Occupancy
from dreamfusion3d.render.volume import Detail, RenderSettings, render_detailed
from dreamfusion3d.schedules import dreamtime, geometric, ramp
from dreamfusion3d.types import Field, Render

SampleCameras = Callable[..., Cameras]  # (count, *, generator) -> Cameras
KEEP_EVERY = 50  # steps between checkpoints, and between states that a bad step falls back to
PREVIEW_EVERY = 50
SEEN = 0.01  # weight in a pixel
SETBACKS = 5  # after so many the run ends with an error


@dataclass(frozen=True)
class Step:
    """One optimisation step. The SDS loss is no objective (its target moves), so it is not here."""

    index: int  # 1-based
    total: int
    gradient_norm: float
    seconds: float
    note: str | None = None  # something that the user should know


def optimize(
    field: NerfField,
    prior: Prior,
    text: Prompts,
    config: Config,
    *,
    generator: torch.Generator,
    checkpoint: Path | None = None,
    preview: Path | None = None,
    sample_cameras: SampleCameras | None = None,
) -> Iterator[Step]:
    """Distil ``prior`` into ``field``, in place. ``text`` is what the cameras are asked:
    ``encode_prompts``'s, or two rows of ``Text``, prompt and empty prompt.

    Takes up ``checkpoint`` where there is one (a damaged one is named in a note and left), and
    writes it as it goes; a resumed run takes the same steps as an undisturbed one. ``preview``
    receives the pictures of a recent step. ``sample_cameras`` replaces the orbit's random draw.
    """
    known = 0.0 if field.start is None else config.optim.head_start  # the shape need not be found
    total = steps_after(config.optim, known)
    cameras_of = sample_cameras or _orbit(config)
    occupancy = Occupancy(config.render.occupancy_resolution, generator.device)
    problems: list[str] = []
    run = Run(
        field, _optimiser(field, config), occupancy, generator,
        load_guidance(config.guidance, device=generator.device, warn=problems.append),
    )
    yield from take_steps(
        run, total, lambda: _step(run, run.index / max(total - 1, 1), known, prior, text, config, cameras_of),
        checkpoint=checkpoint, preview=preview, problems=problems, rate="optim.table_rate",
    )
    field.set_sharpness(config.optim.sharpness)


def steps_after(optim: OptimConfig, known: float) -> int:
    """The steps of a run whose field already stands at ``known`` of the way from blob to asset."""
    return max(1, round(optim.steps * (1 - known)))


def take_steps(
    run: Run, total: int, step: Callable[[], tuple[float, Render]], *, checkpoint: Path | None,
    preview: Path | None, problems: Sequence[str], rate: str,
) -> Iterator[Step]:
    """The steps that are left of ``total``; ``step`` takes one and gives its gradient's norm and pictures.

    A step whose gradient is not finite is taken back to the last good state. ``problems`` are told
    with the first step; ``rate`` is the setting that a user might lower.
    """
    damage = run.load(checkpoint) if checkpoint else None
    note = "; ".join([*problems, *([damage] if damage else [])]) or None
    setbacks, safe = 0, run.tensors()
    while run.index < total:
        began = time.perf_counter()
        norm, picture = step()
        if not math.isfinite(norm):
            setbacks += 1
            if setbacks > SETBACKS:
                raise InputError(
                    f"the optimisation met {setbacks} gradients that are not finite and gave up; "
                    f"try --seed with another number, or lower {rate} and guidance.scale"
                )
            bad = run.index + 1
            run.restore(safe, keep_generator=True)  # other noise the second time
            setback = f"step {bad} gave a gradient that is not finite; went back to step {run.index}"
            note = f"{note}; {setback}" if note else setback
        else:
            run.index += 1
            if run.index % KEEP_EVERY == 0:
                safe = run.tensors()
                if checkpoint and run.index < total:
                    run.save(checkpoint)
            if preview and (run.index % PREVIEW_EVERY == 0 or run.index == 1):
                write_preview(picture, preview)
        yield Step(run.index, total, norm, time.perf_counter() - began, note)
        note = None


def _step(
    run: Run, progress: float, known: float, prior: Prior, text: Prompts, config: Config,
    cameras_of: SampleCameras,
) -> tuple[float, Render]:
    """One update of the field; the gradient's norm, and the pictures it was taken from.

    ``progress`` in [0, 1] is the run's; the times of the guidance begin at ``known`` of their way.
    """
    optim, field, generator = config.optim, run.field, run.generator
    field.set_sharpness(geometric(progress, 1.0, optim.sharpness, begin=0.2, finish=0.8))
    if run.index % optim.occupancy_every == 0:
        run.occupancy.update(field.density, generator=generator, step=run.index)
    share = geometric(progress, 1.0, optim.final_rate, begin=0.5)
    for group, rate in zip(run.optimiser.param_groups, (optim.table_rate, optim.mlp_rate), strict=True):
        group["lr"] = rate * share
    cameras = cameras_of(optim.views, generator=generator)
    if progress < config.render.coarse_share:
        cameras = cameras.resized(config.render.coarse_size, config.render.coarse_size)
    picture, detail = render_detailed(
        field, cameras, occupancy=run.occupancy, generator=generator,
        settings=RenderSettings(step_size=config.render.step_size),
    )
    way = known + (1 - known) * progress
    loss = guidance_loss(run.guidance, picture, cameras, prior, text, config, way, generator=generator)
    loss = loss + regularisers(picture, detail, config, progress)
    told = field.start is not None and len(field.start.sure) > 0  # a fog has said what is inside
    if optim.hollow_weight > 0 and not told:
        density = hidden_density(
            field, run.occupancy, cameras, detail, optim.hollow_points, generator=generator
        )
        loss = loss + optim.hollow_weight * torch.log1p(density).mean()
    if field.start is not None and told and optim.anchor_weight > 0:
        stray = field.start.strayed(field.density_logit, optim.anchor_points, generator=generator)
        loss = loss + optim.anchor_weight * stray
    run.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    norm = float(nn.utils.get_total_norm([p.grad for p in field.parameters() if p.grad is not None]))
    if math.isfinite(norm):
        run.optimiser.step()
    return norm, picture


def guidance_loss(
    guidance: Guidance, picture: Render, cameras: Cameras, prior: Prior, text: Prompts, config: Config,
    progress: float, *, generator: torch.Generator,
) -> Float[Tensor, ""]:
    """The guidance's loss for the views of one step, a mean over its draws of time and noise."""
    settings = config.guidance
    x = prior.encode(picture, generator=generator)
    views = len(cameras)
    joint = views if settings.joint_views else 1

    def ask(x_t: Tensor, t: Tensor, scale: float) -> Tensor:
        return guided(prior, x_t, t, text, cameras, scale=scale, rescale=settings.rescale, views=joint)

    teacher = Teacher(settings, prior.alpha_sigma, ask, _stand(cameras))
    losses = []
    for _ in range(settings.draws):
        # one time for all views of the scene: they are denoised together
        t = _time(settings, progress, generator).expand(views)
        losses.append(guidance(x, t, teacher, generator=generator).loss)
    return settings.weight * torch.stack(losses).mean()


def _time(settings: GuidanceConfig, progress: float, generator: torch.Generator) -> Float[Tensor, " 1"]:
    if settings.schedule == "dreamtime":
        now = dreamtime(progress, settings.t_end[0], settings.t_start[1])
        return torch.full((1,), now, device=generator.device)
    low = ramp(progress, settings.t_start[0], settings.t_end[0])
    high = ramp(progress, settings.t_start[1], settings.t_end[1])
    return low + (high - low) * torch.rand(1, generator=generator, device=generator.device)


def _stand(cameras: Cameras) -> Float[Tensor, "b 3"]:
    """Where the cameras stand, in numbers without a jump."""
    azimuth, elevation = torch.deg2rad(cameras.azimuth_deg), torch.deg2rad(cameras.elevation_deg)
    return torch.stack([azimuth.sin(), azimuth.cos(), elevation.sin()], -1)


def regularisers(picture: Render, detail: Detail, config: Config, progress: float) -> Float[Tensor, ""]:
    """DreamFusion's (arXiv 2209.14988, appendix A.2): opacity, entropy (late), orientation."""
    optim = config.optim
    opacity = picture.opacity.clamp(1e-4, 1 - 1e-4)
    entropy = -(opacity * opacity.log() + (1 - opacity) * (1 - opacity).log()).mean()
    sparse = (opacity.square() + 0.01).sqrt().mean()
    return (
        optim.opacity_weight * sparse
        + ramp(progress, 0.0, optim.entropy_weight, begin=0.3, finish=0.8) * entropy
        + optim.orientation_weight * detail.orientation_loss()
        + optim.albedo_variation_weight * variation(detail.albedo, picture.opacity)
        + optim.normal_variation_weight * variation(_normals(picture), picture.opacity)
    )


def hidden_density(
    field: Field, occupancy: Occupancy, cameras: Cameras, detail: Detail, count: int,
    *, generator: torch.Generator,
) -> Float[Tensor, " {count}"]:
    """Density at random points of occupied cells that this step's views do not see.

    What no picture shows would keep whatever density it began with: a jug stays full to the
    brim, because its surface can only be carved from outside. Emptied, it shows its far wall
    through the first thin spot of its mouth, and that is the picture the prior asks for. Cells
    next to a visible one are left alone, or thin parts would be eaten from within.
    """
    hidden = torch.nonzero(occupancy.binary & ~_around(_seen(occupancy, cameras, detail)))
    rows = torch.randint(max(len(hidden), 1), (count,), generator=generator, device=generator.device)
    jitter = torch.rand(count, 3, generator=generator, device=generator.device)
    if not len(hidden):
        return jitter.new_zeros(count)
    return field.density((hidden[rows] + jitter) * (2 / occupancy.resolution) - 1)


def _seen(occupancy: Occupancy, cameras: Cameras, detail: Detail) -> Bool[Tensor, "x y z"]:
    """Cells of the occupancy grid that hold a sample of more than SEEN weight."""
    resolution = occupancy.resolution
    with torch.no_grad():
        origins, directions = (t.reshape(-1, 3) for t in cameras.rays())
        points = detail.samples.positions(origins, directions)[detail.weights > SEEN]
        i, j, k = ((points + 1) * (resolution / 2)).long().clamp(0, resolution - 1).unbind(-1)
        seen = torch.zeros_like(occupancy.binary)
        seen[i, j, k] = True
    return seen


def _around(cells: Bool[Tensor, "x y z"]) -> Bool[Tensor, "x y z"]:
    """The cells and their 26 neighbours."""
    return F.max_pool3d(cells[None, None].float(), 3, 1, 1)[0, 0] > 0


def variation(pictures: Float[Tensor, "b h w c"], opacity: Float[Tensor, "b h w"]) -> Float[Tensor, ""]:
    """Total variation (Rudin, Osher and Fatemi 1992) where both neighbours are opaque, a mean over pixels.

    Of the albedo: paint must not stand in for shape (a dark disc for the mouth of a jug). Of
    the normals: surfaces are smooth, edges may be sharp.
    """
    solid = (opacity.detach() > 0.9).to(pictures.dtype)
    across = (pictures[:, :, 1:] - pictures[:, :, :-1]).square().sum(-1) * solid[:, :, 1:] * solid[:, :, :-1]
    down = (pictures[:, 1:] - pictures[:, :-1]).square().sum(-1) * solid[:, 1:] * solid[:, :-1]
    # the small number keeps the root's gradient finite where neighbours are equal
    return ((across + 1e-6).sqrt() - 1e-3).mean() + ((down + 1e-6).sqrt() - 1e-3).mean()


def _normals(picture: Render) -> Float[Tensor, "b h w 3"]:
    assert picture.normals is not None, "lambert shading always has normals"
    return picture.normals


def _orbit(config: Config) -> SampleCameras:
    def draw(count: int, *, generator: torch.Generator) -> Cameras:
        return sample_orbit(
            count, generator=generator, size=config.render.size, antipodal=config.optim.antipodal
        )

    return draw


def _optimiser(field: NerfField, config: Config) -> torch.optim.Adam:
    """Adam with instant-ngp's betas and epsilon (its appendix A); the table apart from the MLP."""
    rest = [p for name, p in field.named_parameters() if name != "table"]
    return torch.optim.Adam(
        [
            {"params": [field.table], "lr": config.optim.table_rate},
            {"params": rest, "lr": config.optim.mlp_rate},
        ],
        betas=(0.9, 0.99), eps=1e-15,
    )


def write_preview(picture: Render, path: Path) -> None:
    """The step's views side by side, over light grey."""
    with torch.no_grad():
        rgb = picture.over(picture.rgb.new_tensor([[0.85, 0.85, 0.85]])).clamp(0, 1).cpu().numpy()
    strip = np.concatenate(list(rgb), axis=1).repeat(2, 0).repeat(2, 1)
    with replacing(path) as temporary:
        iio.imwrite(temporary, (strip * 255).round().astype(np.uint8))
