"""``dreamfusion3d``: every command under one name."""

from __future__ import annotations

import sys

import typer

from . import generate
from .report import run

app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True
)


@app.callback()
def dreamfusion3d() -> None:
    """Text to textured 3D meshes."""


app.command("generate")(generate.generate)


def main() -> None:
    sys.exit(run(app))
