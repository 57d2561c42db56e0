"""Parts that other installed packages offer by entry points; nothing is imported before it is asked for."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any


def plugin_names(group: str) -> list[str]:
    """What installed packages offer under ``group``, sorted; reads their metadata alone."""
    return sorted({point.name for point in entry_points(group=group)})


def load_plugin(group: str, name: str) -> tuple[Any | None, list[str]]:
    """The object called ``name``, or None; and a line for each package whose offer cannot be imported.

    A broken one is passed over: another package may offer the same name.
    """
    problems: list[str] = []
    for point in entry_points(group=group, name=name):
        try:
            return point.load(), problems
        except Exception as error:  # whatever a foreign module does when it is imported
            package = point.dist.name if point.dist else point.value
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
            problems.append(f"{name!r} of the package {package} is broken ({reason})")
    return None, problems
