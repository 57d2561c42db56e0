"""Folder and file names from prompts: what every file system and every engine accepts."""

from __future__ import annotations

import hashlib
import re
import unicodedata

from dreamfusion3d.core.errors import InputError

MAX_PROMPT_LENGTH = 1000  # characters; text encoders read at most some hundred tokens
MAX_SLUG_LENGTH = 64

# Godot's importer changes or deletes nodes and materials whose name ends so, after '-' or '_'
# (editor/import/3d/resource_importer_scene.cpp).
ENGINE_SUFFIXES = frozenset(
    "noimp col convcol colonly convcolonly rigid navmesh occ occonly vehicle wheel alpha vcol loop".split()
)
# Windows refuses these as file names, whatever the extension.
RESERVED_FILE_NAMES = frozenset(["con", "prn", "aux", "nul", *(f"{p}{i}" for p in ("com", "lpt") for i in range(10))])


def check_prompt(prompt: str) -> str:
    """The prompt with its spaces tidied, or an InputError that says what is wrong with it."""
    tidy = " ".join(prompt.split())
    if not tidy:
        raise InputError('the prompt is empty: describe an object, for example "a red mug with one handle"')
    if len(prompt) > MAX_PROMPT_LENGTH:
        raise InputError(
            f"the prompt has {len(prompt):,} characters; at most {MAX_PROMPT_LENGTH:,} are read. Shorten it"
        )
    for position, character in enumerate(prompt):
        # Cc: control, Cs: a lone surrogate (undecodable bytes of a command line)
        if unicodedata.category(character) in ("Cc", "Cs") and not character.isspace():
            raise InputError(
                f"the prompt holds the control character U+{ord(character):04X} at place {position + 1}; remove it"
            )
    return tidy


def hash_text(text: str, length: int = 6) -> str:
    """The first hexadecimal digits of the text's sha256."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:length]


def slugify(prompt: str) -> str:
    """``[a-z0-9_]``, at most 64 characters, the same for the same prompt.

    Accents are dropped (é is e). A hash of the prompt is added where letters were lost
    (a long prompt is cut, other scripts leave nothing), so that such prompts stay apart.
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
    """``name`` cut to make room for a hash of ``text``: two texts under one name get two folders."""
    suffix = f"_{hash_text(text)}"
    hashed_name = name[: MAX_SLUG_LENGTH - len(suffix)].rstrip("_") + suffix
    if _has_engine_suffix(hashed_name):  # a hash of digits alone
        suffix += "x"
        hashed_name = name[: MAX_SLUG_LENGTH - len(suffix)].rstrip("_") + suffix
    return hashed_name


def _has_engine_suffix(name: str) -> bool:
    """Whether Godot's importer acts on the end of ``name``: it passes over digits and '_' behind it."""
    return name.rstrip("0123456789_").rpartition("_")[2] in ENGINE_SUFFIXES
