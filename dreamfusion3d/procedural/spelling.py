"""Correction of words with one typo: transposition, deletion, insertion or substitution (Damerau, 1964)."""

from __future__ import annotations

import string
from collections.abc import Iterator

from dreamfusion3d.procedural.categories import CATEGORIES
from dreamfusion3d.procedural.lexicon import (
    COLOR_WORDS,
    CONNECTIVES,
    COUNTED_WORDS,
    MATERIAL_WORDS,
    NON_SIZE_FOLLOWERS,
    NOUN_CATEGORIES,
    NUMBER_WORDS,
    SIZE_WORDS,
    STOP_WORDS,
)

# correct words that are one edit away from a word of the lexicon
_OTHER_ENGLISH_WORDS = set(
    "back bare bear bloom bolt boot boots brook card care carp cart chess cloak clover crane crave create dime "
    "dive doom dressed flame glove gloves heat hill horse hose lather less ming planner planted plaster poles "
    "post posts prone ratio ration rode seal shop show spare sport sports stack steal straw threw tiles while "
    "whole wine wish witch write".split()
)
MIN_WORD_LENGTH = 4  # shorter words are one edit away from too many others
_LEXICON_WORDS = {
    *NOUN_CATEGORIES,
    *NON_SIZE_FOLLOWERS,
    *COLOR_WORDS,
    *COUNTED_WORDS,
    *MATERIAL_WORDS,
    *STOP_WORDS,
    *CONNECTIVES,
    *NUMBER_WORDS,
    *SIZE_WORDS,
    *(word for category in CATEGORIES.values() for word in (*category.second_part_words, *category.option_words)),
    *(noun + "s" for noun in NOUN_CATEGORIES),
    *(part + "ed" for part in ("handl", "legg", "tier", "lidd")),
}


def correct_spelling(word: str) -> tuple[str, bool] | None:
    """Find a known word one edit away; the first letter is assumed to be correct.

    Returns:
        The word, and whether the edit is conclusive by itself: a transposition hardly ever makes
        another word, while other edits may ("witch", "with"). None if there is no such word.
    """
    if len(word) < MIN_WORD_LENGTH or not word.isalpha() or word in _LEXICON_WORDS | _OTHER_ENGLISH_WORDS:
        return None
    for edits in (_transpositions, _deletions_and_insertions, _substitutions):
        if candidates := [w for w in edits(word) if w in _LEXICON_WORDS and len(w) >= MIN_WORD_LENGTH]:
            return min(candidates), edits is _transpositions
    return None


def _transpositions(word: str) -> Iterator[str]:
    for i in range(1, len(word) - 1):
        yield word[:i] + word[i + 1] + word[i] + word[i + 2 :]


def _deletions_and_insertions(word: str) -> Iterator[str]:
    for i in range(1, len(word) + 1):
        yield word[:i] + word[i + 1 :]
        for letter in string.ascii_lowercase:
            yield word[:i] + letter + word[i:]


def _substitutions(word: str) -> Iterator[str]:
    for i in range(1, len(word)):
        for letter in string.ascii_lowercase:
            yield word[:i] + letter + word[i + 1 :]
