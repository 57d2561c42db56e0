"""Protocol of image-text encoders, and what they share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from dreamfusion3d.core.shading import BACKGROUND_GRAY

EMBEDDED_ENCODER = "embedded"  # name of the embedded encoder in options and settings


@runtime_checkable
class ImageTextEncoder(Protocol):
    """Encoder of images (premultiplied RGBA) and prompts as unit vectors of one space."""

    name: str

    def encode_images(self, views: Float[np.ndarray, "v h w 4"]) -> Float[np.ndarray, "v d"]: ...

    def encode_texts(self, prompts: Sequence[str]) -> Float[np.ndarray, "p d"]: ...


def composite_over_gray(views: Float[np.ndarray, "v h w 4"]) -> Float[np.ndarray, "v h w 3"]:
    """Composite premultiplied RGBA over the gray background of all encoders."""
    return np.clip(views[..., :3] + (1 - views[..., 3:]) * BACKGROUND_GRAY, 0, 1)
