"""Frames to a video, to an animated picture, or to a folder of PNGs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
from jaxtyping import UInt8

from dreamfusion3d.errors import InputError
from dreamfusion3d.files import replacing
from dreamfusion3d.render.video import write_frames

KINDS = (".mp4", ".gif", ".webp")
_FRAME = re.compile(r"\d{5}\.png")


def write_strip(
    frames: Iterator[UInt8[np.ndarray, "h w c"]], count: int, target: Path, fps: float, size: tuple[int, int]
) -> None:
    """``count`` RGB or RGBA ``frames`` of ``size`` (width, height; even for MP4), ``fps`` a second.

    By the suffix of ``target``, of KINDS, or without one to the folder ``target`` as 00000.png, ...
    Animated pictures loop; their times are whole milliseconds, a GIF's hundredths of a second. Raises
    InputError for a folder that holds more frames than these.
    """
    kind = target.suffix.lower()
    if not kind:
        _write_folder(frames, count, target)
        return
    with replacing(target) as temporary:
        if kind == ".mp4":
            write_frames(frames, temporary, fps, size)
        else:
            _write_animated(frames, temporary, kind, fps)


def _write_folder(frames: Iterator[np.ndarray], count: int, folder: Path) -> None:
    wanted = {f"{i:05d}.png" for i in range(count)}
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if other := sorted(name for name in there - wanted if _FRAME.fullmatch(name)):
        raise InputError(
            f"{folder} holds frames of a longer film ({other[0]} and {len(other) - 1} more): "
            "name another folder with --out, or empty it"
        )
    for i, frame in enumerate(frames):
        with replacing(folder / f"{i:05d}.png") as temporary:
            imageio.imwrite(temporary, frame)


def _write_animated(frames: Iterator[np.ndarray], path: Path, kind: str, fps: float) -> None:
    from PIL import Image

    pictures = (Image.fromarray(frame) for frame in frames)
    first = next(pictures)
    more: dict[str, Any] = {"quality": 90, "method": 4} if kind == ".webp" else {"optimize": False}
    first.save(path, save_all=True, append_images=pictures, duration=round(1000 / fps), loop=0, **more)
