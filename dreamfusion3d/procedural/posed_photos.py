"""Photos of a prop with known cameras, under a lamp that stands still: something to fit a field to."""

from __future__ import annotations

import torch

from dreamfusion3d.cameras.capture import Photos
from dreamfusion3d.cameras.orbit import Cameras
from dreamfusion3d.cameras.pinhole import Pinholes
from dreamfusion3d.procedural.objects import Instances, Meaning
from dreamfusion3d.procedural.renderer import draw

LAMP = (0.4, 0.75, 0.53)  # towards it, in world space; unit length to 1 %


def take_photos(props: Instances, index: int, meaning: Meaning, cameras: Cameras) -> Photos:
    """Instance ``index`` of ``props``, painted as ``meaning`` says, cut out."""
    count = len(cameras)
    lamp = torch.tensor(LAMP)
    planes = draw(props[[index] * count], cameras, meaning.finish, (lamp / lamp.norm()).expand(count, 3))
    rgb = planes.paint(torch.tensor(meaning.paints()).expand(count, -1, 3))
    alpha = planes.opacity[..., None]
    rgba = torch.cat([rgb / alpha.clamp(min=1e-6), alpha], -1).clamp(0, 1)
    names = tuple(f"images/{i:04d}.png" for i in range(count))
    return Photos((rgba * 255).round().to(torch.uint8), Pinholes.of(cameras), names, True)
