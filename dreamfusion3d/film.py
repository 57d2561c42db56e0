"""A finished run along a camera path: its mesh or its field, as a video or as frames.

What is shown is what the run has: the mesh that was shipped, or the field that it was made of. The run's
own files and its asset.json stay as they are.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from dreamfusion3d.camera_paths import MOST_FRAMES, NAMED, FilePath, named_path, read_path, through, widened
from dreamfusion3d.cameras import ORBIT_FOV_DEG
from dreamfusion3d.config import choice
from dreamfusion3d.errors import InputError
from dreamfusion3d.photos import Pinholes, Up
from dreamfusion3d.placing import Placing
from dreamfusion3d.progress import Progress, Quiet
from dreamfusion3d.reexport import Run, read_run, textured_of
from dreamfusion3d.render.strip import KINDS, write_strip
from dreamfusion3d.render.surface import render_mesh
from dreamfusion3d.render.video import framed, studio
from dreamfusion3d.stages import load_arrays
from dreamfusion3d.types import Render, TexturedMesh
from dreamfusion3d.workspace import check_room, folder_errors

Of = Literal["mesh", "field"]
Show = Literal["color", "albedo", "clay", "normals", "depth"]
Background = Literal["studio", "white", "black", "transparent"]
SECONDS = {"spiral": 8.0}  # of a named path; others take 4
FPS = 24.0
SIZE = (720, 720)
SIDES = (16, 4096)  # pixels
CLAY = 190  # grey of a texture that is left out, of 255
Shot = Callable[[Pinholes], tuple[Render, Float[Tensor, "b h w 3"]]]  # pictures, and without light


def film(
    run: Path | str, path: str = "turntable", *, out: Path | str | None = None,
    seconds: float | int | None = None, fps: float | int | None = None, size: tuple[int, int] | None = None,
    elevation_deg: float | int = 20.0, fov_deg: float | int = ORBIT_FOV_DEG, of: str = "mesh",
    show: str = "color", background: str | None = None, up: str | None = None, device: str = "auto",
    progress: Progress | None = None,
) -> Path:
    """Writes a film of a finished run's folder; returns its file, or the folder of its frames.

    ``path`` is one of camera_paths.NAMED, which frame the object by themselves and take ``elevation_deg``
    and ``fov_deg``, or a file of poses (`camera_paths.read_path`). Its poses are in the world of the run's
    photos, where it has some, else in that of the exported asset, metres; ``up`` is the axis that points up
    there. Without ``seconds`` a file's poses are the frames, with it they are keys. ``out`` ends in .mp4,
    .gif or .webp, or is a folder of PNGs; RUN/render/NAME.mp4 if None. Raises InputError.
    """
    found, progress = read_run(Path(run)), progress or Quiet()
    subject, what = choice(of, get_args(Of), "--of"), choice(show, get_args(Show), "--show")
    usual = "black" if what in ("normals", "depth") else "studio"
    behind = choice(background or usual, get_args(Background), "--background")
    target = _target(out, found, path, behind)
    scene = _scene(found, path not in NAMED, progress)
    cameras, rate = _cameras(path, scene, seconds, fps, size, elevation_deg, fov_deg, up)
    shot = _mesh_shot(scene.mesh, what) if subject == "mesh" else _field_shot(found, scene, what, device)
    reach = _reach(scene.mesh, cameras)

    def frame(i: int) -> UInt8[np.ndarray, "h w c"]:
        one = cameras.select(torch.tensor([i]))
        picture, albedo = shot(one)
        grey = studio(scene.mesh, one)[0] if behind == "studio" else None
        value, opacity = _values(picture, albedo, what, reach)[0], picture.opacity[0].cpu().numpy()
        return _composed(value, opacity, grey, behind)

    progress.stage("render", 1, 1)
    with folder_errors(target), contextlib.closing(_drawn(frame, len(cameras), subject, progress)) as frames:
        write_strip(frames, len(cameras), target, rate, (cameras.width, cameras.height))
    return target


@dataclass(frozen=True)
class Scene:
    """A run's mesh, and how poses of a file come into its world."""

    mesh: TexturedMesh  # scene units; metres where only the GLB is left
    in_scene: bool
    placing: Placing
    up: Up  # of the files that it takes
    photographed: bool  # light is a part of the field's colours


