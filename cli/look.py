"""``review``: what a batch made, looked at and judged."""

from __future__ import annotations

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
    from dreamfusion3d.batch.review import Gallery, Server
    from dreamfusion3d.errors import InputError

    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; name the one that `dreamfusion3d batch` wrote to")
    check_port(port)

    def say(line: str) -> None:
        print(f"warning: {line}", file=sys.stderr, flush=True)

    with Server(Gallery(folder, say), port) as server:
        print(server.url, flush=True)
        print("verdicts are kept at once; Ctrl-C ends the server", file=sys.stderr, flush=True)
        if browser:
            import webbrowser

            webbrowser.open(server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print(f"verdicts are in {folder / 'review.json'}", file=sys.stderr)


def check_port(port: int) -> None:
    from dreamfusion3d.errors import InputError

    if not 0 <= port < 65536:
        raise InputError(f"--port {port} is not between 0 and 65535")
