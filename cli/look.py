"""``review``: what a batch made, looked at and judged. ``view``: a run, looked at and steered."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated

import typer


def review(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a batch: one folder an asset.")],
    port: Annotated[int, typer.Option(help="Of loopback; 0 takes a free one.")] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page.")] = True,
) -> None:
    """Serve the contact sheet of a folder on this machine alone, and keep verdicts in DIR/review.json.

    Prints the address; the token in it is the key. Finished assets appear as they come. Ctrl-C ends it.
    """
    from dreamfusion3d.batch.review_server import Gallery, ReviewServer
    from dreamfusion3d.core.errors import InputError

    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; name the one that `dreamfusion3d batch` wrote to")
    validate_port(port)

    def say(line: str) -> None:
        print(f"warning: {line}", file=sys.stderr, flush=True)

    with ReviewServer(Gallery(folder, say), port) as server:
        print(server.url, flush=True)
        print("verdicts are kept at once; Ctrl-C ends the server", file=sys.stderr, flush=True)
        if browser:
            import webbrowser

            webbrowser.open(server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print(f"verdicts are in {folder / 'review.json'}", file=sys.stderr)


def view(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run: OUT/<slug>.")],
    port: Annotated[int, typer.Option(help="Of loopback; 0 takes a free one.")] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page.")] = True,
) -> None:
    """Show a run live, in a browser on this machine: the field, the cameras, the preview, the gradient norm.

    The run can be paused, and given another prompt. Start it beside the `text2mesh` that makes RUN.
    Prints the address; the token in it is the key. Ctrl-C ends the view, not the run.
    """
    validate_port(port)
    from dreamfusion3d.viewer.app import serve_run

    def ready(url: str) -> None:
        print(url, file=stdout, flush=True)
        if browser:
            import webbrowser

            webbrowser.open(url)

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    # stdout carries the address alone, whatever viser prints
    stdout = sys.stdout
    with contextlib.redirect_stdout(sys.stderr), contextlib.suppress(KeyboardInterrupt):
        serve_run(folder, port, ready, say)


def validate_port(port: int) -> None:
    from dreamfusion3d.core.errors import InputError

    if not 0 <= port < 65536:
        raise InputError(f"--port {port} is not between 0 and 65535")