def _scene(run: Run, from_file: bool, progress: Progress) -> Scene:
    """Raises InputError where a file's poses cannot be brought into the world of what is left of the run."""
    kept = run.space.work / "textured.npz"
    mesh = load_arrays(kept, TexturedMesh) if kept.exists() else None
    in_scene = mesh is not None
    if mesh is None:
        mesh = textured_of(run, progress)
    fit = json.loads(run.space.report.read_text(encoding="utf-8")).get("fit")
    if isinstance(fit, dict) and from_file:
        if not in_scene or "scale" not in fit:
            raise InputError(
                f"{run.space.folder} no longer knows where its photos' cameras stood (work/ is gone, or an "
                f"earlier version made it): take one of {', '.join(NAMED)}, or fit it again with --fresh"
            )
        x, y, z = fit["offset"]
        return Scene(mesh, True, Placing(float(fit["scale"]), (x, y, z)), cast(Up, fit["up"]), True)
    low, high = mesh.vertices.min(0).astype(np.float64), mesh.vertices.max(0).astype(np.float64)
    # `export.place` the other way
    scale = max(high[1] - low[1], 1e-9) / run.height if in_scene else 1.0
    offset = ((low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2) if in_scene else (0.0, 0.0, 0.0)
    x, y, z = map(float, offset)
    return Scene(mesh, in_scene, Placing(float(scale), (x, y, z)), "z", isinstance(fit, dict))


def _cameras(
    path: str, scene: Scene, seconds: float | int | None, fps: float | int | None,
    size: tuple[int, int] | None, elevation_deg: float | int, fov_deg: float | int, up: str | None,
) -> tuple[Pinholes, float]:
    """The cameras of every frame, in the world of the scene's mesh, and frames a second."""
    known: FilePath | None = None
    if path not in NAMED:
        if not Path(path).suffix:
            raise InputError(
                f"--path {path!r} is neither one of {', '.join(NAMED)} nor a file of poses (.json)"
            )
        known = read_path(Path(path), up=cast(Up, choice(up, ("y", "z"), "--up")) if up else scene.up)
    width, height = _even(size or (known and known.size) or SIZE)
    rate = _within(fps or (known and known.fps) or FPS, 1, 120, "--fps")
    count = None
    if known is None or seconds is not None:
        length = SECONDS.get(path, 4.0) if seconds is None else seconds
        count = max(1, round(_within(length, 1 / rate, MOST_FRAMES / rate, "--seconds") * rate))
    if known is not None:
        return scene.placing.moved(through(known, count, width, height)), rate
    assert count is not None
    square = named_path(
        path, count, elevation_deg=_within(elevation_deg, -89, 89, "--elevation"),
        fov_deg=_within(fov_deg, 5, 120, "--fov"), width=width, height=height,
    )
    # a dozen views, and the last, bound the object well enough to frame it for all of them
    some = sorted({*range(0, count, max(1, count // 12)), count - 1})
    moved = framed(scene.mesh, square.select(torch.tensor(some)))
    return _to(scene.mesh, moved).moved(widened(square, width, height)), rate


def _to(mesh: TexturedMesh, moved: TexturedMesh) -> Placing:
    """What brings cameras from the world of ``moved``, which is ``mesh`` in another size and place, to it."""
    lows, highs = (getattr(np, name)([m.vertices.astype(np.float64) for m in (mesh, moved)], axis=1)
                   for name in ("min", "max"))
    longest = int(np.argmax(highs[0] - lows[0]))
    scale = float((highs[0] - lows[0])[longest] / max((highs[1] - lows[1])[longest], 1e-12))
    x, y, z = map(float, lows[0] - scale * lows[1])
    return Placing(scale, (x, y, z))


def _mesh_shot(mesh: TexturedMesh, show: str) -> Shot:
    if show == "clay":
        mesh = replace(mesh, texture=np.full_like(mesh.texture, CLAY))

    def shot(cameras: Pinholes) -> tuple[Render, Tensor]:
        picture = render_mesh(mesh, cameras, shading=show != "albedo")
        return picture, picture.rgb

    return shot


def _field_shot(run: Run, scene: Scene, show: str, device: str) -> Shot:
    """Raises InputError where the run's field is gone."""
    from dreamfusion3d.job import choose_device
    from dreamfusion3d.reconstruct import filled
    from dreamfusion3d.render.views import field_views
    from dreamfusion3d.render.volume import RenderSettings
    from dreamfusion3d.view.sight import Fields, config_of

    file = run.space.work / "field.safetensors"
    if not file.exists() or not scene.in_scene:
        raise InputError(
            f"{run.space.folder} has no field any more (work/ is gone): --of mesh shows what was shipped"
        )
    chosen = choose_device(device)
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


def _reach(mesh: TexturedMesh, cameras: Pinholes) -> tuple[float, float]:
    """The least and the greatest distance of the mesh from any camera, for depth's greys."""
    points = torch.from_numpy(mesh.vertices[:: max(1, len(mesh.vertices) // 2000)]).double()
    places = cameras.camera_to_world[:: max(1, len(cameras) // 50), :3, 3].double()
    away = torch.cdist(places, points)
    return float(away.min()), float(away.max())


def _values(
    picture: Render, albedo: Tensor, show: str, reach: tuple[float, float]
) -> Float[np.ndarray, "b h w 3"]:
    """What is shown, premultiplied by opacity, in [0, 1]."""
    opacity = picture.opacity[..., None]
    if show == "normals":
        assert picture.normals is not None, "they were asked for"
        value = 0.5 * (picture.normals + opacity)
    elif show == "depth":
        near, far = reach
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
    frame: Callable[[int], np.ndarray], count: int, subject: str, progress: Progress
) -> Generator[np.ndarray, None, None]:
    """Frames in turn. A mesh's kernels let go of the interpreter: the next ones are drawn meanwhile."""
    workers = torch.get_num_threads() if subject == "mesh" else 1
    with ThreadPoolExecutor(workers) as pool:
        waiting = [pool.submit(frame, i) for i in range(min(2 * workers, count))]
        for i in range(count):
            made = waiting.pop(0).result()
            if i + 2 * workers < count:
                waiting.append(pool.submit(frame, i + 2 * workers))
            progress.step(i + 1, count)
            yield made

def _target(out: Path | str | None, run: Run, path: str, background: str) -> Path:
    name = path if path in NAMED else Path(path).stem
    target = run.space.folder / "render" / f"{name}.mp4" if out is None else Path(out)
    if target.suffix and target.suffix.lower() not in KINDS:
        raise InputError(
            f"--out {target} ends in {target.suffix}; {', '.join(KINDS)} or a folder of frames is written"
        )
    if background == "transparent" and target.suffix.lower() in (".mp4", ".gif"):
        raise InputError(
            f"{target.suffix.lower()} has no transparency: name a folder (PNG frames) or a .webp with --out"
        )
    if target.resolve() == run.space.folder.resolve():
        raise InputError(f"--out {target} is the run's own folder, which asset.json records; name another")
    check_room(target.parent if target.suffix else target)
    return target


def _even(size: tuple[int, int]) -> tuple[int, int]:
    low, high = SIDES
    if not all(low <= side <= high for side in size):
        raise InputError(f"--size {size[0]}x{size[1]}: both must be between {low} and {high} pixels")
    return size[0] + size[0] % 2, size[1] + size[1] % 2


def _within(value: float | int, low: float | int, high: float | int, option: str) -> float:
    if not (math.isfinite(value) and low <= value <= high):
        raise InputError(f"{option} {value:g} is not between {low:.4g} and {high:.4g}")
    return float(value)


def size_of(text: str) -> tuple[int, int]:
    """``1280x720``, or one number for a square. Raises InputError."""
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.strip().isdecimal() for side in sides):
        raise InputError(f"--size {text!r} is no size in pixels; for example 720 or 1280x720")
    return int(sides[0]), int(sides[-1])
