"""Atomic writes, JSON, checksums, and the cache folder."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import platformdirs

CACHE_ENV_VAR = "DREAMFUSION3D_CACHE"


def cache_folder() -> Path:
    """Return $DREAMFUSION3D_CACHE, or dreamfusion3d/ in the user's cache folder."""
    if override := os.environ.get(CACHE_ENV_VAR):
        return Path(override).expanduser()
    return platformdirs.user_cache_path("dreamfusion3d", appauthor=False)


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder, and rename it to ``path`` when the block succeeds.

    The suffix is kept, because many writers choose their format by it. On any error the temporary file is removed
    and ``path`` is left unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_temporary_files(folder: Path) -> None:
    """Remove temporary files that killed processes left in ``folder``; no other process may be writing there."""
    for path in folder.glob(".*.tmp*"):
        with contextlib.suppress(OSError):
            path.unlink()


def write_bytes(path: Path, data: bytes) -> None:
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON, keys in the order given. Raises ValueError for NaN, which is not JSON."""
    write_bytes(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def file_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
