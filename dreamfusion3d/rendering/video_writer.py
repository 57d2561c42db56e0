"""Writing of frames to a video, an animated image, or a folder of PNGs."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
from jaxtyping import UInt8

from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.files import atomic_write

VIDEO_CODECS = ("vp09", "mp4v")  # VP9 plays in browsers; the opencv wheel has no H.264
VIDEO_SUFFIXES = (".mp4", ".gif", ".webp")
MAX_ANIMATION_BYTES = 1 << 30  # of an animated image's frames, which Pillow keeps in memory
_FRAME_NAME = re.compile(r"\d{5}\.png")


def write_video(
    frames: Iterator[UInt8[np.ndarray, "h w c"]], count: int, target: Path, fps: float, size: tuple[int, int]
) -> None:
    """Write RGB or RGBA frames in the format of ``target``'s suffix, or to a folder as 00000.png, ...

    Animated images loop. Their frame times are whole milliseconds; a GIF's are hundredths of a second.

    ``size`` is the width and height, even for MP4. Raises InputError if the folder holds frames of a longer video, or
    an animated image would not fit into memory.
    """
    suffix = target.suffix.lower()
    if suffix not in VIDEO_SUFFIXES:
        _write_image_folder(frames, count, target)
        return
    if suffix != ".mp4" and count * size[0] * size[1] * 4 > MAX_ANIMATION_BYTES:
        raise InputError(
            f"{count} frames of {size[0]} x {size[1]} pixels are too many for a {suffix}, which is assembled in "
            "memory: write .mp4 or a folder of frames, or lower --seconds, --fps or --size"
        )
    with atomic_write(target) as temporary:
        if suffix == ".mp4":
            write_mp4(frames, temporary, fps, size)
        else:
            _write_animated_image(frames, count, temporary, suffix, fps)


def _write_image_folder(frames: Iterator[np.ndarray], count: int, folder: Path) -> None:
    """Write all frames or none, so that an interrupted video leaves an earlier one intact."""
    names = [f"{i:05d}.png" for i in range(count)]
    existing = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if leftover := sorted(name for name in existing - set(names) if _FRAME_NAME.fullmatch(name)):
        raise InputError(
            f"{folder} holds frames of a longer video ({leftover[0]} and {len(leftover) - 1} more): "
            "choose another folder with --out, or empty it"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".frames.", suffix=".tmp", dir=folder) as temporary:
        for name, frame in zip(names, frames, strict=True):
            imageio.imwrite(Path(temporary) / name, frame)
        for name in names:
            os.replace(Path(temporary) / name, folder / name)


def _write_animated_image(frames: Iterator[np.ndarray], count: int, path: Path, suffix: str, fps: float) -> None:
    from PIL import Image

    images = (Image.fromarray(frame) for frame in frames)
    first = next(images)
    resolution_ms = 10 if suffix == ".gif" else 1  # end times are rounded, so that errors do not add up
    ends = [resolution_ms * round(1000 * i / fps / resolution_ms) for i in range(count + 1)]
    durations = [b - a for a, b in itertools.pairwise(ends)]
    options: dict[str, Any] = {"quality": 90, "method": 4} if suffix == ".webp" else {"optimize": False}
    with open(path, "w+b") as stream:  # Pillow leaves a file that it opened open on KeyboardInterrupt
        first.save(stream, suffix[1:], save_all=True, append_images=images, duration=durations, loop=0, **options)


def write_mp4(
    frames: Iterable[UInt8[np.ndarray, "h w 3"]], path: Path, fps: int | float, size: tuple[int, int]
) -> None:
    """Write frames as one MP4; ``path`` ends in .mp4, ``size`` is the even width and height.

    Raises OSError if the file is incomplete, as on a full disk.
    """
    import cv2

    codes = (cv2.VideoWriter.fourcc(*codec) for codec in VIDEO_CODECS)
    with _silence_stderr():
        writers = (cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, code, float(fps), size) for code in codes)
        writer = next((w for w in writers if w.isOpened()), None)
    if writer is None:
        raise InputError(
            "this build of OpenCV can write neither VP9 nor MPEG-4 video; replace it with:"
            " pip install --force-reinstall opencv-python-headless"
        )
    count = 0
    try:
        for frame in frames:
            writer.write(np.ascontiguousarray(frame[..., ::-1]))
            count += 1
    finally:
        with _silence_stderr():
            writer.release()
    # the writer does not report a full disk
    with _silence_stderr():
        reader = cv2.VideoCapture(str(path))
        complete = reader.isOpened() and round(reader.get(cv2.CAP_PROP_FRAME_COUNT)) == count
        reader.release()
    if count and not complete:
        raise OSError(errno.ENOSPC, "the video is incomplete", str(path.parent))


@contextlib.contextmanager
def _silence_stderr() -> Iterator[None]:
    """Keep FFmpeg, whose log level cannot be set here, from writing to the terminal."""
    saved = os.dup(2)
    devnull = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(devnull, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(devnull)
