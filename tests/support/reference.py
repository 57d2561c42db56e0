"""Slow reference implementations of fast code, and a scene with known images."""

from __future__ import annotations

import math

import torch

from dreamfusion3d.cameras.orbit import OrbitCameras
from dreamfusion3d.core.shading import lambert_shading, light_direction

TORUS_RADII = (0.5, 0.22)  # of the ring and of the tube, around the y axis
TORUS_LIGHT_HALF = (0.9, 0.5, 0.2)  # albedo where x > 0 ...
TORUS_DARK_HALF = (0.2, 0.4, 0.7)  # ... and where x < 0


def hashgrid_one_point(x, table, layout):
    """Encode one point with Python integers, one vertex at a time (arXiv 2201.05989, eq. 4)."""
    columns = []
    for level, n in enumerate(layout.resolutions):
        cell = [min(int(c * n), n - 1) for c in x.tolist()]
        value = torch.zeros(layout.features)
        for dx, dy, dz in [(a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1)]:
            vertex = (cell[0] + dx, cell[1] + dy, cell[2] + dz)
            weight = math.prod(1 - abs(float(x[a]) * n - vertex[a]) for a in range(3))
            i, j, k = vertex
            if layout.dense[level]:
                row = i + (n + 1) * j + (n + 1) ** 2 * k
            else:
                row = (i ^ (j * 2654435761) ^ (k * 805459861)) % 2**layout.log2_table_size
            value = value + weight * table[layout.offsets[level] + row]
        columns.append(value)
    return torch.cat(columns)


def weights_one_ray(density, lengths):
    """Compute NeRF's equation 3 literally."""
    weights, transmittance = [], torch.ones(())
    for sigma, delta in zip(density, lengths, strict=True):
        alpha = 1 - torch.exp(-sigma * delta)
        weights.append(transmittance * alpha)
        transmittance = transmittance * (1 - alpha)
    return torch.stack(weights)


def torus_distance(points):
    """Return signed distances (n,) to the torus, negative inside."""
    ring, tube = TORUS_RADII
    flat = torch.linalg.vector_norm(points[:, [0, 2]], dim=-1) - ring
    return torch.sqrt(flat**2 + points[:, 1] ** 2) - tube


def torus_normals(points):
    """Return the torus's unit outward normals (n, 3)."""
    ring, _ = TORUS_RADII
    flat = points * torch.tensor([1.0, 0.0, 1.0])
    center = ring * flat / torch.linalg.vector_norm(flat, dim=-1, keepdim=True)
    return torch.nn.functional.normalize(points - center, dim=-1)


def torus_albedo(points):
    """Return two albedos (n, 3) with a hard border at x = 0."""
    light, dark = torch.tensor(TORUS_LIGHT_HALF), torch.tensor(TORUS_DARK_HALF)
    return torch.where(points[:, :1] > 0, light, dark)


def render_torus(cameras: OrbitCameras) -> tuple[torch.Tensor, torch.Tensor]:
    """Render premultiplied rgb (b, h, w, 3) and binary opacity (b, h, w) by sphere tracing."""
    origins, directions = (t.reshape(-1, 3) for t in cameras.rays())
    distance = torch.zeros(origins.shape[0])
    for _ in range(80):
        step = torus_distance(origins + directions * distance[:, None])
        distance = (distance + step).clamp(max=8)
    points = origins + directions * distance[:, None]
    hit = (torus_distance(points).abs() < 1e-3) & (distance < 6)
    pixels = cameras.height * cameras.width
    light = light_direction(cameras.camera_to_world).repeat_interleave(pixels, 0)
    color = torus_albedo(points) * lambert_shading(torus_normals(points), light)[:, None] * hit[:, None]
    shape = (len(cameras), cameras.height, cameras.width)
    return color.reshape(*shape, 3), hit.float().reshape(shape)
