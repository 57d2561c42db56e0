"""Catalog image: one render per object spec, on a grid."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import UInt8

from dreamfusion3d.cameras.orbit import orbit_cameras
from dreamfusion3d.core.shading import BACKGROUND_GRAY
from dreamfusion3d.procedural.objects import ObjectSpec, sample_objects_for_spec
from dreamfusion3d.procedural.renderer import render_objects


def render_spec_image(
    spec: ObjectSpec, *, size: int = 128, azimuth_deg: float = 25.0, elevation_deg: float = 20.0, seed: int = 0
) -> UInt8[np.ndarray, "{size} {size} 3"]:
    """Render one object of the spec over gray, in sRGB."""
    objects = sample_objects_for_spec(spec, 1, generator=torch.Generator().manual_seed(seed))
    layers = render_objects(
        objects, orbit_cameras([azimuth_deg], elevation_deg, height=size, width=size), spec.material
    )
    rgb = layers.colorize(torch.tensor([spec.part_colors()])) + (1 - layers.opacity[..., None]) * BACKGROUND_GRAY
    return (rgb[0].clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def render_catalog(specs: list[ObjectSpec], *, columns: int = 9, size: int = 128) -> UInt8[np.ndarray, "h w 3"]:
    """Render each spec into one cell of a grid, in reading order."""
    cells = [render_spec_image(spec, size=size) for spec in specs]
    blank = np.full((size, size, 3), round(255 * BACKGROUND_GRAY), np.uint8)
    cells += [blank] * (-len(cells) % columns)
    rows = [np.concatenate(cells[i : i + columns], 1) for i in range(0, len(cells), columns)]
    return np.concatenate(rows)
