"""Training of the shipped image-text encoder on pictures of procedural props."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.priors.image_text.embedded_clip import JudgeNet
from dreamfusion3d.priors.image_text.protocol import GROUND
from dreamfusion3d.priors.pixel.conditioner import world_vocabulary
from dreamfusion3d.procedural.categories import HANDLES, KINDS
from dreamfusion3d.procedural.dataset import Pictures
from dreamfusion3d.procedural.objects import COLOURS, SIZES, Meaning

PICTURES = 192  # a step
GREY_SHARE = 0.35  # of the pictures without their colours: shape alone must do
ZOOM = (0.8, 1.35)  # an asset's size in its picture is not the prop's


def new_judge(seed: int) -> JudgeNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return JudgeNet(world_vocabulary())


def train_judge(
    net: JudgeNet, data: Pictures, *, steps: int, rate: float = 1.5e-3, generator: torch.Generator
) -> Iterator[tuple[int, float, float]]:
    """Yields (step, loss, share of pictures whose own sentence wins in the batch).

    The contrast is both ways; each sentence has a twin with one word changed among the
    negatives, or counts and patterns would never have to be looked at.
    """
    optimiser = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=0.02)
    net.train().requires_grad_(True)
    for turn in range(steps):
        rgba, meanings = data.singles(PICTURES, generator=generator)
        pictures = _shown(rgba, generator=generator)
        twins = [one_changed(m, generator=generator) for m in meanings]
        seen, said = net.look(pictures), net.hear([*meanings, *twins])
        scale = net.scale.clamp(max=4.6).exp()
        likeness = scale * seen @ said.T
        tokens = [tuple(m.tokens()) for m in (*meanings, *twins)]
        same = torch.tensor([[a == b for b in tokens] for a in tokens[:PICTURES]])
        own = torch.eye(PICTURES, 2 * PICTURES, dtype=torch.bool)
        masked = likeness.masked_fill(same & ~own, -1e4)
        goal = torch.arange(PICTURES)
        loss = F.cross_entropy(masked, goal) + F.cross_entropy(masked[:, :PICTURES].T, goal)
        warm = min(1.0, (turn + 1) / 100)
        for group in optimiser.param_groups:
            group["lr"] = rate * warm * (1 - turn / steps)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        yield turn + 1, float(loss.detach()), float((masked.argmax(1) == goal).float().mean())
    net.eval()


def _shown(rgba: Float[Tensor, "b 4 h w"], *, generator: torch.Generator) -> Float[Tensor, "b 3 h w"]:
    """Premultiplied RGBA in [-1, 1] over grey, zoomed and moved a little, some without colours."""
    b = len(rgba)
    unit = (rgba + 1) / 2
    grey = torch.rand(b, generator=generator) < GREY_SHARE
    luma = unit[:, :3].amax(1, keepdim=True)  # brightest channel: dark paint must not look like shade
    bare = torch.cat([luma.expand(-1, 3, -1, -1), unit[:, 3:]], 1)
    unit = torch.where(grey[:, None, None, None], bare, unit)
    zoom = ZOOM[0] + (ZOOM[1] - ZOOM[0]) * torch.rand(b, generator=generator)
    shift = 0.16 * (torch.rand(b, 2, generator=generator) - 0.5)
    theta = torch.zeros(b, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 / zoom
    theta[:, :, 2] = shift
    moved = F.grid_sample(
        unit, F.affine_grid(theta, list(unit.shape), align_corners=False), align_corners=False
    )
    return moved[:, :3] + (1 - moved[:, 3:]) * GROUND


def one_changed(meaning: Meaning, *, generator: torch.Generator) -> Meaning:
    """The meaning with one of its slots, other than the kind, given another value."""
    kind = KINDS[meaning.kind]
    options: dict[str, list[object]] = {
        "colour": ["natural", *COLOURS], "second_colour": ["default", *COLOURS], "count": list(kind.counts),
        "size": list(SIZES), "finish": list(kind.finishes), "option": [False, True] if kind.option else [],
    }
    if kind.second is HANDLES and meaning.count == 0:
        options["second_colour"] = []  # nothing of that colour is there to be seen
    changes = [
        (name, value) for name, values in options.items() for value in values
        if value != getattr(meaning, name)
    ]
    # slots alike, however many values they have
    names = sorted({name for name, _ in changes})
    name = names[int(torch.randint(len(names), (), generator=generator))]
    values = [value for n, value in changes if n == name]
    value = values[int(torch.randint(len(values), (), generator=generator))]
    return dataclasses.replace(meaning, **{name: value})  # type: ignore[arg-type]
