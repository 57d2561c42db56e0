"""Folder and file names from prompts: what every file system and every engine accepts."""

from __future__ import annotations

import hashlib
import re
import unicodedata

from dreamfusion3d.core.errors import InputError

LONGEST_PROMPT = 1000  # characters; text encoders read at most some hundred tokens
LONGEST_SLUG = 64

# Godot's importer changes or deletes nodes and materials whose name ends so, after '-' or '_'
# (editor/import/3d/resource_importer_scene.cpp).
ENGINE_SUFFIXES = frozenset(
    "noimp col convcol colonly convcolonly rigid navmesh occ occonly vehicle wheel alpha vcol loop".split()
)
# Windows refuses these as file names, whatever the extension.
RESERVED = frozenset(["con", "prn", "aux", "nul", *(f"{p}{i}" for p in ("com", "lpt") for i in range(10))])


def check_prompt(prompt: str) -> str:
    """The prompt with its spaces tidied, or an InputError that says what is wrong with it."""
    tidy = " ".join(prompt.split())
    if not tidy:
        raise InputError('the prompt is empty: describe an object, for example "a red mug with one handle"')
    if len(prompt) > LONGEST_PROMPT:
        raise InputError(
            f"the prompt has {len(prompt):,} characters; at most {LONGEST_PROMPT:,} are read. Shorten it"
        )
    for position, character in enumerate(prompt):
        # Cc: control, Cs: a lone surrogate (undecodable bytes of a command line)
        if unicodedata.category(character) in ("Cc", "Cs") and not character.isspace():
            raise InputError(
                f"the prompt holds the control character U+{ord(character):04X} at place {position + 1};"
                " remove it"
            )
    return tidy


def hashed(text: str, length: int = 6) -> str:
    """The first hexadecimal digits of the text's sha256."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:length]


def slug(prompt: str) -> str:
    """``[a-z0-9_]``, at most 64 characters, the same for the same prompt.

    Accents are dropped (é is e). A hash of the prompt is added where letters were lost
    (a long prompt is cut, other scripts leave nothing), so that such prompts stay apart.
    """
    plain = unicodedata.normalize("NFKD", prompt.casefold())
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    lost = any(c.isalnum() and not c.isascii() for c in plain)
    name = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")
    if not name:
        return f"asset_{hashed(prompt)}"
    if lost or len(name) > LONGEST_SLUG or name in RESERVED:
        return with_hash(name, prompt)
    if _is_order(name):
        # a bare trailing letter keeps the word readable and its end harmless
        name = f"{name}_x" if len(name) <= LONGEST_SLUG - 2 else with_hash(name, prompt)
    return name


def with_hash(name: str, text: str) -> str:
    """``name`` cut to make room for a hash of ``text``: two texts under one name get two folders."""
    tail = f"_{hashed(text)}"
    hashed_name = name[: LONGEST_SLUG - len(tail)].rstrip("_") + tail
    if _is_order(hashed_name):  # a hash of digits alone
        tail += "x"
        hashed_name = name[: LONGEST_SLUG - len(tail)].rstrip("_") + tail
    return hashed_name


def _is_order(name: str) -> bool:
    """Whether Godot's importer acts on the end of ``name``: it passes over digits and '_' behind it."""
    return name.rstrip("0123456789_").rpartition("_")[2] in ENGINE_SUFFIXES
