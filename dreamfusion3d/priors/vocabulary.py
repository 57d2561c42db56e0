"""Folders of priors, and the words that a pixel prior knows."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.files import write_json

if TYPE_CHECKING:
    pass

EMBEDDED = "embedded"
_WEAK_FILE = "weak_kinds.json"


def embedded_folder() -> Path:
    """Where the shipped weights lie."""
    return Path(__file__).parent / "embedded"


def prior_folder(name: str) -> Path:
    """Where the weights of the prior called ``name`` lie."""
    return embedded_folder() if name == EMBEDDED else Path(name).expanduser()


def load_vocabulary(name: str = EMBEDDED) -> list[str]:
    """The tokens that a pixel prior was taught, without loading its weights."""
    folder = prior_folder(name)
    path = folder / "conditioner" / "config.json"
    try:
        return list(json.loads(path.read_text(encoding="utf-8"))["vocabulary"])
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{folder} is not the folder of a pixel prior: {path.name} cannot be read") from None


def vocabulary_categories(vocabulary: list[str]) -> list[str]:
    """The kinds of props in a vocabulary."""
    return [token.removeprefix("kind:") for token in vocabulary if token.startswith("kind:")]


def read_weak_categories(folder: Path) -> list[str]:
    """The kinds that an evaluation found this prior weak at; it draws them, but nobody is invited to ask."""
    path = folder / _WEAK_FILE
    if not path.exists():
        return []
    try:
        return [str(category) for category in json.loads(path.read_text(encoding="utf-8"))["kinds"]]
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{path} is damaged; remove it, or judge the prior again by evaluate") from None


def write_weak_categories(folder: Path, categories: list[str]) -> None:
    """Keep them beside the weights."""
    write_json(folder / _WEAK_FILE, {"kinds": sorted(categories)})


WORD_PREFIX = "word:"  # how the tokens of plain words begin


def vocabulary_words(vocabulary: Collection[str]) -> list[str]:
    """The plain words of a vocabulary, sorted."""
    return sorted(token.removeprefix(WORD_PREFIX) for token in vocabulary if token.startswith(WORD_PREFIX))
