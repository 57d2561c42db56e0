"""A folder of meshes with captions: each line of its metadata.jsonl describes one.

The format is that of an image folder: ``file_name`` and ``text``, and optionally ``creator``, ``license``, ``source``
and ``height_m``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dreamfusion3d.core.errors import InputError
from dreamfusion3d.mesh.io.load import MESH_SUFFIXES
from dreamfusion3d.priors.assets.captions import caption_words
from dreamfusion3d.priors.metadata_lines import read_metadata_lines
from dreamfusion3d.procedural.measures import MAX_HEIGHT_M, MIN_HEIGHT_M

CREDIT_FIELDS = ("creator", "license", "source")
_EXAMPLE = '{"file_name": "barrel.glb", "text": "a wooden barrel"}'


@dataclass(frozen=True)
class LibraryRecord:
    """A validated line of metadata.jsonl."""

    file_name: str
    text: str
    credits: dict[str, str]  # of `CREDIT_FIELDS`, those that are stated
    height_m: float | None = None


def read_asset_metadata(folder: Path) -> list[LibraryRecord]:
    """Read the folder's metadata.jsonl. Raises InputError that names the first bad line."""
    return [_parse_record(location, entry) for location, entry in read_metadata_lines(folder, "meshes", _EXAMPLE)]


def _parse_record(location: str, entry: dict[str, Any]) -> LibraryRecord:
    name, text = entry["file_name"], entry["text"]
    if not caption_words(text):
        raise InputError(f"{location}: the text {text!r} does not say what {name} is; name the object")
    if Path(name).suffix.lower() not in MESH_SUFFIXES:
        raise InputError(f"{location} names {name}, which is no mesh file ({', '.join(MESH_SUFFIXES)})")
    credits = {key: str(entry[key]) for key in CREDIT_FIELDS if entry.get(key)}
    return LibraryRecord(name, text.strip(), credits, _parse_height(entry, location))


def _parse_height(entry: dict[str, Any], location: str) -> float | None:
    height = entry.get("height_m")
    if height is None:
        return None
    is_number = isinstance(height, (int, float)) and not isinstance(height, bool)
    if not is_number or not MIN_HEIGHT_M <= height <= MAX_HEIGHT_M:  # false for NaN, and exact for huge integers
        raise InputError(f"{location}: height_m must be a number of meters from {MIN_HEIGHT_M} to {MAX_HEIGHT_M:g}")
    return float(height)
