"""Plugins that other installed packages provide through entry points, imported on first use."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any


def plugin_names(group: str) -> list[str]:
    """Return the sorted names of a group's entry points; reads package metadata only."""
    return sorted({point.name for point in entry_points(group=group)})


def load_plugin(group: str, name: str) -> tuple[Any | None, list[str]]:
    """Import the entry point called ``name``.

    A package whose entry point cannot be imported is skipped, because another one may provide the same name. Returns
    the object, or None if no package provides a working one, and one line per broken package.
    """
    problems: list[str] = []
    for point in entry_points(group=group, name=name):
        try:
            return point.load(), problems
        except Exception as error:  # importing a third-party module may raise anything
            package = point.dist.name if point.dist else point.value
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
            problems.append(f"{name!r} of the package {package} cannot be imported ({reason})")
    return None, problems
