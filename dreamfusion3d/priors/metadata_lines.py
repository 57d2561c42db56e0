"""Lines of a metadata.jsonl: captions of the user's images or meshes, in the hub's imagefolder format."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dreamfusion3d.core.errors import InputError

METADATA_FILE = "metadata.jsonl"


def read_metadata_lines(folder: Path, things: str, example: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each line of the folder's metadata.jsonl as (its location for messages, its values).

    ``file_name`` names a file of the folder, and ``text`` is a string.

    Args:
        things: what the folder contains, in the plural.
        example: a valid line, for messages.

    Raises:
        InputError: names the first line that cannot be used.
    """
    path, advice = folder / METADATA_FILE, f"a line like {example} for each of the {things}"
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}; give one with {things} and a {METADATA_FILE}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{folder} has no {METADATA_FILE}; add one with {advice}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}); save it as UTF-8 text") from None
    lines = [(f"line {i} of {path}", line) for i, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise InputError(f"{path} is empty; add {advice}")
    for location, line in lines:
        entry = _parse_object(line)
        if entry is None:
            raise InputError(f"{location} is not a JSON object like {example}")
        name, caption = entry.get("file_name"), entry.get("text")
        if not isinstance(name, str) or not name:
            raise InputError(f"{location} has no file_name; write it like {example}")
        if not isinstance(caption, str) or not caption.strip():
            raise InputError(f"{location} has no text: describe what {name} shows, like {example}")
        if not (folder / name).is_file():
            raise InputError(f"{location} names {name}, which is not in {folder}; add it, or remove the line")
        yield location, entry


def _parse_object(line: str) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None
