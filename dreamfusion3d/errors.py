"""What goes wrong, in the words of the person who can mend it."""

from __future__ import annotations


class InputError(Exception):
    """Something the user gave cannot be used; shown as one line, exit code 2.

    The message says what is wrong, why, and what to do instead.
    """


class LockedError(InputError):
    """Another process works in this folder; later it may be free."""


class EmptyFieldError(InputError):
    """The optimised field holds no surface; there is no honest mesh to write."""


class MissingExtraError(InputError):
    """An optional dependency is absent."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package '{package}', which is not installed: "
            f"pip install 'dreamfusion3d[{extra}]'"
        )
