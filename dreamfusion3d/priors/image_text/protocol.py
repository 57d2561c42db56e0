"""Image-text encoders: images and prompts as unit vectors of one space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

GROUND = 0.86  # grey behind the pictures
JUDGE = "judge"


@runtime_checkable
class Encoder(Protocol):
    """Pictures and sentences as unit vectors of one space."""

    name: str

    def pictures(self, views: Float[np.ndarray, "v h w 4"]) -> Float[np.ndarray, "v d"]: ...

    def sentences(self, prompts: Sequence[str]) -> Float[np.ndarray, "p d"]: ...


def over_grey(views: Float[np.ndarray, "v h w 4"]) -> Float[np.ndarray, "v h w 3"]:
    """Premultiplied RGBA over the grey that every encoder sees."""
    return np.clip(views[..., :3] + (1 - views[..., 3:]) * GROUND, 0, 1)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
