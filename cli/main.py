"""``dreamfusion3d``: the entry point that groups all commands."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from dreamfusion3d import __version__
from dreamfusion3d.core.runtime import configure_process

from .batch import batch
from .config import app as config_app
from .doctor import doctor
from .evaluate import evaluate
from .export import export
from .generate import generate
from .reconstruct import reconstruct
from .render import render
from .report import run_app
from .review import review
from .sample import sample
from .train_clip import train_clip
from .train_prior import train_prior
from .train_shapes import train_shapes
from .train_text_encoder import train_text_encoder
from .view import view
from .vocabulary import vocabulary

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)


def _print_version(requested: bool) -> bool:
    if requested:
        print(f"dreamfusion3d {__version__}")
        raise typer.Exit
    return requested


@app.callback()
def dreamfusion3d(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Generate textured 3D meshes from text."""


for command in (
    generate,
    batch,
    reconstruct,
    review,
    view,
    sample,
    train_prior,
    vocabulary,
    train_text_encoder,
    train_clip,
    train_shapes,
    evaluate,
    export,
    render,
    doctor,
):
    app.command()(command)
app.add_typer(config_app, name="config")


def main() -> None:
    """Run the command line and exit."""
    configure_process()
    sys.exit(run_app(app))
