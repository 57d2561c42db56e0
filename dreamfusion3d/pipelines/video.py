"""A finished run along a camera path: its mesh or its field, as a video or as frames.

What is shown is what the run has: the mesh that was shipped, or the field that it was made of. The run's
own files and its asset.json stay as they are.
"""

from __future__ import annotations

import contextlib
import math
import re
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
from dreamfusion3d.cameras.paths import MOST_FRAMES, NAMED, FilePath, named_path, read_path, through, widened
from dreamfusion3d.cameras.pinhole import Pinholes
from dreamfusion3d.core.backends import choose_device
from dreamfusion3d.core.config import choice
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.progress import Progress, Quiet
from dreamfusion3d.core.types import Render, Up
from dreamfusion3d.pipelines.export import Run, read_run
from dreamfusion3d.pipelines.framing import Scene, framing, reach, scene_of
from dreamfusion3d.pipelines.workspace import check_room, folder_errors
from dreamfusion3d.rendering.mesh_renderer import render_mesh
from dreamfusion3d.rendering.turntable import ELEVATION_DEG, studio
from dreamfusion3d.rendering.video_writer import KINDS, write_strip

Of = Literal["mesh", "field"]
Show = Literal["color", "albedo", "clay", "normals", "depth"]
Background = Literal["studio", "white", "black", "transparent"]
SECONDS = {"spiral": 8.0}  # of a named path; others take 4
FPS = 24.0
OTHERS = (".avi", ".mov", ".mkv", ".webm", ".png", ".jpg", ".jpeg", ".exr", ".apng")  # not folders' names
SIZE = (720, 720)
SIDES = (16, 4096)  # pixels
MOST_BYTES = 2 << 30  # that pictures in the making may take
A_PIXEL = 180  # bytes, of a mesh's picture with its sub-pixels
CLAY = 190  # grey of a texture that is left out, of 255
Shot = Callable[[Pinholes], tuple[Render, Float[Tensor, "b h w 3"]]]  # pictures, and without light


def film(
    run: Path | str, path: str = "turntable", *, out: Path | str | None = None,
    seconds: float | int | None = None, fps: float | int | None = None, size: tuple[int, int] | None = None,
    elevation_deg: float | int | None = None, fov_deg: float | int | None = None, of: str = "mesh",
    show: str = "color", background: str | None = None, up: str | None = None, device: str = "auto",
    progress: Progress | None = None,
) -> Path:
    """Writes a film of a finished run's folder; returns its file, or the folder of its frames.

    ``path`` is one of camera_paths.NAMED, which frame the object by themselves and take ``elevation_deg``
    (20) and ``fov_deg`` (33), or a file of poses (`camera_paths.read_path`). Its poses are in the world of
    the run's photos, where it has some, else in that of the exported asset, metres; ``up`` is the axis that
    points up there. Without ``seconds`` a file's poses are the frames, with it they are keys. ``out`` ends
    in .mp4, .gif or .webp, or is a folder of PNGs; RUN/render/NAME.mp4 if None. Raises InputError.
    """
    found, progress = read_run(Path(run)), progress or Quiet()
    subject, what = choice(of, get_args(Of), "--of"), choice(show, get_args(Show), "--show")
    usual = "black" if what in ("normals", "depth") else "studio"
    behind = choice(background or usual, get_args(Background), "--background")
    called = "_".join([path if path in NAMED else Path(path).stem, *(["field"] if subject == "field" else []),
                       *([what] if what != "color" else [])])
    target = _target(out, found, called, behind)
    _tell_unused(path, elevation_deg, fov_deg, up, progress)
    scene = scene_of(found, path not in NAMED, progress)
    cameras, rate = _cameras(path, scene, target, seconds, fps, size, elevation_deg, fov_deg, up)
    chosen = choose_device(device)
    shot = _mesh_shot(scene, what) if subject == "mesh" else _field_shot(found, scene, what, chosen)
    near_and_far = reach(scene.mesh, cameras)
    check_room(target.parent if target.suffix.lower() in KINDS else target)

    def frame(i: int) -> UInt8[np.ndarray, "h w c"]:
        one = cameras.select(torch.tensor([i]))
        picture, albedo = shot(one)
        grey = studio(scene.mesh, one)[0] if behind == "studio" else None
        value, opacity = _values(picture, albedo, what, near_and_far)[0], picture.opacity[0].cpu().numpy()
        return _composed(value, opacity, grey, behind)

    workers = _workers(cameras, subject)
    progress.stage("render", 1, 1)
    with folder_errors(target), contextlib.closing(_drawn(frame, len(cameras), workers, progress)) as frames:
        write_strip(frames, len(cameras), target, rate, (cameras.width, cameras.height))
    return target


