"""SHA-256 digests of weight files, cached on disk for large files."""

from __future__ import annotations

import contextlib
import hashlib
import re
from pathlib import Path

from dreamfusion3d.core import files

MIN_CACHED_SIZE = 16 << 20  # bytes; digests of smaller files are not cached


def cached_sha256(path: Path, min_cached_size: int = MIN_CACHED_SIZE) -> str:
    """Return the SHA-256 of a file.

    The hub's cache names large files by their digest, which is trusted. The digest of any other file of
    at least ``min_cached_size`` bytes is cached under its path, size and modification time.
    """
    real = path.resolve()
    if real.parent.name == "blobs" and re.fullmatch("[0-9a-f]{64}", real.name):
        return real.name
    stat = real.stat()
    if stat.st_size < min_cached_size:
        return files.file_sha256(real)
    key = hashlib.sha256(f"{real} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()
    cache_file = files.cache_folder() / "digests" / f"{key}.txt"
    with contextlib.suppress(OSError):
        if re.fullmatch("[0-9a-f]{64}", text := cache_file.read_text()):
            return text
    sha256 = files.file_sha256(real)
    with contextlib.suppress(OSError):
        files.write_bytes(cache_file, sha256.encode())
    return sha256


def combined_sha256(paths: list[Path]) -> str:
    """Return one digest of the names (with parent folder) and contents of files, independent of location."""
    lines = sorted(f"{path.parent.name}/{path.name} {cached_sha256(path)}" for path in paths)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
