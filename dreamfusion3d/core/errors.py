"""Errors that the user can fix, as opposed to bugs."""

from __future__ import annotations


class InputError(Exception):
    """Invalid input; the command line prints it as one line and exits with code 2.

    The message states what is wrong, why, and what to do instead.

    Example:
        >>> resolve_config("fast")
        Traceback (most recent call last):
        dreamfusion3d.core.errors.InputError: ...
    """


class SettingError(InputError):
    """A setting was given a value that it cannot have.

    Args:
        key: The setting, e.g. ``mesh.max_faces``, or the command-line option that sets it, e.g. ``--faces``.
        problem: Rest of the sentence, e.g. ``is too small; the minimum is 100``.
        value: The value as displayed; None if no single value is at fault.
    """

    def __init__(self, key: str, problem: str, value: str | None = None) -> None:
        self.key, self.problem, self.value = key, problem, value
        equals = " " if key.startswith("--") else " = "
        super().__init__(f"{key} {problem}" if value is None else f"{key}{equals}{value} {problem}")

    def with_key(self, key: str) -> SettingError:
        """Return the same error about the setting under another name."""
        return SettingError(key, self.problem, self.value)


class LockedError(InputError):
    """Another process is working in this folder; it may be free later."""


class EmptyFieldError(InputError):
    """The optimized field contains no surface, so there is no mesh to write."""


class MissingExtraError(InputError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package '{package}', which is not installed: pip install 'dreamfusion3d[{extra}]'"
        )
