"""Prompts as the judges read them: as the embedded prior does."""

from __future__ import annotations

from functools import lru_cache

from dreamfusion3d.priors.pixel.prior import WORDS
from dreamfusion3d.priors.pixel.prompt_parser import understand
from dreamfusion3d.priors.pixel.text_encoder import WordEncoder
from dreamfusion3d.priors.vocabulary import embedded_folder
from dreamfusion3d.procedural.objects import Meaning


@lru_cache(maxsize=4096)
def meaning_of(prompt: str) -> Meaning | None:
    """What a prompt means in the procedural world, None where it is about something else."""
    return understand(prompt, _words()).meaning


@lru_cache(maxsize=1)
def _words() -> WordEncoder | None:
    folder = embedded_folder() / WORDS
    return WordEncoder.load(folder) if folder.is_dir() else None
