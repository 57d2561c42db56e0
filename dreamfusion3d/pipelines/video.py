"""Render a finished run along a camera path: its exported mesh or its field, as a video or as frames.

The run's own files stay as they are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from dreamfusion3d.cameras.orbit import ORBIT_FOV_DEG
from dreamfusion3d.cameras.paths import (
    MAX_FRAMES,
    NAMED_PATHS,
    CameraPath,
    expand_to_image_size,
    interpolate_camera_path,
    named_path_cameras,
    read_camera_path,
)
from dreamfusion3d.cameras.pinhole import PinholeCameras
from dreamfusion3d.core.backends import choose_device
from dreamfusion3d.core.config import check_choice
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.folders import check_free_space, translate_folder_errors
from dreamfusion3d.core.progress import Progress, QuietProgress
from dreamfusion3d.core.types import Render, UpAxis
from dreamfusion3d.pipelines.framing import RunScene, framing_transform, load_run_scene, mesh_depth_range
from dreamfusion3d.pipelines.run_reader import FinishedRun, RunFieldReader, read_run, read_run_config
from dreamfusion3d.pipelines.video_options import (
    check_option_range,
    video_frame_rate,
    video_frame_size,
    video_output_path,
    warn_unused_options,
)
from dreamfusion3d.rendering.mesh_renderer import render_mesh
from dreamfusion3d.rendering.turntable import THREE_QUARTER_ELEVATION_DEG, studio_backdrop
from dreamfusion3d.rendering.video_writer import VIDEO_SUFFIXES, write_video

RenderSource = Literal["mesh", "field"]
RenderChannel = Literal["color", "albedo", "clay", "normals", "depth"]
VideoBackground = Literal["studio", "white", "black", "transparent"]
PATH_SECONDS = {"spiral": 8.0}  # default length of the named paths; others take 4
MAX_RENDER_BYTES = 2 << 30  # of frames that are rendered at the same time
BYTES_PER_PIXEL = 180  # of a mesh render, with its subpixels
CLAY_GRAY = 190  # of 255; replaces the texture
FrameRenderer = Callable[[PinholeCameras], tuple[Render, Float[Tensor, "b h w 3"]]]  # renders, and their albedo


def render_video(
    run: Path | str,
    path: str = "turntable",
    *,
    out: Path | str | None = None,
    seconds: float | int | None = None,
    fps: float | int | None = None,
    size: tuple[int, int] | None = None,
    elevation_deg: float | int | None = None,
    fov_deg: float | int | None = None,
    source: str = "mesh",
    channel: str = "color",
    background: str | None = None,
    up: str | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Path:
    """Render a finished run along a camera path, as a video or a folder of frames.

    Args:
        run: the run's folder, OUT/<slug>.
        path: one of ``NAMED_PATHS``, which frame the object, or a file of poses, see `read_camera_path`. Poses are in
            the world of the run's photos, or else in that of the exported asset, in meters.
        out: a .mp4, .gif or .webp file, or a folder of PNG frames; RUN/render/NAME.mp4 by default.
        seconds: length. Without it the poses of a file are the frames; with it they are keyframes.
        fps: frames per second.
        size: width and height in pixels.
        elevation_deg: of the named paths except "spiral"; 20 by default.
        fov_deg: of the named paths, across the shorter side; 33 by default.
        source: "mesh", the exported mesh, or "field", the field that it was extracted from.
        channel: "color", "albedo", "clay", "normals" or "depth".
        background: "studio", "white", "black" or "transparent".
        up: upward axis of the poses in a file.
        device: renders the field; meshes are rendered on the CPU.

    Returns:
        The video file, or the folder of frames.

    Raises:
        InputError: something the user can fix, in one line.
    """
    finished, progress = read_run(Path(run)), progress or QuietProgress()
    render_source, render_channel = (
        check_choice(source, get_args(RenderSource), "--source"),
        check_choice(channel, get_args(RenderChannel), "--channel"),
    )
    default_background = "black" if render_channel in ("normals", "depth") else "studio"
    chosen_background = check_choice(background or default_background, get_args(VideoBackground), "--background")
    name = "_".join(
        [
            path if path in NAMED_PATHS else Path(path).stem,
            *(["field"] if render_source == "field" else []),
            *([render_channel] if render_channel != "color" else []),
        ]
    )
    target = video_output_path(out, finished, name, chosen_background)
    warn_unused_options(path, elevation_deg, fov_deg, up, progress)
    scene = load_run_scene(finished, path not in NAMED_PATHS, progress)
    cameras, rate = _path_cameras(path, scene, target, seconds, fps, size, elevation_deg, fov_deg, up)
    torch_device = choose_device(device)
    render_frame = (
        _mesh_renderer(scene, render_channel)
        if render_source == "mesh"
        else _field_renderer(finished, scene, render_channel, torch_device)
    )
    near_far = mesh_depth_range(scene.mesh, cameras)
    check_free_space(target.parent if target.suffix.lower() in VIDEO_SUFFIXES else target)

    def draw_frame(i: int) -> UInt8[np.ndarray, "h w c"]:
        camera = cameras.select(torch.tensor([i]))
        rendered, albedo = render_frame(camera)
        backdrop = studio_backdrop(scene.mesh, camera)[0] if chosen_background == "studio" else None
        value, opacity = (
            _channel_values(rendered, albedo, render_channel, near_far)[0],
            rendered.opacity[0].cpu().numpy(),
        )
        return _composite(value, opacity, backdrop, chosen_background)

    num_workers = _num_workers(cameras, render_source)
    progress.stage("render", 1, 1)
    with (
        translate_folder_errors(target),
        contextlib.closing(_render_frames(draw_frame, len(cameras), num_workers, progress)) as frames,
    ):
        write_video(frames, len(cameras), target, rate, (cameras.width, cameras.height))
    return target


def _path_cameras(
    path: str,
    scene: RunScene,
    target: Path,
    seconds: float | int | None,
    fps: float | int | None,
    size: tuple[int, int] | None,
    elevation_deg: float | int | None,
    fov_deg: float | int | None,
    up: str | None,
) -> tuple[PinholeCameras, float]:
    """Return the camera of each frame, in the coordinates of the scene's mesh, and the frame rate."""
    pose_file: CameraPath | None = None
    if path not in NAMED_PATHS:
        if not Path(path).suffix:
            raise InputError(f"--path {path!r} is neither one of {', '.join(NAMED_PATHS)} nor a file of poses (.json)")
        axis = cast(UpAxis, check_choice(up, ("y", "z"), "--up")) if up else scene.up
        pose_file = read_camera_path(Path(path), up=axis, default_size=size)
    (width, height), rate = (
        video_frame_size(size, pose_file, path, target),
        video_frame_rate(fps, pose_file, path, target),
    )
    count = None
    if pose_file is None or seconds is not None:
        length = PATH_SECONDS.get(path, 4.0) if seconds is None else seconds
        count = max(1, round(check_option_range(length, 1 / rate, MAX_FRAMES / rate, "--seconds") * rate))
    if pose_file is not None:
        return scene.transform.apply_to_cameras(interpolate_camera_path(pose_file, count, width, height)), rate
    assert count is not None
    elevation = check_option_range(
        THREE_QUARTER_ELEVATION_DEG if elevation_deg is None else elevation_deg, -89, 89, "--elevation"
    )
    fov = check_option_range(ORBIT_FOV_DEG if fov_deg is None else fov_deg, 5, 120, "--fov")
    square_cameras = named_path_cameras(path, count, elevation_deg=elevation, fov_deg=fov, width=width, height=height)
    return framing_transform(scene.mesh, square_cameras).apply_to_cameras(
        expand_to_image_size(square_cameras, width, height)
    ), rate


