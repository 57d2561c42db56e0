"""``dreamfusion3d render``: render a finished asset along a camera path."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from .options import AssetFolder, Quiet
from .report import Stopped, stdout_to_stderr


def render(
    run: AssetFolder,
    path: Annotated[
        str, typer.Option(help="turntable, spiral, swing, dolly, or a JSON file of camera poses.")
    ] = "turntable",
    out: Annotated[
        Path | None,
        typer.Option(help="FILE.mp4, .gif or .webp, or a folder for PNGs.", show_default="an MP4 in RUN/render"),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(help="Duration.", show_default="4; spiral 8; one frame per pose of a file")
    ] = None,
    fps: Annotated[float | None, typer.Option(help="Frames per second.", show_default="24, or the file's")] = None,
    size: Annotated[
        str | None, typer.Option(help="Pixels, e.g. 720 or 1280x720.", show_default="720, or the file's")
    ] = None,
    elevation: Annotated[
        float | None, typer.Option(help="Camera elevation in degrees (not for spiral or files).", show_default="20")
    ] = None,
    fov: Annotated[
        float | None,
        typer.Option(help="Field of view along the shorter side in degrees (not for files).", show_default="33"),
    ] = None,
    source: Annotated[str, typer.Option(help="mesh (the exported mesh) or field (the radiance field).")] = "mesh",
    channel: Annotated[str, typer.Option(help="color, albedo, clay, normals or depth.")] = "color",
    background: Annotated[
        str | None, typer.Option(help="studio, white, black or transparent.", show_default="depends on --channel")
    ] = None,
    up: Annotated[str | None, typer.Option(help="Up axis of a file of poses: y or z.")] = None,
    device: Annotated[str, typer.Option(help="Device for --source field: auto, cpu or cuda.")] = "auto",
    quiet: Quiet = False,
) -> None:
    """Render a finished asset, its mesh or its radiance field, along a camera path.

    Prints the path of the video, or of the folder of frames.
    The files of the run stay unchanged.
    """
    from dreamfusion3d.core.progress import default_progress
    from dreamfusion3d.pipelines.video import render_video
    from dreamfusion3d.pipelines.video_options import parse_frame_size

    progress = default_progress(quiet)
    with contextlib.closing(progress), stdout_to_stderr():
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
                source=source,
                channel=channel,
                background=background,
                up=up,
                device=device,
                progress=progress,
            )
        except KeyboardInterrupt:
            raise Stopped("stopped; nothing was written") from None
    print(written)
