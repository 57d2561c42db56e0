"""Deferred mesh rendering that is differentiable in the surface's colors.

Visibility comes from a z-buffer and has no gradient. The caller supplies one color per hit: of a texture, of a
field on the surface, or of anything else. The light is that of `render_field` and `render_mesh`.

Letters: n hits, b cameras of h x w pixels, s subpixels along a pixel's side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from dreamfusion3d.cameras.protocol import RayCameras
from dreamfusion3d.core.shading import lambert_shading, light_direction
from dreamfusion3d.core.types import Mesh, Render
from dreamfusion3d.mesh.rasterize import rasterize_triangles


@dataclass(frozen=True)
class GBuffer:
    """Surface points that subpixels see, in the order of views, rows and columns."""

    subpixel: Int64[Tensor, " n"]  # flat index into b x (h s) x (w s)
    face: Int64[Tensor, " n"]
    weights: Float[Tensor, "n 3"]  # barycentric, of the face's corners
    positions: Float[Tensor, "n 3"]
    normals: Float[Tensor, "n 3"]  # unit
    shading: Float[Tensor, " n"]
    distance: Float[Tensor, " n"]  # along the ray
    shape: tuple[int, int, int, int]  # b, h, w, s

    def interpolate(self, values: Float[Tensor, "v c"], faces: Int64[Tensor, "f 3"]) -> Float[Tensor, "n c"]:
        """Interpolate values at vertices, such as UVs, at the hits."""
        return (values[faces[self.face]] * self.weights[..., None]).sum(1)


def rasterize_gbuffer(
    mesh: Mesh, normals: Float[np.ndarray, "v 3"], cameras: RayCameras, *, supersample: int = 1
) -> GBuffer:
    """Find the nearest face at every subpixel center; the result is on the cameras' device."""
    device, cpu_cameras = cameras.camera_to_world.device, cameras.to("cpu")
    height, width = cpu_cameras.height * supersample, cpu_cameras.width * supersample
    fine = cpu_cameras.resized(height, width)
    points = fine.project(torch.from_numpy(mesh.vertices).float()).numpy()
    rasters = [rasterize_triangles(view, mesh.faces, height, width) for view in points]
    face = torch.from_numpy(np.stack([r.face for r in rasters]).reshape(-1)).long()
    subpixel = torch.nonzero(face >= 0)[:, 0]
    face = face[subpixel]
    weights = torch.from_numpy(np.stack([r.weights for r in rasters]).reshape(-1, 3))[subpixel]
    corners = torch.from_numpy(np.ascontiguousarray(mesh.faces)).long()[face]
    vertices, vertex_normals = (torch.from_numpy(np.ascontiguousarray(a)).float() for a in (mesh.vertices, normals))
    positions = (vertices[corners] * weights[..., None]).sum(1)
    normal = F.normalize((vertex_normals[corners] * weights[..., None]).sum(1), dim=-1, eps=1e-9)
    view = subpixel // (height * width)
    light = light_direction(fine.camera_to_world)[view]
    distance = (positions - fine.camera_to_world[view, :3, 3]).norm(dim=-1)
    shading = lambert_shading(normal, light)
    return GBuffer(
        subpixel.to(device),
        face.to(device),
        weights.to(device),
        positions.to(device),
        normal.to(device),
        shading.to(device),
        distance.to(device),
        (len(cpu_cameras), cpu_cameras.height, cpu_cameras.width, supersample),
    )


def shade_gbuffer(gbuffer: GBuffer, colors: Float[Tensor, "n 3"]) -> tuple[Render, Float[Tensor, "b h w 3"]]:
    """Render the given color per hit, shaded; return unlit colors as well (both premultiplied)."""
    b, h, w, s = gbuffer.shape
    one = torch.ones_like(gbuffer.shading)[:, None]
    values = torch.cat([colors * gbuffer.shading[:, None], colors, one, gbuffer.distance[:, None], gbuffer.normals], -1)
    fine = values.new_zeros(b * h * s * w * s, values.shape[1]).index_copy(0, gbuffer.subpixel, values)
    mean = F.avg_pool2d(fine.view(b, h * s, w * s, -1).permute(0, 3, 1, 2), s).permute(0, 2, 3, 1)
    opacity = mean[..., 6]
    # mean over the subpixels that hit, not over the empty ones
    depth = mean[..., 7] / opacity.clamp(min=1 / (2 * s * s))
    return Render(mean[..., :3], opacity, depth, mean[..., 8:]), mean[..., 3:6]


def sample_texture(texture: Float[Tensor, "h w 3"], uv: Float[Tensor, "n 2"]) -> Float[Tensor, "n 3"]:
    """Interpolate bilinearly, clamped at the border, differentiably in the texture.

    v = 1 is the top row; texel centers lie at +0.5.
    """
    grid = torch.stack([2 * uv[:, 0] - 1, 1 - 2 * uv[:, 1]], -1)[None, None]
    planes = texture.permute(2, 0, 1)[None]
    sampled = F.grid_sample(planes, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return sampled[0, :, 0].T
