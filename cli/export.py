"""``export``: a finished asset in other formats, axes, units or sizes."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from .options import name_options_in_errors


def export(
    run: Annotated[Path, typer.Argument(help="Folder of a finished asset: OUT/<slug>.")],
    formats: Annotated[
        str | None, typer.Option("--format", help="Some of glb, gltf, obj, ply, stl, 3mf, usdz, fbx; the run's own.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the files; RUN/export.")] = None,
    up: Annotated[str | None, typer.Option(help="Axis that points up: y or z; the format's habit.")] = None,
    units: Annotated[str | None, typer.Option(help="Unit: m, cm or mm; the format's habit.")] = None,
    height: Annotated[float | None, typer.Option(help="Height of the asset in metres; the run's.")] = None,
    pivot: Annotated[str, typer.Option(help="Where the origin lies: base or center.")] = "base",
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress; warnings only.")] = False,
) -> None:
    """Write a finished asset again, without optimising: other formats, axes, units, height or pivot.

    Prints the path of every format's file, one a line. The run's own files stay as they are.
    """
    from dreamfusion3d.core.progress import default_progress
    from dreamfusion3d.pipelines.export import export_run as again

    progress = default_progress(quiet)
    # stdout carries the paths alone, whatever a library prints
    option_errors = name_options_in_errors({"--format": formats, "--height": height})
    with contextlib.closing(progress), contextlib.redirect_stdout(sys.stderr), option_errors:
        written = again(run, formats, out=out, up=up, units=units, height=height, pivot=pivot, progress=progress)
    for path in written:
        print(path)
