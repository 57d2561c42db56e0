"""Moved."""

from __future__ import annotations

import contextlib
import hashlib
import re
from pathlib import Path

from dreamfusion3d.core import files

LARGE = 16 << 20  # bytes; digests of smaller files are not kept


def digest(path: Path) -> str:
    """The file's sha256. The hub's cache names large files by it; of other large files it is computed
    once for each size and time of change."""
    real = path.resolve()
    if real.parent.name == "blobs" and re.fullmatch("[0-9a-f]{64}", real.name):
        return real.name
    facts = real.stat()
    if facts.st_size < LARGE:
        return files.sha256(real)
    key = hashlib.sha256(f"{real} {facts.st_size} {facts.st_mtime_ns}".encode()).hexdigest()
    kept = files.cache_folder() / "digests" / f"{key}.txt"
    with contextlib.suppress(OSError):
        if re.fullmatch("[0-9a-f]{64}", text := kept.read_text()):
            return text
    found = files.sha256(real)
    with contextlib.suppress(OSError):
        files.write_bytes(kept, found.encode())
    return found


def digests(paths: list[Path]) -> str:
    """One digest of the names and contents of files, wherever their folders lie."""
    lines = sorted(f"{path.parent.name}/{path.name} {digest(path)}" for path in paths)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
