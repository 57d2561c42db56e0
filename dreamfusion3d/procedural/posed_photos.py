"""Synthetic photos of an object with known cameras and a fixed light, to reconstruct a field from."""

from __future__ import annotations

import torch

from dreamfusion3d.cameras.capture import Photos
from dreamfusion3d.cameras.orbit import OrbitCameras
from dreamfusion3d.cameras.pinhole import PinholeCameras
from dreamfusion3d.procedural.objects import ObjectBatch, ObjectSpec
from dreamfusion3d.procedural.renderer import render_objects

PHOTO_LIGHT_DIRECTION = (0.4, 0.75, 0.53)  # towards the light, in world space; unit length to 1 %


def render_photos(objects: ObjectBatch, index: int, spec: ObjectSpec, cameras: OrbitCameras) -> Photos:
    """Render object ``index`` in the colors of ``spec``, with the background cut out."""
    num_photos = len(cameras)
    light = torch.tensor(PHOTO_LIGHT_DIRECTION)
    layers = render_objects(
        objects[[index] * num_photos], cameras, spec.material, (light / light.norm()).expand(num_photos, 3)
    )
    rgb = layers.colorize(torch.tensor(spec.part_colors()).expand(num_photos, -1, 3))
    alpha = layers.opacity[..., None]
    rgba = torch.cat([rgb / alpha.clamp(min=1e-6), alpha], -1).clamp(0, 1)
    names = tuple(f"images/{i:04d}.png" for i in range(num_photos))
    return Photos((rgba * 255).round().to(torch.uint8), PinholeCameras.from_orbit(cameras), names, True)
