"""Options of `render_video`: frame size and rate, output file, and combinations that have no effect."""

from __future__ import annotations

import math
import re
from pathlib import Path

from dreamfusion3d.cameras.paths import NAMED_PATHS, CameraPath
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.progress import Progress
from dreamfusion3d.pipelines.run_reader import FinishedRun
from dreamfusion3d.rendering.video_writer import VIDEO_SUFFIXES

DEFAULT_FPS = 24.0
UNSUPPORTED_SUFFIXES = (
    ".avi",
    ".mov",
    ".mkv",
    ".webm",
    ".png",
    ".jpg",
    ".jpeg",
    ".exr",
    ".apng",
)  # rejected, not taken as names of folders
DEFAULT_FRAME_SIZE = (720, 720)
FRAME_SIDE_RANGE = (16, 4096)  # pixels


def warn_unused_options(
    path: str, elevation: float | int | None, fov: float | int | None, up: str | None, progress: Progress
) -> None:
    """Warn of options that the camera path does not use."""
    options = {"--elevation": elevation, "--fov": fov, "--up": up}
    used = {"--up"} if path not in NAMED_PATHS else {"--fov"} if path == "spiral" else {"--elevation", "--fov"}
    for option, value in options.items():
        if value is not None and option not in used:
            progress.warn(f"{option} has no effect on --path {path}")


def video_output_path(out: Path | str | None, run: FinishedRun, name: str, background: str) -> Path:
    """Return the file or folder to write; raises InputError if it cannot hold the video or would change the run."""
    run_folder = run.workspace.folder.resolve()
    target = run.workspace.folder / "render" / f"{name}.mp4" if out is None else Path(out)
    suffix, resolved = target.suffix.lower(), target.resolve()
    if suffix in UNSUPPORTED_SUFFIXES and not target.is_dir():
        raise InputError(
            f"--out {target} ends in {suffix}; supported are {', '.join(VIDEO_SUFFIXES)} or a folder of frames"
        )
    if suffix in VIDEO_SUFFIXES and target.is_dir():
        raise InputError(f"--out {target} is a folder; choose a file, or a folder whose name does not end in {suffix}")
    if background == "transparent" and suffix in (".mp4", ".gif"):
        raise InputError(f"a {suffix} cannot be transparent: choose a folder (PNG frames) or a .webp with --out")
    if resolved.is_relative_to(run_folder) and not resolved.is_relative_to(run_folder / "render"):
        raise InputError(f"--out {target} is among the run's own files; choose another folder")
    return target


def video_frame_size(
    requested: tuple[int, int] | None, pose_file: CameraPath | None, path: str, target: Path
) -> tuple[int, int]:
    """Return width and height: the requested ones, those of the pose file, or the default."""
    low, high = FRAME_SIDE_RANGE
    width, height = requested or (pose_file and pose_file.image_size) or DEFAULT_FRAME_SIZE
    if not (low <= width <= high and low <= height <= high):
        what = f"--size {width}x{height}"
        if not requested:
            what = f"{path}'s {width} x {height} pixels (--size overrides)"
        raise InputError(f"{what}: both sides must be between {low} and {high}")
    # video codecs halve the size of the color planes, so it must be even
    return (width + width % 2, height + height % 2) if target.suffix.lower() == ".mp4" else (width, height)


def video_frame_rate(requested: float | int | None, pose_file: CameraPath | None, path: str, target: Path) -> float:
    """Return the requested frame rate, that of the pose file, or the default."""
    fps = requested if requested is not None else (pose_file and pose_file.fps) or DEFAULT_FPS
    high = 50 if target.suffix.lower() == ".gif" else 120  # viewers play faster GIFs slowly
    what = "--fps" if requested is not None or pose_file is None else f"{path}'s fps (--fps overrides it)"
    return check_option_range(fps, 0.1, high, what)


def check_option_range(value: float | int, low: float | int, high: float | int, option: str) -> float:
    if not (math.isfinite(value) and low <= value <= high):
        raise InputError(f"{option} {value:g} is not between {low:.4g} and {high:.4g}")
    return float(value)


def parse_frame_size(text: str) -> tuple[int, int]:
    """Parse "1280x720", or one number for a square; raises InputError."""
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(re.fullmatch(r"\s*[0-9]{1,6}\s*", side) for side in sides):
        raise InputError(f"--size {text!r} is not a size in pixels, e.g. 720 or 1280x720")
    return int(sides[0]), int(sides[-1])
