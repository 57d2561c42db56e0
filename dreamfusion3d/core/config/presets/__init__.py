"""Settings of published methods, one YAML file each, with the source of every value beside it."""

from __future__ import annotations

from pathlib import Path

from dreamfusion3d.core.errors import InputError

_FOLDER = Path(__file__).parent


def preset_names() -> list[str]:
    """Return the sorted names of the shipped presets."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def preset_path(name: str) -> Path:
    """Return the preset's file. Raises InputError for an unknown name."""
    if name not in preset_names():
        raise InputError(f"unknown preset {name!r}. Use one of: {', '.join(preset_names())}")
    return _FOLDER / f"{name}.yaml"
