"""Rendering of textured meshes, by the cameras and under the light that render the field."""

from __future__ import annotations

from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Bool

from dreamfusion3d.cameras.protocol import RayCameras
from dreamfusion3d.core.numba_cache import njit
from dreamfusion3d.core.shading import AMBIENT, DIFFUSE, light_direction
from dreamfusion3d.core.types import Mesh, Render, TexturedMesh
from dreamfusion3d.mesh.rasterize import rasterize_triangles


@no_type_check
@njit
def _sample_texture_channel(texture, u, v, channel):
    """Interpolate bilinearly, clamped at the border; v = 1 is the top row, texel centers lie at +0.5."""
    height, width = texture.shape[0], texture.shape[1]
    x = min(max(u * width - 0.5, 0.0), width - 1.0)
    y = min(max((1.0 - v) * height - 0.5, 0.0), height - 1.0)
    i, j = min(int(y), height - 2), min(int(x), width - 2)
    fy, fx = y - i, x - j
    top = texture[i, j, channel] * (1 - fx) + texture[i, j + 1, channel] * fx
    bottom = texture[i + 1, j, channel] * (1 - fx) + texture[i + 1, j + 1, channel] * fx
    return (top * (1 - fy) + bottom * fy) / 255.0


@no_type_check
@njit(nogil=True)
def _shade_pixels(face, weights, depth, faces, uv, normals, texture, light, ambient, diffuse, intrinsics, s, out):
    """Shade all subpixels and average s*s of them into ``out``, (h, w, 8): rgb, opacity, depth, normal."""
    height, width = face.shape
    for row in range(height):
        for col in range(width):
            f = face[row, col]
            if f < 0:
                continue
            nx = ny = nz = u = v = 0.0
            for k in range(3):
                weight, vertex = weights[row, col, k], faces[f, k]
                nx += weight * normals[vertex, 0]
                ny += weight * normals[vertex, 1]
                nz += weight * normals[vertex, 2]
                u += weight * uv[vertex, 0]
                v += weight * uv[vertex, 1]
            length = max(np.sqrt(nx * nx + ny * ny + nz * nz), 1e-9)
            nx, ny, nz = nx / length, ny / length, nz / length
            shading = ambient + diffuse * max(nx * light[0] + ny * light[1] + nz * light[2], 0.0)
            x, y = (col + 0.5 - intrinsics[2]) / intrinsics[0], (row + 0.5 - intrinsics[3]) / intrinsics[1]
            pixel = out[row // s, col // s]
            for channel in range(3):
                pixel[channel] += shading * _sample_texture_channel(texture, u, v, channel)
            pixel[3] += 1.0
            pixel[4] += depth[row, col] * np.sqrt(1.0 + x * x + y * y)  # along the ray
            pixel[5] += nx
            pixel[6] += ny
            pixel[7] += nz
    for row in range(out.shape[0]):
        for col in range(out.shape[1]):
            hits = out[row, col, 3]
            if hits > 0:
                out[row, col, 4] *= s * s / hits  # mean over the subpixels that hit
                for channel in range(8):
                    out[row, col, channel] /= s * s


def render_mesh(textured: TexturedMesh, cameras: RayCameras, *, supersample: int = 2, shading: bool = True) -> Render:
    """Render a mesh with anti-aliasing, on the CPU.

    Args:
        textured: the mesh, in scene units.
        cameras: ``b`` cameras.
        supersample: subpixels along a pixel's side.
        shading: False renders the base color alone.

    Returns:
        Images of shape (b, h, w, 3) with opacity, normals, and the mean distance of what a pixel hits.

    Example:
        >>> image = render_mesh(textured, cameras)
        >>> image.opacity.shape
        torch.Size([2, 16, 16])
    """
    cameras = cameras.to("cpu")
    height, width = cameras.height * supersample, cameras.width * supersample
    fine = cameras.resized(height, width)
    points = fine.project(torch.from_numpy(textured.vertices).float()).numpy()
    light = light_direction(cameras.camera_to_world).numpy()
    intrinsics = fine.intrinsics.double().numpy()
    tones = (AMBIENT, DIFFUSE) if shading else (1.0, 0.0)
    faces = np.ascontiguousarray(textured.faces, np.int64)
    uv, normals = (np.ascontiguousarray(a, np.float32) for a in (textured.uv, textured.normals))
    surface = faces, uv, normals, np.ascontiguousarray(textured.texture)
    out = np.zeros((len(cameras), cameras.height, cameras.width, 8), np.float32)
    for view in range(len(cameras)):
        raster = rasterize_triangles(points[view], faces, height, width)
        _shade_pixels(*raster, *surface, light[view], *tones, intrinsics[view], supersample, out[view])
    image = torch.from_numpy(out)
    return Render(image[..., :3], image[..., 3], image[..., 4], image[..., 5:])


def render_silhouettes(mesh: Mesh, cameras: RayCameras) -> Bool[np.ndarray, "v h w"]:
    """Return masks of the pixel centers that see the mesh."""
    cameras = cameras.to("cpu")
    points = cameras.project(torch.from_numpy(mesh.vertices).float()).numpy()
    return np.stack([rasterize_triangles(view, mesh.faces, cameras.height, cameras.width).face >= 0 for view in points])
