"""Rendering of textured meshes, by the cameras and under the light that render the field.

A mesh with a material other than the default also reflects an environment without files: a sky over a ground, and a
softbox around the light. The specular term is the split sum of Karis, "Real Shading in Unreal Engine 4" (SIGGRAPH
2013): the environment, prefiltered by the roughness, times a polynomial of roughness and angle.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Bool

from dreamfusion3d.cameras.protocol import RayCameras
from dreamfusion3d.core.numba_cache import njit
from dreamfusion3d.core.shading import AMBIENT, DIFFUSE, light_direction
from dreamfusion3d.core.types import DEFAULT_MATERIAL, Mesh, Render, TexturedMesh
from dreamfusion3d.mesh.rasterize import rasterize_triangles

SKY, GROUND = 0.95, 0.32  # linear radiance
HORIZON_WIDTH = 0.25  # of the step between them, in units of the direction's height
SOFTBOX, SOFTBOX_SHARPNESS = 6.0, 30.0  # radiance of its middle; it is halved 12 degrees from there
DIELECTRIC_REFLECTANCE = 0.04  # at normal incidence
MIN_ROUGHNESS = 0.08  # keeps the lobe wider than a rounding error


@no_type_check
@njit
def environment_radiance(x, y, z, light, roughness):
    """Return the environment around the unit direction (x, y, z), averaged over the GGX lobe of ``roughness``.

    The lobe is that of a view along the normal, as in the split sum. The first two moments of its cosine are exact.
    They move and widen the step of the horizon; the softbox, a spherical Gaussian, is widened so that its mean cosine
    is multiplied by the lobe's, and keeps its integral.
    """
    a = min(max(roughness, MIN_ROUGHNESS) ** 4, 0.99)
    p = (1 + a) / (1 - a)  # the lobe's density is proportional to c / (p - c)^2 in its cosine c
    log, inverse = np.log(p / (p - 1)), 1 / (p - 1) - 1 / p
    total = 1 / (p - 1) - log
    mean = (p * p * inverse - 2 * p * log + 1) / total
    second = (p**3 * inverse - 3 * p * p * log + 3 * p - (2 * p - 1) / 2) / total
    variance = y * y * (second - mean * mean) + (1 - y * y) * (1 - second) / 2
    step = mean * y / np.sqrt(HORIZON_WIDTH**2 + variance + (mean * y) ** 2)
    cosine = mean * (1 - 1 / SOFTBOX_SHARPNESS)
    sharpness = cosine * (3 - cosine * cosine) / (1 - cosine * cosine)  # Banerjee et al., JMLR 2005
    peak = SOFTBOX * sharpness / SOFTBOX_SHARPNESS / (1 - np.exp(-2 * sharpness))
    softbox = peak * np.exp(sharpness * (x * light[0] + y * light[1] + z * light[2] - 1))
    return (SKY + GROUND + (SKY - GROUND) * step) / 2 + softbox


@no_type_check
@njit
def environment_brdf(roughness, cosine):
    """Return scale and offset of the reflectance at normal incidence, for the angle of view of this cosine.

    Karis's fit to the second factor of the split sum ("Physically Based Shading on Mobile", Unreal Engine blog, 2014),
    within 0.2 of it.
    """
    first, offset = 1 - roughness, 0.0425 - 0.0275 * roughness
    edge = min(first * first, 2.0 ** (-9.28 * cosine)) * first + offset
    return -1.04 * edge + 1.04 - 0.572 * roughness, 1.04 * edge - 0.04 + 0.022 * roughness


@no_type_check
@njit
def _add_reflection(pixel, nx, ny, nz, to_camera, light, roughness, metallic, shading, base):
    """Add the shaded color and the reflection to ``pixel``.

    The sum is linear, with a gamma of 2 in place of sRGB's curve; the color alone is that of a matte surface.
    """
    vx, vy, vz = to_camera[0], to_camera[1], to_camera[2]
    cosine = nx * vx + ny * vy + nz * vz
    rx, ry, rz = 2 * cosine * nx - vx, 2 * cosine * ny - vy, 2 * cosine * nz - vz
    scale, offset = environment_brdf(roughness, max(cosine, 0.0))
    radiance = environment_radiance(rx, ry, rz, light, roughness)
    for channel in range(3):
        diffuse, color = (shading * base[channel]) ** 2, base[channel] ** 2
        reflectance = DIELECTRIC_REFLECTANCE * (1 - metallic) + color * metallic
        linear = (1 - metallic) * diffuse + radiance * (reflectance * scale + offset)
        pixel[channel] += np.sqrt(min(max(linear, 0.0), 1.0))  # the fit is slightly negative for the roughest


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
def _shade_pixels(
    face, weights, depth, faces, uv, normals, texture, maps, light, ambient, diffuse, intrinsics, rotation, s, out
):
    """Shade all subpixels and average s*s of them into ``out``, (h, w, 8): rgb, opacity, depth, normal.

    ``maps`` holds roughness and metallic; without texels, the surface is matte.
    """
    height, width = face.shape
    base, to_camera = np.empty(3), np.empty(3)
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
            if maps.shape[0] == 0:
                for channel in range(3):
                    pixel[channel] += shading * _sample_texture_channel(texture, u, v, channel)
            else:
                length = np.sqrt(x * x + y * y + 1.0)
                for k in range(3):
                    base[k] = _sample_texture_channel(texture, u, v, k)
                    to_camera[k] = (rotation[k, 1] * y - rotation[k, 0] * x + rotation[k, 2]) / length
                roughness, metallic = (_sample_texture_channel(maps, u, v, 0), _sample_texture_channel(maps, u, v, 1))
                _add_reflection(pixel, nx, ny, nz, to_camera, light, roughness, metallic, shading, base)
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
    """Render a mesh with anti-aliasing, on the CPU, and reflections if it has a material other than the default.

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
    maps = textured.metallic_roughness
    if not shading or maps is None or textured.uniform_material == DEFAULT_MATERIAL:
        maps = np.empty((0, 0, 2), np.uint8)
    surface = faces, uv, normals, np.ascontiguousarray(textured.texture), np.ascontiguousarray(maps)
    rotations = cameras.camera_to_world[:, :3, :3].double().numpy()
    out = np.zeros((len(cameras), cameras.height, cameras.width, 8), np.float32)
    for view in range(len(cameras)):
        raster = rasterize_triangles(points[view], faces, height, width)
        frame = light[view], *tones, intrinsics[view], rotations[view]
        _shade_pixels(*raster, *surface, *frame, supersample, out[view])
    image = torch.from_numpy(out)
    return Render(image[..., :3], image[..., 3], image[..., 4], image[..., 5:])


def render_silhouettes(mesh: Mesh, cameras: RayCameras) -> Bool[np.ndarray, "v h w"]:
    """Return masks of the pixel centers that see the mesh."""
    cameras = cameras.to("cpu")
    points = cameras.project(torch.from_numpy(mesh.vertices).float()).numpy()
    return np.stack([rasterize_triangles(view, mesh.faces, cameras.height, cameras.width).face >= 0 for view in points])
