"""``dreamfusion3d review``: browse the assets of a batch and accept or reject them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from .options import Browser, Port, validate_port
from .report import open_browser


def review(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Output folder of a batch.")],
    port: Port = 0,
    browser: Browser = True,
) -> None:
    """Serve the contact sheet of a batch on localhost and save reviews to DIR/review.json.

    Prints the URL, which contains an access token.
    Assets appear as soon as they are finished.
    Ctrl-C stops the server.
    """
    from dreamfusion3d.batch.review_server import Gallery, ReviewServer
    from dreamfusion3d.core.errors import InputError

    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: give the --out folder of `dreamfusion3d batch`")
    validate_port(port)

    def warn(line: str) -> None:
        print(f"warning: {line}", file=sys.stderr, flush=True)

    with ReviewServer(Gallery(folder, warn), port) as server:
        print(server.url, flush=True)
        print("reviews are saved immediately; press Ctrl-C to stop the server", file=sys.stderr, flush=True)
        if browser:
            open_browser(server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print(f"reviews saved to {folder / 'review.json'}", file=sys.stderr)
