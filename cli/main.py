"""``dreamfusion3d``: every command under one name."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from dreamfusion3d import __version__
from dreamfusion3d.core.runtime import configure_process

from . import batch, config, doctor, evaluate, export, film, fit, generate, look, prior, readers
from .report import run_app

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)


def _print_version(requested: bool) -> bool:
    if requested:
        print(f"dreamfusion3d {__version__}")
        raise typer.Exit
    return requested


@app.callback()
def dreamfusion3d(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print it and end.")
    ] = False,
) -> None:
    """Text to textured 3D meshes."""


app.command("generate")(generate.generate)
app.command("batch")(batch.batch)
app.command("fit")(fit.reconstruct)
app.command("review")(look.review)
app.command("view")(look.view)
app.command("sample")(prior.sample)
app.command("train-prior")(prior.train_prior)
app.command("kinds")(prior.vocabulary)
app.command("train-words")(readers.train_text_encoder)
app.command("train-judge")(readers.train_clip)
app.command("evaluate")(evaluate.evaluate)
app.command("export")(export.export)
app.command("render")(film.render)
app.command("doctor")(doctor.doctor)
app.add_typer(config.app, name="config")


def main() -> None:
    configure_process()
    sys.exit(run_app(app))
