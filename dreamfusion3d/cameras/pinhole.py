"""Pinhole cameras with arbitrary poses and intrinsics."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from dreamfusion3d.cameras.orbit import OrbitCameras
from dreamfusion3d.core.types import map_tensors


@dataclass(frozen=True)
class PinholeCameras:
    """``b`` pinhole cameras with arbitrary poses that share one image size.

    Attributes:
        camera_to_world: Rigid transforms of shape (b, 4, 4), with columns right, up, backward and position; lengths in
            scene units.
        focal: Focal lengths along u and v in pixels, of shape (b, 2).
        principal_point: Coordinates u and v of the optical axis in pixels, of shape (b, 2).
        height: Image height in pixels.
        width: Image width in pixels.

    Example:
        >>> pinhole = PinholeCameras.from_orbit(cameras)
        >>> pinhole.focal.shape
        torch.Size([2, 2])
    """

    camera_to_world: Float[Tensor, "b 4 4"]
    focal: Float[Tensor, "b 2"]
    principal_point: Float[Tensor, "b 2"]
    height: int
    width: int

    def __len__(self) -> int:
        return self.camera_to_world.shape[0]

    @classmethod
    def from_orbit(cls, cameras: OrbitCameras) -> PinholeCameras:
        """Convert orbit cameras."""
        intrinsics = cameras.intrinsics
        return cls(cameras.camera_to_world, intrinsics[:, :2], intrinsics[:, 2:], cameras.height, cameras.width)

    @property
    def intrinsics(self) -> Float[Tensor, "b 4"]:
        """Focal lengths along u and v, then the principal point, in pixels."""
        return torch.cat([self.focal, self.principal_point], 1)

    def to(self, device: torch.device | str) -> PinholeCameras:
        """Return a copy on ``device``."""
        return map_tensors(self, lambda values: values.to(device))

    def resized(self, height: int, width: int) -> PinholeCameras:
        """Return the same cameras with another image size."""
        scale = self.focal.new_tensor([width / self.width, height / self.height])
        return dataclasses.replace(
            self, focal=self.focal * scale, principal_point=self.principal_point * scale, height=height, width=width
        )

    def select(self, indices: Tensor) -> PinholeCameras:
        """Return the cameras with these indices, in this order."""
        return map_tensors(self, lambda values: values[indices])

    def rays(self) -> tuple[Float[Tensor, "b h w 3"], Float[Tensor, "b h w 3"]]:
        """Return origins and unit directions through all pixel centers."""
        shape = (len(self), self.height, self.width)
        pixels = torch.arange(math.prod(shape), device=self.focal.device)
        origins, directions = (t.view(*shape, 3) for t in self.rays_through(pixels))
        return origins, directions

    def rays_through(self, pixels: Int64[Tensor, " n"]) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 3"]]:
        """Return origins and unit directions through the centers of ``pixels``, flat indices into (b, h, w)."""
        camera, offset = pixels // (self.height * self.width), pixels % (self.height * self.width)
        uv = torch.stack([offset % self.width, offset // self.width], -1) + 0.5
        x, y = ((uv - self.principal_point[camera]) / self.focal[camera]).unbind(-1)
        camera_directions = torch.stack([x, -y, -torch.ones_like(x)], -1)
        pose = self.camera_to_world[camera]
        directions = torch.einsum("nij,nj->ni", pose[:, :3, :3], camera_directions)
        return pose[:, :3, 3], directions / directions.norm(dim=-1, keepdim=True)

    def project(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "b n 3"]:
        """Project world points to pixel coordinates (u, v) and depth along the optical axis."""
        pose = self.camera_to_world
        camera_points = torch.einsum("bij,bnj->bni", pose[:, :3, :3].mT, points - pose[:, None, :3, 3])
        depth = -camera_points[..., 2]
        uv = camera_points[..., :2] * camera_points.new_tensor([1.0, -1.0]) / depth[..., None] * self.focal[:, None]
        return torch.cat([uv + self.principal_point[:, None], depth[..., None]], -1)
