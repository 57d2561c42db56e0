"""Training of the shipped image-text encoder on pictures of procedural props."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.priors.image_text.embedded_clip import EmbeddedClip
from dreamfusion3d.priors.image_text.protocol import BACKGROUND_GRAY
from dreamfusion3d.priors.pixel.conditioner import procedural_vocabulary
from dreamfusion3d.procedural.categories import CATEGORIES, HANDLE_WORDS
from dreamfusion3d.procedural.dataset import ObjectDataset
from dreamfusion3d.procedural.objects import COLORS, SIZES, ObjectSpec

BATCH_SIZE = 192  # a step
GRAYSCALE_FRACTION = 0.35  # of the pictures without their colours: shape alone must do
ZOOM_RANGE = (0.8, 1.35)  # an asset's size in its picture is not the prop's


def new_embedded_clip(seed: int) -> EmbeddedClip:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return EmbeddedClip(procedural_vocabulary())


def train_embedded_clip(
    net: EmbeddedClip, data: ObjectDataset, *, steps: int, learning_rate: float = 1.5e-3, generator: torch.Generator
) -> Iterator[tuple[int, float, float]]:
    """Yields (step, loss, share of pictures whose own sentence wins in the batch).

    The contrast is both ways; each sentence has a twin with one word changed among the
    negatives, or counts and patterns would never have to be looked at.
    """
    optimizer = torch.optim.AdamW(net.parameters(), lr=learning_rate, weight_decay=0.02)
    net.train().requires_grad_(True)
    for step in range(steps):
        rgba, specs = data.sample_images(BATCH_SIZE, generator=generator)
        images = _augment_images(rgba, generator=generator)
        negatives = [hard_negative(m, generator=generator) for m in specs]
        image_features, text_features = net.encode_images(images), net.encode_specs([*specs, *negatives])
        scale = net.scale.clamp(max=4.6).exp()
        logits = scale * image_features @ text_features.T
        tokens = [tuple(m.tokens()) for m in (*specs, *negatives)]
        same_spec = torch.tensor([[a == b for b in tokens] for a in tokens[:BATCH_SIZE]])
        positives = torch.eye(BATCH_SIZE, 2 * BATCH_SIZE, dtype=torch.bool)
        masked_logits = logits.masked_fill(same_spec & ~positives, -1e4)
        target = torch.arange(BATCH_SIZE)
        loss = F.cross_entropy(masked_logits, target) + F.cross_entropy(masked_logits[:, :BATCH_SIZE].T, target)
        warmup = min(1.0, (step + 1) / 100)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * warmup * (1 - step / steps)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        yield step + 1, float(loss.detach()), float((masked_logits.argmax(1) == target).float().mean())
    net.eval()


def _augment_images(rgba: Float[Tensor, "b 4 h w"], *, generator: torch.Generator) -> Float[Tensor, "b 3 h w"]:
    """Premultiplied RGBA in [-1, 1] over grey, zoomed and moved a little, some without colours."""
    b = len(rgba)
    unit = (rgba + 1) / 2
    grayscale = torch.rand(b, generator=generator) < GRAYSCALE_FRACTION
    luma = unit[:, :3].amax(1, keepdim=True)  # brightest channel: dark paint must not look like shade
    gray_rgba = torch.cat([luma.expand(-1, 3, -1, -1), unit[:, 3:]], 1)
    unit = torch.where(grayscale[:, None, None, None], gray_rgba, unit)
    zoom = ZOOM_RANGE[0] + (ZOOM_RANGE[1] - ZOOM_RANGE[0]) * torch.rand(b, generator=generator)
    shift = 0.16 * (torch.rand(b, 2, generator=generator) - 0.5)
    theta = torch.zeros(b, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 / zoom
    theta[:, :, 2] = shift
    moved = F.grid_sample(unit, F.affine_grid(theta, list(unit.shape), align_corners=False), align_corners=False)
    return moved[:, :3] + (1 - moved[:, 3:]) * BACKGROUND_GRAY


def hard_negative(spec: ObjectSpec, *, generator: torch.Generator) -> ObjectSpec:
    """The meaning with one of its slots, other than the kind, given another value."""
    category = CATEGORIES[spec.category]
    options: dict[str, list[object]] = {
        "color": ["natural", *COLORS],
        "second_color": ["default", *COLORS],
        "count": list(category.counts),
        "size": list(SIZES),
        "material": list(category.materials),
        "option": [False, True] if category.option_words else [],
    }
    if category.second_part_words is HANDLE_WORDS and spec.count == 0:
        options["second_color"] = []  # nothing of that colour is there to be seen
    changes = [(name, value) for name, values in options.items() for value in values if value != getattr(spec, name)]
    # slots alike, however many values they have
    names = sorted({name for name, _ in changes})
    name = names[int(torch.randint(len(names), (), generator=generator))]
    values = [value for n, value in changes if n == name]
    value = values[int(torch.randint(len(values), (), generator=generator))]
    return dataclasses.replace(spec, **{name: value})  # type: ignore[arg-type]
