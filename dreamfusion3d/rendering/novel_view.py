"""Pictures of a field from cameras anywhere, a part at a time, where no gradient is wanted."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.cameras.pinhole import Pinholes
from dreamfusion3d.core.shading import light_direction
from dreamfusion3d.core.types import Field, Render
from dreamfusion3d.rendering.occupancy_grid import Occupancy
from dreamfusion3d.rendering.volume import Rays, RenderSettings, light_up, lit_of, march_through, weigh

CHUNK = 1 << 14  # rays of one call


@torch.no_grad()
def field_views(
    field: Field, cameras: Pinholes, *, occupancy: Occupancy | Tensor, generator: torch.Generator,
    settings: RenderSettings,
) -> tuple[Render, Float[Tensor, "b h w 3"]]:
    """As `volume.render`, for any pinhole cameras; and the albedo, premultiplied."""
    pixels = cameras.height * cameras.width
    light, total, parts = light_direction(cameras.camera_to_world), len(cameras) * pixels, []
    for first in range(0, total, CHUNK):
        which = torch.arange(first, min(first + CHUNK, total), device=cameras.focal.device)
        part = Rays(*cameras.rays(which), light, pixels, first)
        samples = march_through(part, occupancy, settings, generator)
        weight, albedo = weigh(field, part, samples)
        seen = light_up(field, part, samples, weight, albedo, lit_of(weight, part, settings, None), settings)
        parts.append((seen.rgb, seen.opacity, seen.depth, seen.normals, seen.albedo))
    shape = (len(cameras), cameras.height, cameras.width)
    rgb, opacity, depth, normals, albedo = (
        torch.cat(values).reshape(*shape, *values[0].shape[1:]) for values in zip(*parts, strict=True)
    )
    return Render(rgb, opacity, depth, normals), albedo
