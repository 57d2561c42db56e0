"""On-disk cache of text embeddings."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save

from dreamfusion3d.core import files
from dreamfusion3d.priors.protocol import TextEmbedding


@dataclass(frozen=True)
class TextEmbeddingCache:
    """Text embeddings on disk, keyed by prompt and ``identity`` (a string that identifies the encoder)."""

    identity: str

    def get_or_encode(
        self, prompts: list[str], encode_missing: Callable[[list[str]], list[TextEmbedding]]
    ) -> TextEmbedding:
        """Return one row per prompt; ``encode_missing`` returns one row for each prompt not in the cache."""
        rows = {prompt: self._read(prompt) for prompt in prompts}
        missing = [prompt for prompt, row in rows.items() if row is None]
        if missing:
            for prompt, new in zip(missing, encode_missing(missing), strict=True):
                rows[prompt] = new
                self._write(prompt, new)
        return TextEmbedding.cat([row for prompt in prompts if (row := rows[prompt]) is not None])

    def _path(self, prompt: str) -> Path:
        key = hashlib.sha256(f"{self.identity}\n{prompt}".encode()).hexdigest()
        return files.cache_folder() / "text" / f"{key}.safetensors"

    def _read(self, prompt: str) -> TextEmbedding | None:
        with contextlib.suppress(OSError, SafetensorError, KeyError):
            tensors = load(self._path(prompt).read_bytes())
            return TextEmbedding(tensors["embedding"], tensors.get("pooled"))
        return None

    def _write(self, prompt: str, row: TextEmbedding) -> None:
        tensors = {k: v.contiguous() for k, v in vars(row).items() if v is not None}
        with contextlib.suppress(OSError):  # a full or read-only disk only costs the next run time
            files.write_bytes(self._path(prompt), save(tensors))
