"""What the prior teaches the pictures of one step, and the ways of asking it in less memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.cameras.orbit import Cameras
from dreamfusion3d.core.config import Config, GuidanceConfig
from dreamfusion3d.core.types import Render
from dreamfusion3d.guidance import Guidance, Teacher
from dreamfusion3d.memory.checkpoint_plan import Schedule, keep_all
from dreamfusion3d.memory.checkpointed import execute
from dreamfusion3d.memory.oom_fallback import Ladder
from dreamfusion3d.priors.cfg import guided
from dreamfusion3d.priors.protocol import Chained, InBlocks, Movable, Prior, Prompts
from dreamfusion3d.training.checkpoint import Run
from dreamfusion3d.training.schedules import dreamtime, ramp

Result = TypeVar("Result")


@dataclass(frozen=True)
class Way:
    """How a step is taken; all of them have one gradient, but for the order of its sums. The default keeps
    everything and asks everything at once."""

    tiles: int = 1  # of rays, of which each is rendered again before its backward pass
    # pictures that pass the prior's encoder together and, after the guidance, again; None: all, once
    views: int | None = None
    schedule: Schedule | None = None  # of the encoder's blocks; None: all are kept
    at_once: int | None = None  # pictures of a question to the prior; None: all prompts' in one
    offload: bool = False  # the prior's network stays in main memory, its layers come in turn


def attempt(
    run: Run, ladder: Ladder[Way], backward: Callable[[Way], Result]
) -> Result:
    """``backward`` on the ladder's plan; where memory runs out, on a cheaper one, from the same draws and
    with what the guidance knew."""
    lot = run.generator.get_state()
    learnt = {name: value.clone() for name, value in run.guidance.tensors().items()}
    share = run.lead.kept() if run.lead else None

    def undo() -> None:
        run.optimiser.zero_grad(set_to_none=True)
        run.generator.set_state(lot)
        # copies: an optimiser keeps what it is given, and a second undo needs it as it was
        run.guidance.restore({name: value.clone() for name, value in learnt.items()})
        if run.lead and share:
            run.lead.share = replace(share)

    return ladder.attempt(backward, undo)


def guidance_loss(
    guidance: Guidance, picture: Render, cameras: Cameras, prior: Prior, text: Prompts, config: Config,
    progress: float, *, generator: torch.Generator, way: Way = Way(),
) -> Float[Tensor, ""]:
    """The guidance's loss for the views of one step, a mean over its draws of time and noise.

    With ``way.views`` it is another function with the same gradient.
    """
    if isinstance(prior, Movable) and prior.placed is not None:
        prior.placed.put(way.offload)
    chain = None
    if way.views is not None or way.schedule is not None:
        chain = chained(prior, picture, generator)
    if chain is None:
        x = prior.encode(picture, generator=generator)
    elif way.views is None:
        x = _encoded(chain, way.schedule, slice(0, len(cameras)), picture.rgb, picture.opacity)
    else:
        def lesson(x: Tensor) -> Tensor:
            return taught(guidance, x, cameras, prior, text, config, progress, way.at_once, generator)

        return _encoded_again(chain, way.views, way.schedule, picture, lesson)
    return taught(guidance, x, cameras, prior, text, config, progress, way.at_once, generator)


def chained(prior: Prior, picture: Render, generator: torch.Generator) -> Chained | None:
    """The prior's encoder as blocks, where it is made of such."""
    return prior.chained(picture, generator=generator) if isinstance(prior, InBlocks) else None


def _encoded(chain: Chained, schedule: Schedule | None, rows: slice, rgb: Tensor, opacity: Tensor) -> Tensor:
    blocks = chain.blocks(rows)
    return execute(blocks, schedule or keep_all(len(blocks)), {"rgb": rgb, "opacity": opacity})["x"]


def _encoded_again(
    chain: Chained, views: int, schedule: Schedule | None, picture: Render, lesson: Callable[[Tensor], Tensor]
) -> Float[Tensor, ""]:
    """Encodes without a graph; and again, ``views`` pictures at a time, when it is known what for."""
    parts = [slice(i, min(i + views, len(picture.rgb))) for i in range(0, len(picture.rgb), views)]
    rgb, opacity = picture.rgb.detach(), picture.opacity.detach()
    with torch.no_grad():
        x = torch.cat([_encoded(chain, None, rows, rgb[rows], opacity[rows]) for rows in parts])
    x.requires_grad_(True)
    (wanted,) = torch.autograd.grad(lesson(x), x)
    del x
    grads = []
    for rows in parts:
        leaves = [t[rows].clone().requires_grad_(True) for t in (rgb, opacity)]
        encoded = _encoded(chain, schedule, rows, *leaves)
        grads.append(torch.autograd.grad(encoded, leaves, wanted[rows]))
        del encoded
    of_rgb, of_opacity = (torch.cat(part) for part in zip(*grads, strict=True))
    return (picture.rgb * of_rgb).sum() + (picture.opacity * of_opacity).sum()


def taught(
    guidance: Guidance, x: Tensor, cameras: Cameras, prior: Prior, text: Prompts, config: Config,
    progress: float, at_once: int | None, generator: torch.Generator,
) -> Float[Tensor, ""]:
    """The loss of pictures in the prior's space."""
    settings = config.guidance
    views = len(cameras)
    joint = views if settings.joint_views else 1

    def ask(x_t: Tensor, t: Tensor, scale: float) -> Tensor:
        return guided(
            prior, x_t, t, text, cameras, scale=scale, rescale=settings.rescale, views=joint, at_once=at_once
        )

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