def _cameras(
    path: str, scene: Scene, target: Path, seconds: float | int | None, fps: float | int | None,
    size: tuple[int, int] | None, elevation_deg: float | int | None, fov_deg: float | int | None,
    up: str | None,
) -> tuple[Pinholes, float]:
    """The cameras of every frame, in the world of the scene's mesh, and frames a second."""
    known: FilePath | None = None
    if path not in NAMED:
        if not Path(path).suffix:
            raise InputError(
                f"--path {path!r} is neither one of {', '.join(NAMED)} nor a file of poses (.json)"
            )
        axis = cast(Up, choice(up, ("y", "z"), "--up")) if up else scene.up
        known = read_path(Path(path), up=axis, size=size)
    (width, height), rate = _size(size, known, path, target), _rate(fps, known, path, target)
    count = None
    if known is None or seconds is not None:
        length = SECONDS.get(path, 4.0) if seconds is None else seconds
        count = max(1, round(_within(length, 1 / rate, MOST_FRAMES / rate, "--seconds") * rate))
    if known is not None:
        return scene.placing.moved(through(known, count, width, height)), rate
    assert count is not None
    high = _within(ELEVATION_DEG if elevation_deg is None else elevation_deg, -89, 89, "--elevation")
    wide = _within(ORBIT_FOV_DEG if fov_deg is None else fov_deg, 5, 120, "--fov")
    square = named_path(path, count, elevation_deg=high, fov_deg=wide, width=width, height=height)
    return framing(scene.mesh, square).moved(widened(square, width, height)), rate


def _mesh_shot(scene: Scene, show: str) -> Shot:
    mesh, lit = scene.mesh, show != "albedo" and not (scene.photographed and show == "color")
    if show == "clay":
        mesh = replace(mesh, texture=np.full_like(mesh.texture, CLAY))

    def shot(cameras: Pinholes) -> tuple[Render, Tensor]:
        picture = render_mesh(mesh, cameras, shading=lit)
        return picture, picture.rgb

    return shot


def _field_shot(run: Run, scene: Scene, show: str, chosen: torch.device) -> Shot:
    """Raises InputError where the run has no field."""
    from dreamfusion3d.pipelines.run_reader import Fields, config_of
    from dreamfusion3d.rendering.novel_view import field_views
    from dreamfusion3d.rendering.occupancy_grid import filled
    from dreamfusion3d.rendering.volume import RenderSettings

    file = run.space.work / "field.safetensors"
    if not file.exists() or not scene.in_scene:
        raise InputError(
            f"{run.space.folder} has no field (a mesh was painted, or work/ is not whole any more): "
            "--of mesh shows what was shipped"
        )
    config, field = config_of(run.space.folder), Fields(run.space.folder).read(file).to(chosen)
    occupancy = filled(field, config, torch.Generator(chosen).manual_seed(0))
    settings = RenderSettings(step_size=config.render.step_size)
    if show == "clay":
        settings = replace(settings, shading="textureless")
    elif scene.photographed and show == "color":
        settings = replace(settings, shading="albedo")

    def shot(cameras: Pinholes) -> tuple[Render, Tensor]:
        # the same lot for every frame: what grain there is stands still
        lot = torch.Generator(chosen).manual_seed(0)
        picture, albedo = field_views(
            field, cameras.to(chosen), occupancy=occupancy, generator=lot, settings=settings
        )
        return replace(picture, rgb=picture.rgb * (CLAY / 255 if show == "clay" else 1.0)), albedo

    return shot


def _values(
    picture: Render, albedo: Tensor, show: str, near_and_far: tuple[float, float]
) -> Float[np.ndarray, "b h w 3"]:
    """What is shown, premultiplied by opacity, in [0, 1]."""
    opacity = picture.opacity[..., None]
    if show == "normals":
        assert picture.normals is not None, "they were asked for"
        value = 0.5 * (picture.normals + opacity)
    elif show == "depth":
        near, far = near_and_far
        grey = ((far - picture.depth) / max(far - near, 1e-9)).clamp(0, 1)
        value = (grey[..., None] * opacity).expand(*picture.rgb.shape)
    else:
        value = albedo if show == "albedo" else picture.rgb
    return value.cpu().numpy().clip(0, 1)