def _mesh_renderer(scene: RunScene, channel: str) -> FrameRenderer:
    """Return a function that renders the scene's mesh."""
    mesh, shading = scene.mesh, channel != "albedo" and not (scene.has_baked_lighting and channel == "color")
    if channel == "clay":
        mesh = replace(mesh, texture=np.full_like(mesh.texture, CLAY_GRAY), metallic_roughness=None)

    def render_frame(cameras: PinholeCameras) -> tuple[Render, Tensor]:
        rendered = render_mesh(mesh, cameras, shading=shading)
        return rendered, rendered.rgb

    return render_frame


def _field_renderer(run: FinishedRun, scene: RunScene, channel: str, device: torch.device) -> FrameRenderer:
    """Return a function that renders the run's field; raises InputError if the run has none."""
    from dreamfusion3d.rendering.chunked import render_field_chunked
    from dreamfusion3d.rendering.occupancy_grid import occupied_cells
    from dreamfusion3d.rendering.volume import RenderSettings

    file = run.workspace.work / "field.safetensors"
    if not file.exists() or not scene.in_scene_units:
        raise InputError(
            f"{run.workspace.folder} has no field: it retextured a mesh, or files in work/ are missing. "
            "Use --source mesh to render the exported mesh"
        )
    config, field = (read_run_config(run.workspace.folder), RunFieldReader(run.workspace.folder).read(file).to(device))
    occupancy = occupied_cells(field, config, torch.Generator(device).manual_seed(0))
    settings = RenderSettings(step_size=config.render.step_size)
    if channel == "clay":
        settings = replace(settings, shading="textureless")
    elif scene.has_baked_lighting and channel == "color":
        settings = replace(settings, shading="albedo")

    def render_frame(cameras: PinholeCameras) -> tuple[Render, Tensor]:
        # the same random stream for every frame, so that noise does not flicker
        generator = torch.Generator(device).manual_seed(0)
        rendered, albedo = render_field_chunked(
            field, cameras.to(device), occupancy=occupancy, generator=generator, settings=settings
        )
        return replace(rendered, rgb=rendered.rgb * (CLAY_GRAY / 255 if channel == "clay" else 1.0)), albedo

    return render_frame


