"""What goes wrong, in the words of the person who can mend it."""

from __future__ import annotations


class InputError(Exception):
    """Something the user gave cannot be used; shown as one line, exit code 2.

    The message says what is wrong, why, and what to do instead.
    """


class SettingError(InputError):
    """A setting cannot have the value that it was given.

    ``key`` is its name, ``mesh.max_faces``, or that of the command line's option in its place, ``--faces``;
    ``value`` is as it is shown, None where the problem is not one of a single value.
    """

    def __init__(self, key: str, problem: str, value: str | None = None) -> None:
        self.key, self.problem, self.value = key, problem, value
        equals = " " if key.startswith("--") else " = "
        super().__init__(f"{key} {problem}" if value is None else f"{key}{equals}{value} {problem}")

    def with_key(self, key: str) -> SettingError:
        """The same, about what the user knows by another ``name``."""
        return SettingError(key, self.problem, self.value)


class LockedError(InputError):
    """Another process works in this folder; later it may be free."""


class EmptyFieldError(InputError):
    """The optimised field holds no surface; there is no honest mesh to write."""


class MissingExtraError(InputError):
    """An optional dependency is absent."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package '{package}', which is not installed: pip install 'dreamfusion3d[{extra}]'"
        )
