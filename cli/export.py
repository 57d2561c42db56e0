"""``dreamfusion3d export``: convert a finished asset to other formats, axes, units or sizes."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from .options import FORMATS_HELP, AssetFolder, Quiet, name_options_in_errors
from .report import stdout_to_stderr


def export(
    run: AssetFolder,
    formats: Annotated[
        str | None, typer.Option("--format", help=FORMATS_HELP, show_default="the formats of the run")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Output folder.", show_default="RUN/export")] = None,
    up: Annotated[str | None, typer.Option(help="Up axis: y or z.", show_default="the format's convention")] = None,
    units: Annotated[
        str | None, typer.Option(help="Unit of length: m, cm or mm.", show_default="the format's convention")
    ] = None,
    height: Annotated[
        float | None, typer.Option(help="Height of the asset in meters.", show_default="the height of the run")
    ] = None,
    pivot: Annotated[str, typer.Option(help="Position of the origin: base or center.")] = "base",
    quiet: Quiet = False,
) -> None:
    """Export a finished asset again without optimizing it: other formats, axes, units, height or pivot.

    Prints the path of each exported file.
    The files of the run stay unchanged.
    """
    from dreamfusion3d.core.progress import default_progress
    from dreamfusion3d.pipelines.export import export_run

    progress = default_progress(quiet)
    option_errors = name_options_in_errors({"--format": formats, "--height": height})
    with contextlib.closing(progress), stdout_to_stderr(), option_errors:
        paths = export_run(run, formats, out=out, up=up, units=units, height=height, pivot=pivot, progress=progress)
    for path in paths:
        print(path)
