"""Contrastive training of the embedded CLIP on renders of procedural objects."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.core.shading import BACKGROUND_GRAY
from dreamfusion3d.priors.image_text.embedded_clip import EmbeddedClip
from dreamfusion3d.priors.pixel.conditioner import procedural_vocabulary
from dreamfusion3d.procedural.categories import CATEGORIES
from dreamfusion3d.procedural.dataset import ObjectDataset
from dreamfusion3d.procedural.objects import COLORS, SIZES, ObjectSpec

BATCH_SIZE = 192
GRAYSCALE_FRACTION = 0.35  # of the images, so that shape alone suffices
ZOOM_RANGE = (0.8, 1.35)  # assets fill their image differently from the training objects


def new_embedded_clip(seed: int) -> EmbeddedClip:
    """Create a network with seeded initial weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return EmbeddedClip(procedural_vocabulary())


def train_embedded_clip(
    net: EmbeddedClip,
    data: ObjectDataset,
    *,
    steps: int,
    batch_size: int = BATCH_SIZE,
    learning_rate: float = 1.5e-3,
    generator: torch.Generator,
) -> Iterator[tuple[int, float, float]]:
    """Minimize the symmetric InfoNCE loss of CLIP (arXiv 2103.00020), with hard negatives.

    Each prompt has a hard negative with one attribute changed; without them the network could
    ignore counts and patterns.

    Yields:
        (step, loss, accuracy), where accuracy is the fraction of images closest to their own prompt.
    """
    optimizer = torch.optim.AdamW(net.parameters(), lr=learning_rate, weight_decay=0.02)
    net.train().requires_grad_(True)
    for step in range(steps):
        rgba, specs = data.sample_images(batch_size, generator=generator)
        images = _augment_images(rgba, generator=generator)
        negatives = [hard_negative(spec, generator=generator) for spec in specs]
        image_features, text_features = net.encode_images(images), net.encode_specs([*specs, *negatives])
        scale = net.scale.clamp(max=4.6).exp()
        logits = scale * image_features @ text_features.T
        tokens = [tuple(spec.tokens()) for spec in (*specs, *negatives)]
        same_spec = torch.tensor([[a == b for b in tokens] for a in tokens[:batch_size]])
        positives = torch.eye(batch_size, 2 * batch_size, dtype=torch.bool)
        masked_logits = logits.masked_fill(same_spec & ~positives, -1e4)
        target = torch.arange(batch_size)
        loss = F.cross_entropy(masked_logits, target) + F.cross_entropy(masked_logits[:, :batch_size].T, target)
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
    """Composite premultiplied RGBA in [-1, 1] over gray, with random zoom, shift and grayscale."""
    b = len(rgba)
    unit = (rgba + 1) / 2
    grayscale = torch.rand(b, generator=generator) < GRAYSCALE_FRACTION
    luma = unit[:, :3].amax(1, keepdim=True)  # brightest channel, so that dark paint does not look like shading
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
    """Change one visible attribute of the spec, other than its category, to another value."""
    category = CATEGORIES[spec.category]
    options: dict[str, list[object]] = {
        "color": ["natural", *COLORS],
        "second_color": ["default", *COLORS],
        "count": list(category.counts),
        "size": list(SIZES),
        "material": list(category.materials),
        "option": [False, True] if category.option_words else [],
    }
    if category.second_part_is_handles and spec.count == 0:
        options["second_color"] = []  # the absent part shows no color
    changes = {name: [value for value in values if value != getattr(spec, name)] for name, values in options.items()}
    # every attribute is equally likely, however many values it has
    names = sorted(name for name, values in changes.items() if values)
    name = names[int(torch.randint(len(names), (), generator=generator))]
    value = changes[name][int(torch.randint(len(changes[name]), (), generator=generator))]
    return dataclasses.replace(spec, **{name: value})  # type: ignore[arg-type]
