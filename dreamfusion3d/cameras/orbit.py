"""Cameras on orbits around the origin, their rays and matrices.

The world is right-handed, +Y up, and objects face +Z. A camera looks along its own -Z (OpenGL); pixel centers lie at
+0.5. Azimuth 0 views the front (+Z) and increases towards +X; elevation 0 is the horizon and increases upwards.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.types import map_tensors

ORBIT_DISTANCE = 2.9  # scene units from the origin
ORBIT_FOV_DEG = 33.0  # covers the ball of radius 0.82: asin(0.82 / 2.9) = 16.4 degrees
# up to nearly overhead: the inside of a jug is only learned to be empty if cameras look into it
ORBIT_ELEVATION_DEG = (-10.0, 85.0)


@dataclass(frozen=True)
class OrbitCameras:
    """``b`` pinhole cameras that orbit the origin and share one image size.

    Azimuth 0 sees the front (+Z) and grows toward +X; elevation grows upward. Rays leave through pixel centers.

    Attributes:
        azimuth_deg: Azimuths in degrees, of shape (b,).
        elevation_deg: Elevations in degrees, of shape (b,).
        distance: Distances from the origin in scene units, of shape (b,).
        fov_deg: Vertical fields of view in degrees, of shape (b,).
        height: Image height in pixels.
        width: Image width in pixels.

    Example:
        >>> front, distance = torch.zeros(1), torch.full((1,), 2.9)
        >>> cameras = OrbitCameras(front, front, distance, torch.full((1,), 33.0), height=64, width=64)
        >>> cameras.camera_to_world[0, :3, 3]
        tensor([0.0000, 0.0000, 2.9000])
    """

    azimuth_deg: Float[Tensor, " b"]
    elevation_deg: Float[Tensor, " b"]
    distance: Float[Tensor, " b"]
    fov_deg: Float[Tensor, " b"]
    height: int
    width: int

    def __len__(self) -> int:
        return self.azimuth_deg.shape[0]

    def to(self, device: torch.device | str) -> OrbitCameras:
        """Return a copy on ``device``."""
        return map_tensors(self, lambda values: values.to(device))

    def resized(self, height: int, width: int) -> OrbitCameras:
        """Return the same cameras with another image size."""
        return replace(self, height=height, width=width)

    def select(self, indices: Tensor) -> OrbitCameras:
        """Return the cameras with these indices, in this order."""
        return map_tensors(self, lambda values: values[indices])

    @property
    def camera_to_world(self) -> Float[Tensor, "b 4 4"]:
        """Rigid transforms with columns right, up, backward and position."""
        azimuth, elevation = torch.deg2rad(self.azimuth_deg), torch.deg2rad(self.elevation_deg)
        cos_e, sin_e = torch.cos(elevation), torch.sin(elevation)
        cos_a, sin_a = torch.cos(azimuth), torch.sin(azimuth)
        zero = torch.zeros_like(azimuth)
        backward = torch.stack([sin_a * cos_e, sin_e, cos_a * cos_e], -1)
        right = torch.stack([cos_a, zero, -sin_a], -1)
        up = torch.linalg.cross(backward, right)
        matrix = torch.zeros(len(self), 4, 4, device=azimuth.device, dtype=azimuth.dtype)
        matrix[:, :3, 0], matrix[:, :3, 1], matrix[:, :3, 2] = right, up, backward
        matrix[:, :3, 3] = backward * self.distance[:, None]
        matrix[:, 3, 3] = 1
        return matrix

    @property
    def focal(self) -> Float[Tensor, " b"]:
        """Focal length in pixels."""
        return 0.5 * self.height / torch.tan(torch.deg2rad(self.fov_deg) / 2)

    @property
    def intrinsics(self) -> Float[Tensor, "b 4"]:
        """Focal lengths along u and v, then the principal point, in pixels."""
        principal_point = self.focal.new_tensor([self.width / 2, self.height / 2]).expand(len(self), 2)
        return torch.cat([self.focal[:, None].expand(-1, 2), principal_point], 1)

    def rays(self) -> tuple[Float[Tensor, "b h w 3"], Float[Tensor, "b h w 3"]]:
        """Return origins and unit directions of the rays through all pixel centers."""
        device, dtype = self.azimuth_deg.device, self.azimuth_deg.dtype
        centers = (torch.arange(size, device=device, dtype=dtype) + 0.5 for size in (self.height, self.width))
        v, u = torch.meshgrid(*centers, indexing="ij")
        focal = self.focal[:, None, None]
        x, y = (u - 0.5 * self.width) / focal, (0.5 * self.height - v) / focal
        camera_directions = torch.stack([x, y, -torch.ones_like(x)], -1)
        pose = self.camera_to_world
        directions = torch.einsum("bij,bhwj->bhwi", pose[:, :3, :3], camera_directions)
        directions = directions / directions.norm(dim=-1, keepdim=True)
        return pose[:, None, None, :3, 3].expand_as(directions), directions

    def rays_through(self, pixels: Int64[Tensor, " n"]) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 3"]]:
        """Return the rays of ``pixels``, numbered in the order b, h, w; the same bits as `rays`."""
        camera, offset = pixels // (self.height * self.width), pixels % (self.height * self.width)
        used, row = camera.unique(return_inverse=True)
        origins, directions = (t.flatten(1, 2)[row, offset] for t in self.select(used).rays())
        return origins, directions

    def project(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "b n 3"]:
        """Project world points to pixel coordinates (u, v) and depth along the optical axis."""
        pose = self.camera_to_world
        camera_points = torch.einsum("bij,bnj->bni", pose[:, :3, :3].transpose(1, 2), points - pose[:, None, :3, 3])
        depth = -camera_points[..., 2]
        x, y = (camera_points[..., :2] * (self.focal[:, None] / depth)[..., None]).unbind(-1)
        return torch.stack([0.5 * self.width + x, 0.5 * self.height - y, depth], -1)


def orbit_cameras(
    azimuth_deg: Float[Tensor, " b"] | list[float],
    elevation_deg: Float[Tensor, " b"] | list[float] | float,
    *,
    height: int = 64,
    width: int = 64,
    distance: float = ORBIT_DISTANCE,
    fov_deg: float = ORBIT_FOV_DEG,
) -> OrbitCameras:
    """Make cameras at the given azimuths and elevations (degrees) that look at the origin."""
    azimuth = torch.as_tensor(azimuth_deg, dtype=torch.float32)
    elevation = torch.as_tensor(elevation_deg, dtype=torch.float32, device=azimuth.device).expand_as(azimuth)
    return OrbitCameras(
        azimuth, elevation, torch.full_like(azimuth, distance), torch.full_like(azimuth, fov_deg), height, width
    )


def turntable_cameras(num_views: int, elevation_deg: float = 15.0, *, size: int = 64) -> OrbitCameras:
    """Make ``num_views`` evenly spaced cameras around the object, the first one in front."""
    return orbit_cameras([360.0 * i / num_views for i in range(num_views)], elevation_deg, height=size, width=size)


def sample_orbit_cameras(
    count: int,
    *,
    generator: torch.Generator,
    elevation_range_deg: tuple[float, float] = ORBIT_ELEVATION_DEG,
    size: int = 64,
    spread: bool = True,
    antipodal: bool = False,
) -> OrbitCameras:
    """Sample random cameras, uniform on a band of the sphere.

    Args:
        count: Number of cameras.
        generator: Source of the random numbers; its device is the cameras'.
        elevation_range_deg: Lowest and highest elevation.
        size: Image size in pixels.
        spread: Space azimuths 360 / count apart with one random offset, so that every step sees all sides (as MVDream
            samples orthogonal views).
        antipodal: Place the second half of the cameras opposite the first, at the same elevations.

    Returns:
        ``count`` cameras that look at the origin.

    Raises:
        InputError: ``antipodal`` with an odd ``count``.

    Example:
        >>> cameras = sample_orbit_cameras(4, generator=torch.Generator().manual_seed(0), size=32)
        >>> len(cameras), cameras.height
        (4, 32)
    """
    if antipodal and count % 2:
        raise InputError(f"antipodal views come in pairs, so their number must be even, not {count}")
    device = generator.device
    low, high = (math.sin(math.radians(e)) for e in elevation_range_deg)
    # uniform on the sphere's band, so that the poles are not over-represented
    heights = torch.rand(count, generator=generator, device=device) * (high - low) + low
    elevation = torch.rad2deg(torch.asin(heights))
    half = count // 2
    if antipodal:
        elevation = elevation[:half].repeat(2)
    if spread:
        offset = torch.rand(1, generator=generator, device=device) * 360
        azimuth = (offset + torch.arange(count, device=device) * (360 / count)) % 360
    else:
        azimuth = torch.rand(count, generator=generator, device=device) * 360
    if antipodal:
        azimuth = torch.cat([azimuth[:half], (azimuth[:half] + 180) % 360])
    return orbit_cameras(azimuth, elevation, height=size, width=size)
