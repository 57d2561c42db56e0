"""Frames to a video, to an animated picture, or to a folder of PNGs."""

from __future__ import annotations

import itertools
import os
import re
import tempfile
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
MOST_BYTES = 1 << 30  # of the frames of an animated picture, which Pillow holds
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
    if kind not in KINDS:
        _write_folder(frames, count, target)
        return
    if kind != ".mp4" and count * size[0] * size[1] * 4 > MOST_BYTES:
        raise InputError(
            f"{count} frames of {size[0]} x {size[1]} pixels are too many for a {kind}, put together in "
            "memory: take .mp4 or a folder of frames, or make it shorter or smaller"
        )
    with replacing(target) as temporary:
        if kind == ".mp4":
            write_frames(frames, temporary, fps, size)
        else:
            _write_animated(frames, count, temporary, kind, fps)


def _write_folder(frames: Iterator[np.ndarray], count: int, folder: Path) -> None:
    """All of them or none: an interrupted film leaves an earlier one as it was."""
    wanted = [f"{i:05d}.png" for i in range(count)]
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if other := sorted(name for name in there - set(wanted) if _FRAME.fullmatch(name)):
        raise InputError(
            f"{folder} holds frames of a longer film ({other[0]} and {len(other) - 1} more): "
            "name another folder with --out, or empty it"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".frames.", suffix=".tmp", dir=folder) as made:
        for name, frame in zip(wanted, frames, strict=True):
            imageio.imwrite(Path(made) / name, frame)
        for name in wanted:
            os.replace(Path(made) / name, folder / name)


def _write_animated(frames: Iterator[np.ndarray], count: int, path: Path, kind: str, fps: float) -> None:
    from PIL import Image

    pictures = (Image.fromarray(frame) for frame in frames)
    first = next(pictures)
    unit = 10 if kind == ".gif" else 1  # milliseconds; the sum of all is right
    ends = [unit * round(1000 * i / fps / unit) for i in range(count + 1)]
    times = [b - a for a, b in itertools.pairwise(ends)]
    more: dict[str, Any] = {"quality": 90, "method": 4} if kind == ".webp" else {"optimize": False}
    first.save(path, save_all=True, append_images=pictures, duration=times, loop=0, **more)
