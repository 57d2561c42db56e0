"""Folders and vocabularies of pixel priors, read without loading any weights."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.files import write_json

EMBEDDED = "embedded"
CATEGORY_PREFIX = "kind:"  # of category tokens
WORD_PREFIX = "word:"  # of the tokens of words outside the grammar
SHAPES_FOLDER = "shapes"
ASSETS_FOLDER = "assets"
_WEAK_FILE = "weak_kinds.json"


def embedded_folder() -> Path:
    """Return the folder of the weights in this package."""
    return Path(__file__).parent / "embedded"


def prior_folder(name: str) -> Path:
    """Return the folder of the prior called ``name``, whether it exists or not."""
    return embedded_folder() if name == EMBEDDED else Path(name).expanduser()


def has_image_model(folder: Path) -> bool:
    """Return whether a prior's folder has a U-Net; one trained from assets alone has none."""
    return (folder / "unet").is_dir() or not (folder / ASSETS_FOLDER).is_dir()


def load_vocabulary(name: str = EMBEDDED) -> list[str]:
    """Read the tokens that a pixel prior was trained on; none without an image model. Raises InputError."""
    folder = prior_folder(name)
    if not has_image_model(folder):
        return []
    path = folder / "conditioner" / "config.json"
    try:
        return list(json.loads(path.read_text(encoding="utf-8"))["vocabulary"])
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{folder} is not the folder of a pixel prior: cannot read conditioner/{path.name}") from None


def vocabulary_categories(vocabulary: list[str]) -> list[str]:
    """Return the object categories of a vocabulary, in its order."""
    return [token.removeprefix(CATEGORY_PREFIX) for token in vocabulary if token.startswith(CATEGORY_PREFIX)]


def shape_categories(folder: Path) -> frozenset[str]:
    """Return the categories for which a prior's folder has a shape network."""
    return frozenset(path.stem for path in (folder / SHAPES_FOLDER).glob("[!.]*.safetensors"))


def asset_captions(folder: Path) -> list[str]:
    """Return the captions of a prior's asset library. Raises InputError if its index is damaged."""
    from dreamfusion3d.priors.assets.model import read_index

    return list(dict.fromkeys(entry.record.text for entry in read_index(folder / ASSETS_FOLDER)))


def read_weak_categories(folder: Path) -> list[str]:
    """Read the categories that an evaluation found weak; they are generated, but not advertised."""
    path = folder / _WEAK_FILE
    if not path.exists():
        return []
    try:
        return [str(category) for category in json.loads(path.read_text(encoding="utf-8"))["kinds"]]
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{path} is damaged; delete it, or run evaluate again to rewrite it") from None


def write_weak_categories(folder: Path, categories: list[str]) -> None:
    """Store the weak categories beside the weights."""
    write_json(folder / _WEAK_FILE, {"kinds": sorted(categories)})


def vocabulary_words(vocabulary: Collection[str]) -> list[str]:
    """Return the words of a vocabulary that lie outside the grammar, sorted."""
    return sorted(token.removeprefix(WORD_PREFIX) for token in vocabulary if token.startswith(WORD_PREFIX))
