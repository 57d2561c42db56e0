"""One picture of many kinds: what each looks like in its usual form."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import UInt8

from dreamfusion3d.cameras.orbit import orbit
from dreamfusion3d.procedural.objects import Meaning, meant_instances
from dreamfusion3d.procedural.renderer import draw

GROUND = 0.86  # grey


def picture(
    meaning: Meaning, *, size: int = 128, azimuth_deg: float = 25.0, elevation_deg: float = 20.0,
    seed: int = 0,
) -> UInt8[np.ndarray, "{size} {size} 3"]:
    """One instance of a meaning over grey, sRGB."""
    props = meant_instances(meaning, 1, generator=torch.Generator().manual_seed(seed))
    planes = draw(props, orbit([azimuth_deg], elevation_deg, height=size, width=size), meaning.finish)
    rgb = planes.paint(torch.tensor([meaning.paints()])) + (1 - planes.opacity[..., None]) * GROUND
    return (rgb[0].clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def sheet(meanings: list[Meaning], *, columns: int = 9, size: int = 128) -> UInt8[np.ndarray, "h w 3"]:
    """A picture of each, in reading order."""
    cells = [picture(m, size=size) for m in meanings]
    blank = np.full((size, size, 3), round(255 * GROUND), np.uint8)
    cells += [blank] * (-len(cells) % columns)
    rows = [np.concatenate(cells[i : i + columns], 1) for i in range(0, len(cells), columns)]
    return np.concatenate(rows)
