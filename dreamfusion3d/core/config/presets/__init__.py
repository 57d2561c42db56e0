"""Settings of known methods, a YAML file each, with the source of every value beside it."""

from __future__ import annotations

from pathlib import Path

from dreamfusion3d.core.errors import InputError

_FOLDER = Path(__file__).parent


def preset_names() -> list[str]:
    """The presets that ship, sorted."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def preset_path(name: str) -> Path:
    """The preset's file; raises InputError for a name that does not ship."""
    if name not in preset_names():
        raise InputError(f"there is no preset {name!r}; there are: {', '.join(preset_names())}")
    return _FOLDER / f"{name}.yaml"
