"""Rendering of fields in chunks of rays, where no gradient is needed."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.cameras.protocol import RayCameras
from dreamfusion3d.core.types import Field, Render
from dreamfusion3d.rendering.volume import OccupancyLike, Rays, RenderSettings, render_rays


@torch.no_grad()
def render_field_chunked(
    field: Field,
    cameras: RayCameras,
    *,
    occupancy: OccupancyLike,
    generator: torch.Generator,
    settings: RenderSettings,
    rays_per_chunk: int = 1 << 14,
) -> tuple[Render, Float[Tensor, "b h w 3"]]:
    """Render a field without gradients, and return its unlit colors (premultiplied) as well.

    Memory beyond the images is bounded by ``rays_per_chunk``. Other arguments as in `render_field`.
    """
    shape = (len(cameras), cameras.height, cameras.width)
    names = ("rgb", "opacity", "depth") + (() if settings.shading == "albedo" else ("normals", "albedo"))
    images: dict[str, Tensor] = {}
    for pixels in torch.arange(math.prod(shape), device=cameras.camera_to_world.device).split(rays_per_chunk):
        rays = Rays.from_cameras(cameras, pixels)
        outputs = render_rays(field, rays, occupancy=occupancy, generator=generator, settings=settings)
        for name in names:
            value: Tensor = getattr(outputs, name)
            image = images.setdefault(name, value.new_empty(*shape, *value.shape[1:]))
            image.flatten(0, 2)[pixels] = value
    render = Render(images["rgb"], images["opacity"], images["depth"], images.get("normals"))
    return render, images.get("albedo", render.rgb)
