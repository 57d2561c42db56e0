"""How every command ends: its exit code, and at most one line that says why."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections.abc import Sequence

import typer

from dreamfusion3d.core.errors import InputError

DEBUG_VARIABLE = "DREAMFUSION3D_DEBUG"  # set to 1: tracebacks on stderr


class Stopped(Exception):
    """Ctrl-C, of a command that says itself what became of its work."""


def run_app(app: typer.Typer, arguments: Sequence[str] | None = None) -> int:
    """Runs ``app``: 0 done, 2 bad input, 130 interrupted, 1 anything else."""
    try:
        result = app(args=None if arguments is None else list(arguments), standalone_mode=False)
        if result == 130:  # some versions of Typer end so on Ctrl-C, others with Abort
            raise KeyboardInterrupt
        return result if isinstance(result, int) else 0
    except InputError as error:
        return _fail(str(error), 2)
    except Stopped as stopped:
        return _fail(str(stopped), 130, prefix="")
    except (KeyboardInterrupt, typer.Abort):
        return _fail("stopped; the same command goes on where it was", 130, prefix="")
    except BrokenPipeError:
        # the reader of our stdout left; python would complain once more at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # the boundary of the program: nothing above could show it
        # by its method, because Typer carries its own copy of click's exceptions
        usage = getattr(error, "format_message", None)
        if usage is not None:
            # empty when the help was shown because nothing was asked for
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
        location = f"the log is {path}"
    except OSError:
        location = f"{DEBUG_VARIABLE}=1 shows where"
    return _fail(f"{type(error).__name__}: {error} ({location})", 1)