def _composed(
    value: Float[np.ndarray, "h w 3"], opacity: Float[np.ndarray, "h w"],
    grey: Float[np.ndarray, "h w 1"] | None, background: str,
) -> UInt8[np.ndarray, "h w c"]:
    alpha = opacity[..., None].clip(0, 1)
    if background == "transparent":
        straight = value / np.maximum(alpha, 1e-6)
        full = np.concatenate([straight, alpha], -1)
    else:
        full = value + (1 - alpha) * (grey if grey is not None else float(background == "white"))
    return (full.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def _drawn(
    frame: Callable[[int], np.ndarray], count: int, workers: int, progress: Progress
) -> Generator[np.ndarray, None, None]:
    """Frames in turn. A mesh's kernels let go of the interpreter: the next ones are drawn meanwhile."""
    pool = ThreadPoolExecutor(workers)
    try:
        waiting = [pool.submit(frame, i) for i in range(min(2 * workers, count))]
        for i in range(count):
            made = waiting.pop(0).result()
            if i + 2 * workers < count:
                waiting.append(pool.submit(frame, i + 2 * workers))
            progress.step(i + 1, count)
            yield made
    finally:
        pool.shutdown(cancel_futures=True)


def _workers(cameras: Pinholes, subject: str) -> int:
    """As many as there are threads, and memory: a picture of a mesh takes A_PIXEL bytes of its pixels."""
    room = MOST_BYTES // (A_PIXEL * cameras.width * cameras.height)
    return max(1, min(torch.get_num_threads(), room)) if subject == "mesh" else 1


def _tell_unused(
    path: str, elevation: float | int | None, fov: float | int | None, up: str | None, progress: Progress
) -> None:
    given = {"--elevation": elevation, "--fov": fov, "--up": up}
    used = {"--up"} if path not in NAMED else {"--fov"} if path == "spiral" else {"--elevation", "--fov"}
    for option, value in given.items():
        if value is not None and option not in used:
            progress.say(f"warning: {option} is not for --path {path}; it changes nothing")


def _target(out: Path | str | None, run: Run, called: str, background: str) -> Path:
    home = run.space.folder.resolve()
    target = run.space.folder / "render" / f"{called}.mp4" if out is None else Path(out)
    kind, place = target.suffix.lower(), target.resolve()
    if kind in OTHERS and not target.is_dir():
        raise InputError(
            f"--out {target} ends in {kind}; {', '.join(KINDS)} or a folder of frames is written"
        )
    if kind in KINDS and target.is_dir():
        raise InputError(f"--out {target} is a folder; name a file, or a folder without {kind}")
    if background == "transparent" and kind in (".mp4", ".gif"):
        raise InputError(
            f"a transparent {kind} is not written: name a folder (PNG frames) or a .webp with --out"
        )
    if place.is_relative_to(home) and not place.is_relative_to(home / "render"):
        raise InputError(
            f"--out {target} is among the run's own files, which asset.json records; name another"
        )
    return target


def _size(asked: tuple[int, int] | None, known: FilePath | None, path: str, target: Path) -> tuple[int, int]:
    low, high = SIDES
    width, height = asked or (known and known.size) or SIZE
    if not (low <= width <= high and low <= height <= high):
        what = f"--size {width}x{height}"
        if not asked:
            what = f"{path}'s {width} x {height} pixels (--size overrides)"
        raise InputError(f"{what}: both sides must be between {low} and {high}")
    # codecs halve the colours' sides
    return (width + width % 2, height + height % 2) if target.suffix.lower() == ".mp4" else (width, height)


def _rate(asked: float | int | None, known: FilePath | None, path: str, target: Path) -> float:
    found = asked if asked is not None else (known and known.fps) or FPS
    high = 50 if target.suffix.lower() == ".gif" else 120  # viewers slow down faster GIFs
    what = "--fps" if asked is not None or known is None else f"{path}'s fps (--fps overrides it)"
    return _within(found, 0.1, high, what)


def _within(value: float | int, low: float | int, high: float | int, option: str) -> float:
    if not (math.isfinite(value) and low <= value <= high):
        raise InputError(f"{option} {value:g} is not between {low:.4g} and {high:.4g}")
    return float(value)


def size_of(text: str) -> tuple[int, int]:
    """``1280x720``, or one number for a square. Raises InputError."""
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(re.fullmatch(r"\s*[0-9]{1,6}\s*", side) for side in sides):
        raise InputError(f"--size {text!r} is no size in pixels; for example 720 or 1280x720")
    return int(sides[0]), int(sides[-1])
