"""What is worth keeping between runs: encoded prompts, and the digests of large weight files."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from dreamfusion3d import files
from dreamfusion3d.prior.protocol import Text

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


class KeptTexts:
    """Encoded sentences by content: equal weights and equal words are one file."""

    def __init__(self, identity: str) -> None:
        self.identity = identity

    def encode(self, prompts: list[str], encode: Callable[[list[str]], list[Text]]) -> Text:
        """One row a prompt; ``encode`` is called for those that are not kept, and gives one row each."""
        rows = {prompt: self._read(prompt) for prompt in prompts}
        missing = [prompt for prompt, row in rows.items() if row is None]
        if missing:
            for prompt, new in zip(missing, encode(missing), strict=True):
                rows[prompt] = new
                self._write(prompt, new)
        return Text.cat([row for prompt in prompts if (row := rows[prompt]) is not None])

    def _path(self, prompt: str) -> Path:
        key = hashlib.sha256(f"{self.identity}\n{prompt}".encode()).hexdigest()
        return files.cache_folder() / "text" / f"{key}.safetensors"

    def _read(self, prompt: str) -> Text | None:
        with contextlib.suppress(OSError, SafetensorError, KeyError):
            tensors = load(self._path(prompt).read_bytes())
            return Text(tensors["embedding"], tensors.get("pooled"))
        return None

    def _write(self, prompt: str, row: Text) -> None:
        tensors: dict[str, torch.Tensor] = {"embedding": row.embedding}
        if row.pooled is not None:
            tensors["pooled"] = row.pooled
        with contextlib.suppress(OSError):  # a full or read-only disk costs the next run its time, no more
            files.write_bytes(self._path(prompt), save({k: v.contiguous() for k, v in tensors.items()}))
