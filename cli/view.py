"""``dreamfusion3d view``: watch and steer a run in the browser."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from .options import Browser, Port, validate_port
from .report import open_browser, stdout_to_stderr


def view(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run: OUT/<slug>.")],
    port: Port = 0,
    browser: Browser = True,
) -> None:
    """Show a run live in the browser: the field, the cameras, previews and the gradient norm.

    Start it while `text2mesh` is writing RUN; the page can pause the run and change its prompt.
    Prints the URL, which contains an access token.
    Ctrl-C stops the viewer, not the run.
    """
    validate_port(port)
    from dreamfusion3d.viewer.app import serve_run

    stdout = sys.stdout

    def on_ready(url: str) -> None:
        print(url, file=stdout, flush=True)
        if browser:
            open_browser(url)

    def log(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    with stdout_to_stderr(), contextlib.suppress(KeyboardInterrupt):
        serve_run(folder, port, on_ready, log)
