"""Output shared by all commands: results on stdout, everything else on stderr, exit codes."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import typer

from dreamfusion3d.core.errors import InputError

if TYPE_CHECKING:
    from dreamfusion3d.pipelines.text_to_mesh import Asset

DEBUG_VARIABLE = "DREAMFUSION3D_DEBUG"  # set to 1: tracebacks on stderr


class Stopped(Exception):
    """Ctrl-C in a command that prints its own message about unfinished work."""


def run_app(app: typer.Typer, arguments: Sequence[str] | None = None) -> int:
    """Run ``app`` and return its exit code: 0 success, 2 bad input, 130 interrupted, 1 any other error."""
    try:
        result = app(args=None if arguments is None else list(arguments), standalone_mode=False)
        if result == 130:  # on Ctrl-C some versions of Typer return 130, others raise Abort
            raise KeyboardInterrupt
        return result if isinstance(result, int) else 0
    except InputError as error:
        return _fail(str(error), 2)
    except Stopped as stopped:
        return _fail(str(stopped), 130, prefix="")
    except (KeyboardInterrupt, typer.Abort):
        return _fail("stopped; run the same command again to resume", 130, prefix="")
    except BrokenPipeError:
        # whoever read our stdout is gone; without this Python complains again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # the outermost frame: nothing above could report it
        # duck-typed, because Typer vendors its own copy of click's exceptions
        usage = getattr(error, "format_message", None)
        if usage is not None:
            # empty if the command was called without arguments and has printed its help
            return _fail(f"{usage()} (--help lists the options)", 2) if usage() else 2
        return _unexpected(error)


def _fail(message: str, code: int, prefix: str = "error: ") -> int:
    print(prefix + " ".join(message.split()), file=sys.stderr)
    if os.environ.get(DEBUG_VARIABLE) == "1":
        traceback.print_exc()
    return code


def _unexpected(error: Exception) -> int:
    try:
        handle, path = tempfile.mkstemp(prefix="dreamfusion3d-", suffix=".log")
        with os.fdopen(handle, "w", encoding="utf-8") as log:
            traceback.print_exc(file=log)
        location = f"the traceback is in {path}"
    except OSError:
        location = f"set {DEBUG_VARIABLE}=1 for a traceback"
    return _fail(f"{type(error).__name__}: {error} ({location})", 1)


@contextlib.contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Redirect the prints of libraries to stderr, so that stdout carries nothing but results."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def print_asset(asset: Asset, as_json: bool) -> None:
    """Print the path of the asset's main file, or its record as JSON."""
    print(json.dumps({**asset.record.to_dict(), "folder": str(asset.folder)}) if as_json else asset.main_file)


def open_browser(url: str) -> None:
    """Open ``url`` in the default browser."""
    import webbrowser

    webbrowser.open(url)


def format_bytes(count: int | None) -> str:
    """Format a number of bytes: '340 MB', '1.2 GB', or 'unknown' for None."""
    if count is None:
        return "unknown"
    return f"{count / 2**30:.1f} GB" if count >= 2**30 else f"{count / 2**20:.0f} MB"


def format_duration(seconds: int | float) -> str:
    """Format a duration: '42 s', '12 min', '3.5 h'."""
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
