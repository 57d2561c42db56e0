"""Thumbnail and turntable video of a mesh."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import torch
from jaxtyping import Float, UInt8
from scipy import ndimage

from dreamfusion3d.cameras.orbit import OrbitCameras, orbit_cameras
from dreamfusion3d.cameras.protocol import RayCameras
from dreamfusion3d.core.files import atomic_write
from dreamfusion3d.core.types import TexturedMesh
from dreamfusion3d.mesh.rasterize import rasterize_triangles
from dreamfusion3d.rendering.mesh_renderer import render_mesh
from dreamfusion3d.rendering.video_writer import write_mp4

THREE_QUARTER_AZIMUTH_DEG, THREE_QUARTER_ELEVATION_DEG = 30.0, 20.0  # three-quarter view
FRAME_FILL = 0.84  # fraction of the image's side that the object fills
BACKDROP_TOP, BACKDROP_BOTTOM = 0.93, 0.78  # grays of the background
SHADOW_STRENGTH = 0.30  # darkening of the floor under the object


def write_thumbnail(textured: TexturedMesh, path: Path, size: int = 512) -> None:
    """Write a PNG of `render_thumbnail`."""
    image = render_thumbnail(textured, size)
    with atomic_write(path) as temporary:
        imageio.imwrite(temporary, image)


def render_thumbnail(textured: TexturedMesh, size: int) -> UInt8[np.ndarray, "{size} {size} 3"]:
    """Render the three-quarter view over a light gray, ``size`` pixels square."""
    camera = orbit_cameras([THREE_QUARTER_AZIMUTH_DEG], THREE_QUARTER_ELEVATION_DEG, height=size, width=size)
    return _render_with_backdrop(fit_mesh_to_views(textured, camera), camera, supersample=3)[0]


def write_turntable(textured: TexturedMesh, path: Path, seconds: float = 4, fps: int = 15, size: int = 480) -> None:
    """Write an MP4 of one turn that loops smoothly; ``size`` is rounded up to a multiple of 16."""
    size = -(-size // 16) * 16
    count = max(1, round(seconds * fps))
    azimuths = [THREE_QUARTER_AZIMUTH_DEG + 360.0 * i / count for i in range(count)]
    # a dozen views are enough to frame the object for all of them
    framing_azimuths = azimuths[:: max(1, count // 12)]
    framing_cameras = orbit_cameras(framing_azimuths, THREE_QUARTER_ELEVATION_DEG, height=size, width=size)
    framed_mesh = fit_mesh_to_views(textured, framing_cameras)

    def frame(azimuth: float) -> UInt8[np.ndarray, "h w 3"]:
        camera = orbit_cameras([azimuth], THREE_QUARTER_ELEVATION_DEG, height=size, width=size)
        return _render_with_backdrop(framed_mesh, camera, supersample=2)[0]

    # the kernels release the GIL, so that the next frames are rendered while one is encoded
    with atomic_write(path) as temporary, ThreadPoolExecutor(torch.get_num_threads()) as pool:
        write_mp4(pool.map(frame, azimuths), temporary, fps, (size, size))


def fit_mesh_to_views(textured: TexturedMesh, cameras: OrbitCameras, fill: float = FRAME_FILL) -> TexturedMesh:
    """Move and scale a mesh so that it fills ``fill`` of the sides of all cameras' images, centered.

    The cameras look at the origin from a fixed distance. With several of them the mesh is moved along +Y only, to
    stay on the axis that they orbit.
    """
    vertices = textured.vertices.astype(np.float64)
    low, high = vertices.min(0), vertices.max(0)
    vertices = (vertices - (low + high) / 2) / max(float(np.linalg.norm(high - low)) / 2, 1e-9)
    pose = cameras.camera_to_world[0, :3, :3].double().numpy()
    half = cameras.height / 2
    for _ in range(8):  # with perspective this is a fixed point, reached to a pixel in a few rounds
        projected = cameras.project(torch.from_numpy(vertices).float()).numpy()
        start, end = projected[..., :2].min((0, 1)), projected[..., :2].max((0, 1))
        units_per_pixel = float(cameras.distance[0]) / float(cameras.focal[0])  # a pixel at the origin
        right, up = ((start + end) / 2 - half) * units_per_pixel
        if len(cameras) == 1:
            vertices = vertices - right * pose[:, 0] + up * pose[:, 1]
        else:
            vertices = vertices + (0.0, up, 0.0)
        vertices = vertices * (fill * 2 * half / max(end - start))
    return replace(textured, vertices=vertices.astype(np.float32))


def _render_with_backdrop(
    textured: TexturedMesh, cameras: OrbitCameras, supersample: int
) -> UInt8[np.ndarray, "b h w 3"]:
    """Render shaded images over the gray background, with a soft shadow on the floor."""
    render = render_mesh(textured, cameras, supersample=supersample)
    background = studio_backdrop(textured, cameras)
    composited = render.rgb.numpy() + (1 - render.opacity.numpy())[..., None] * background
    return (np.clip(composited, 0, 1) * 255 + 0.5).astype(np.uint8)


def studio_backdrop(textured: TexturedMesh, cameras: RayCameras) -> Float[np.ndarray, "b h w 1"]:
    """Return the gray background of a mesh, with its soft shadow on the floor."""
    rows = np.linspace(BACKDROP_TOP, BACKDROP_BOTTOM, cameras.height)[None, :, None, None]
    return rows * (1 - SHADOW_STRENGTH * _floor_shadow(textured, cameras))[..., None]


def _floor_shadow(textured: TexturedMesh, cameras: RayCameras) -> Float[np.ndarray, "b h w"]:
    """Project the lowest part of the mesh onto the floor and blur it, so that the object stands on it."""
    vertices = textured.vertices.copy()
    height = np.ptp(vertices[:, 1])
    floor = vertices[:, 1].min()
    low = (vertices[textured.faces][:, :, 1] < floor + 0.35 * height).all(1)
    vertices[:, 1] = floor
    projected = cameras.project(torch.from_numpy(vertices).float()).numpy()
    size = cameras.height, cameras.width
    covered = [rasterize_triangles(points, textured.faces[low], *size).face >= 0 for points in projected]
    sigma = min(size) / 45
    return np.stack([ndimage.gaussian_filter(c.astype(np.float32), (0.6 * sigma, sigma)) for c in covered])
