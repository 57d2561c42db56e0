"""Image-text encoders: images and prompts as unit vectors of one space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

BACKGROUND_GRAY = 0.86  # grey behind the pictures
EMBEDDED_ENCODER = "embedded"


@runtime_checkable
class ImageTextEncoder(Protocol):
    """Pictures and sentences as unit vectors of one space."""

    name: str

    def encode_images(self, views: Float[np.ndarray, "v h w 4"]) -> Float[np.ndarray, "v d"]: ...

    def encode_texts(self, prompts: Sequence[str]) -> Float[np.ndarray, "p d"]: ...


def composite_over_gray(views: Float[np.ndarray, "v h w 4"]) -> Float[np.ndarray, "v h w 3"]:
    """Premultiplied RGBA over the grey that every encoder sees."""
    return np.clip(views[..., :3] + (1 - views[..., 3:]) * BACKGROUND_GRAY, 0, 1)


def unit_vectors(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
