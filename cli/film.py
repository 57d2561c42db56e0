"""``render``: a finished asset along a camera path."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from .report import Stopped


def render(
    run: Annotated[Path, typer.Argument(help="Folder of a finished asset: OUT/<slug>.")],
    path: Annotated[
        str, typer.Option(help="turntable, spiral, swing, dolly, or a file of camera poses (.json).")
    ] = "turntable",
    out: Annotated[
        Path | None, typer.Option(help="FILE.mp4, .gif or .webp, or a folder for PNGs; an MP4 in RUN/render.")
    ] = None,
    seconds: Annotated[float | None, typer.Option(help="Of the film; 4 (spiral 8), a file's poses.")] = None,
    fps: Annotated[float | None, typer.Option(help="Frames a second; 24, or the file's.")] = None,
    size: Annotated[str | None, typer.Option(help="Pixels: 720 or 1280x720; 720, or the file's.")] = None,
    elevation: Annotated[float | None, typer.Option(help="Degrees above the horizon (not spiral, files); 20.")] = None,
    fov: Annotated[float | None, typer.Option(help="Degrees of the picture's shorter side (not files); 33.")] = None,
    of: Annotated[str, typer.Option(help="mesh (what was shipped) or field (what it was made of).")] = "mesh",
    show: Annotated[str, typer.Option(help="color, albedo, clay, normals or depth.")] = "color",
    background: Annotated[
        str | None, typer.Option(help="studio, white, black or transparent; by what is shown.")
    ] = None,
    up: Annotated[str | None, typer.Option(help="Axis of a file that points up: y or z.")] = None,
    device: Annotated[str, typer.Option(help="Of --of field: auto, cpu or cuda.")] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress; warnings only.")] = False,
) -> None:
    """Film a finished asset along a camera path: its mesh, or its radiance field.

    Prints the path of the film, or of the folder of its frames. The run's own files stay as they are.
    """
    from dreamfusion3d.core.progress import default_progress
    from dreamfusion3d.pipelines.video import parse_frame_size, render_video

    progress = default_progress(quiet)
    # stdout carries the path alone, whatever a library prints
    with contextlib.closing(progress), contextlib.redirect_stdout(sys.stderr):
        try:
            written = render_video(
                run,
                path,
                out=out,
                seconds=seconds,
                fps=fps,
                size=None if size is None else parse_frame_size(size),
                elevation_deg=elevation,
                fov_deg=fov,
                source=of,
                channel=show,
                background=background,
                up=up,
                device=device,
                progress=progress,
            )
        except KeyboardInterrupt:
            raise Stopped("stopped; nothing was written") from None
    print(written)
