"""The cameras that a renderer takes."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor


@runtime_checkable
class RayCameras(Protocol):
    """``b`` pinhole cameras that share one image size: `OrbitCameras` or `PinholeCameras`.

    The two round the last bit of their rays differently, so a renderer takes each as it is.
    """

    @property
    def camera_to_world(self) -> Float[Tensor, "b 4 4"]:
        """Rigid transforms; columns are right, up, backward and the position."""

    @property
    def intrinsics(self) -> Float[Tensor, "b 4"]:
        """Focal lengths along u and v, then the principal point, in pixels."""

    @property
    def height(self) -> int: ...

    @property
    def width(self) -> int: ...

    def __len__(self) -> int: ...

    def to(self, device: torch.device | str) -> RayCameras: ...

    def resized(self, height: int, width: int) -> RayCameras:
        """Return the same cameras with another image size."""

    def rays(self) -> tuple[Float[Tensor, "b h w 3"], Float[Tensor, "b h w 3"]]:
        """Return origins and unit directions through all pixel centers."""

    def rays_through(self, pixels: Int64[Tensor, " n"]) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 3"]]:
        """Return the rays of ``pixels``, numbered in the order b, h, w; the same bits as `rays`."""

    def project(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "b n 3"]:
        """Return pixel coordinates (u, v) and depths along the optical axis of world points."""
