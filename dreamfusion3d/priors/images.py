"""Images of renders in a prior's pixel space."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.core.types import Render


def render_to_rgba(render: Render, size: int) -> Float[Tensor, "b 4 {size} {size}"]:
    """Return premultiplied RGB and opacity in [-1, 1], the pixel space of the embedded prior."""
    return resize_images(torch.cat([render.rgb, render.opacity[..., None]], -1).permute(0, 3, 1, 2) * 2 - 1, size)


def resize_images(images: Float[Tensor, "b c h w"], size: int) -> Float[Tensor, "b c {size} {size}"]:
    """Resize square images: bilinear enlargement, box-filtered reduction."""
    if images.shape[-1] < size:
        return F.interpolate(images, size=(size, size), mode="bilinear", align_corners=False)
    if images.shape[-1] > size:
        return F.interpolate(images, size=(size, size), mode="area")
    return images
