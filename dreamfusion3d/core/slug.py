"""Folder and file names made from prompts, accepted by every file system and game engine."""

from __future__ import annotations

import hashlib
import re
import unicodedata

from dreamfusion3d.core.errors import InputError

MAX_PROMPT_LENGTH = 1000  # characters; text encoders read a few hundred tokens at most
MAX_SLUG_LENGTH = 64

# Godot's importer changes or deletes nodes and materials with these suffixes after '-' or '_'
# (editor/import/3d/resource_importer_scene.cpp).
ENGINE_SUFFIXES = frozenset(
    "noimp col convcol colonly convcolonly rigid navmesh occ occonly vehicle wheel alpha vcol loop".split()
)
# Windows refuses these as file names, whatever the extension.
RESERVED_FILE_NAMES = frozenset(["con", "prn", "aux", "nul", *(f"{p}{i}" for p in ("com", "lpt") for i in range(10))])


def check_prompt(prompt: str) -> str:
    """Return the prompt with whitespace normalized.

    Raises InputError if it is empty, too long or contains control characters.
    """
    tidy = " ".join(prompt.split())
    if not tidy:
        raise InputError('the prompt is empty. Describe an object, e.g. "a red mug with one handle"')
    if len(prompt) > MAX_PROMPT_LENGTH:
        raise InputError(f"the prompt has {len(prompt):,} characters; the limit is {MAX_PROMPT_LENGTH:,}. Shorten it")
    for position, character in enumerate(prompt):
        # Cc: control, Cs: a lone surrogate (undecodable bytes of a command line)
        if unicodedata.category(character) in ("Cc", "Cs") and not character.isspace():
            raise InputError(
                f"the prompt has the control character U+{ord(character):04X} at position {position + 1}. Remove it"
            )
    return tidy


def hash_text(text: str, length: int = 6) -> str:
    """Return the first hexadecimal digits of the text's sha256."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:length]


def slugify(prompt: str) -> str:
    """Return a name of at most 64 characters from ``[a-z0-9_]``, the same for the same prompt.

    Accents are dropped (é becomes e). A hash of the prompt is appended when letters are lost (long prompts are cut,
    other scripts are dropped), so that such prompts get different names.
    """
    ascii_text = unicodedata.normalize("NFKD", prompt.casefold())
    ascii_text = "".join(c for c in ascii_text if not unicodedata.combining(c))
    lost = any(c.isalnum() and not c.isascii() for c in ascii_text)
    name = re.sub(r"[^a-z0-9]+", "_", ascii_text).strip("_")
    if not name:
        return f"asset_{hash_text(prompt)}"
    if lost or len(name) > MAX_SLUG_LENGTH or name in RESERVED_FILE_NAMES:
        return append_hash(name, prompt)
    if _has_engine_suffix(name):
        # a bare trailing letter keeps the word readable and its end harmless
        name = f"{name}_x" if len(name) <= MAX_SLUG_LENGTH - 2 else append_hash(name, prompt)
    return name


def append_hash(name: str, text: str) -> str:
    """Return ``name`` with a hash of ``text`` appended, cut to fit: two texts with one name get two folders."""
    suffix = f"_{hash_text(text)}"
    hashed_name = name[: MAX_SLUG_LENGTH - len(suffix)].rstrip("_") + suffix
    if not _has_engine_suffix(hashed_name):
        return hashed_name
    return name[: MAX_SLUG_LENGTH - len(suffix) - 1].rstrip("_") + f"{suffix}x"  # the hash has only digits


def _has_engine_suffix(name: str) -> bool:
    """Return whether Godot's importer acts on the end of ``name``; it ignores trailing digits and '_'."""
    return name.rstrip("0123456789_").rpartition("_")[2] in ENGINE_SUFFIXES