def _channel_values(
    rendered: Render, albedo: Tensor, channel: str, near_far: tuple[float, float]
) -> Float[np.ndarray, "b h w 3"]:
    """Return the channel as colors in [0, 1], premultiplied by opacity."""
    opacity = rendered.opacity[..., None]
    if channel == "normals":
        assert rendered.normals is not None, "requested by render_mesh and render_field_chunked"
        value = 0.5 * (rendered.normals + opacity)
    elif channel == "depth":
        near, far = near_far
        gray = ((far - rendered.depth) / max(far - near, 1e-9)).clamp(0, 1)
        value = (gray[..., None] * opacity).expand(*rendered.rgb.shape)
    else:
        value = albedo if channel == "albedo" else rendered.rgb
    return value.cpu().numpy().clip(0, 1)


def _composite(
    value: Float[np.ndarray, "h w 3"],
    opacity: Float[np.ndarray, "h w"],
    backdrop: Float[np.ndarray, "h w 1"] | None,
    background: str,
) -> UInt8[np.ndarray, "h w c"]:
    """Composite a premultiplied image over the backdrop; with a transparent background return RGBA."""
    alpha = opacity[..., None].clip(0, 1)
    if background == "transparent":
        unpremultiplied = value / np.maximum(alpha, 1e-6)
        full = np.concatenate([unpremultiplied, alpha], -1)
    else:
        full = value + (1 - alpha) * (backdrop if backdrop is not None else float(background == "white"))
    return (full.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def _render_frames(
    draw_frame: Callable[[int], np.ndarray], count: int, num_workers: int, progress: Progress
) -> Generator[np.ndarray, None, None]:
    """Yield the frames in order, rendering the next ones in threads: the mesh kernels release the GIL."""
    pool = ThreadPoolExecutor(num_workers)
    try:
        pending = [pool.submit(draw_frame, i) for i in range(min(2 * num_workers, count))]
        for i in range(count):
            image = pending.pop(0).result()
            if i + 2 * num_workers < count:
                pending.append(pool.submit(draw_frame, i + 2 * num_workers))
            progress.step(i + 1, count)
            yield image
    finally:
        pool.shutdown(cancel_futures=True)


def _num_workers(cameras: PinholeCameras, source: str) -> int:
    """Return the number of frames to render in parallel, limited by threads and memory."""
    max_workers = MAX_RENDER_BYTES // (BYTES_PER_PIXEL * cameras.width * cameras.height)
    return max(1, min(torch.get_num_threads(), max_workers)) if source == "mesh" else 1
