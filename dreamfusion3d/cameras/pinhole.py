"""Moved."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from dreamfusion3d.cameras.orbit import Cameras


@dataclass(frozen=True)
class Pinholes:
    """``b`` pinhole cameras anywhere, sharing one picture size. Lengths in scene units or pixels."""

    camera_to_world: Float[Tensor, "b 4 4"]  # rigid; columns right, up, backward, position
    focal: Float[Tensor, "b 2"]  # along u and v
    centre: Float[Tensor, "b 2"]  # u and v of the optical axis
    height: int
    width: int

    def __len__(self) -> int:
        return self.camera_to_world.shape[0]

    @classmethod
    def of(cls, cameras: Cameras) -> Pinholes:
        """The same cameras without their orbits."""
        middle = cameras.focal.new_tensor([cameras.width / 2, cameras.height / 2])
        return cls(
            cameras.camera_to_world, cameras.focal[:, None].expand(-1, 2), middle.expand(len(cameras), 2),
            cameras.height, cameras.width,
        )

    def to(self, device: torch.device | str) -> Pinholes:
        return dataclasses.replace(
            self, camera_to_world=self.camera_to_world.to(device), focal=self.focal.to(device),
            centre=self.centre.to(device),
        )

    def resized(self, height: int, width: int) -> Pinholes:
        """The same cameras with another picture size."""
        by = self.focal.new_tensor([width / self.width, height / self.height])
        return dataclasses.replace(
            self, focal=self.focal * by, centre=self.centre * by, height=height, width=width
        )

    def select(self, rows: Tensor) -> Pinholes:
        return dataclasses.replace(
            self, camera_to_world=self.camera_to_world[rows], focal=self.focal[rows], centre=self.centre[rows]
        )

    def rays(
        self, pixels: Int64[Tensor, " n"]
    ) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 3"]]:
        """Origins and unit directions through the centres of ``pixels``, numbered through b, h, w."""
        camera, place = pixels // (self.height * self.width), pixels % (self.height * self.width)
        uv = torch.stack([place % self.width, place // self.width], -1) + 0.5
        across = (uv - self.centre[camera]) / self.focal[camera]
        local = torch.stack([across[:, 0], -across[:, 1], -torch.ones_like(across[:, 0])], -1)
        pose = self.camera_to_world[camera]
        directions = torch.einsum("nij,nj->ni", pose[:, :3, :3], local)
        return pose[:, :3, 3], directions / directions.norm(dim=-1, keepdim=True)

    def project(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "b n 3"]:
        """Pixel coordinates (u, v) and distance along the optical axis of world points."""
        pose = self.camera_to_world
        local = torch.einsum("bij,bnj->bni", pose[:, :3, :3].mT, points - pose[:, None, :3, 3])
        depth = -local[..., 2]
        place = local[..., :2] * local.new_tensor([1.0, -1.0]) / depth[..., None] * self.focal[:, None]
        return torch.cat([place + self.centre[:, None], depth[..., None]], -1)
