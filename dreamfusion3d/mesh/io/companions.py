"""Files that a mesh file refers to: buffers and images of a glTF, materials and textures of an OBJ."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from urllib.parse import unquote

from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.files import file_sha256

_MTLLIB = re.compile(r"^\s*mtllib\s+(.+)$", re.MULTILINE)
_MTL_MAP = re.compile(r"^\s*(?:map_\w+|bump|norm)\s+(?:.*\s)?(\S+)$", re.MULTILINE)  # options precede the name


def companion_files(path: Path) -> list[Path]:
    """Return the files in the mesh's folder or below that it refers to and that exist, sorted."""
    names: set[str] = set()
    if path.suffix.lower() == ".gltf":
        names = _gltf_uris(path)
    elif path.suffix.lower() == ".obj":
        libraries = _named_files(path, _MTLLIB)
        names = libraries.union(*(_named_files(path.parent / name, _MTL_MAP) for name in libraries))
    folder = path.parent.resolve()
    found = {(folder / name).resolve() for name in names}
    return sorted(file for file in found if file.is_file() and file.is_relative_to(folder))


def mesh_file_sha256(path: Path) -> str:
    """Return the hash of a mesh file and of the files that it refers to; that of the file alone if there are none.

    Raises InputError if one of them cannot be read.
    """
    try:
        digests = [file_sha256(file) for file in (path, *companion_files(path))]
    except OSError as error:
        raise InputError(f"cannot read {error.filename or path}: {error.strerror}") from None
    return digests[0] if len(digests) == 1 else hashlib.sha256(" ".join(digests).encode()).hexdigest()


def _gltf_uris(path: Path) -> set[str]:
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        uris = [item.get("uri", "") for key in ("buffers", "images") for item in tree.get(key, [])]
        return {unquote(uri) for uri in uris if uri and not uri.startswith("data:")}
    except (ValueError, AttributeError, TypeError):
        return set()  # the reader reports damage


def _named_files(path: Path, pattern: re.Pattern[str]) -> set[str]:
    if not path.is_file():
        return set()
    text = path.read_text(encoding="utf-8", errors="replace")
    return {name.strip() for name in pattern.findall(text)}
