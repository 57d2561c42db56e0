"""Words with one slip of the hand: letters exchanged, missing, doubled or wrong (Damerau 1964)."""

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

# right words that are one slip from a word of this world
_OTHER_ENGLISH_WORDS = set(
    "back bare bear bolt boot boots bread card care carp cart chess clover heat hill horse hose less ming "
    "plate plates poles post posts rode seal shop spare sport sports stack steal stove straw threw tiles "
    "while whole wine wish witch write".split()
)
MIN_WORD_LENGTH = 4  # letters: shorter words are one slip away from too many others
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
    *(word for kind in CATEGORIES.values() for word in (*kind.second_part_words, *kind.option_words)),
    *(noun + "s" for noun in NOUN_CATEGORIES),
    *(part + "ed" for part in ("handl", "legg", "tier", "lidd")),
}


def correct_spelling(word: str) -> tuple[str, bool] | None:
    """The known word that is one slip away, and whether the slip alone is evidence enough.

    Two neighbouring letters exchanged hardly ever make another word; a letter lost, doubled or wrong
    may ("witch", "with"). The first letter is taken as right.
    """
    if len(word) < MIN_WORD_LENGTH or not word.isalpha() or word in _LEXICON_WORDS | _OTHER_ENGLISH_WORDS:
        return None
    for edits, conclusive in ((_transpositions, True), (_deletions_and_insertions, False), (_substitutions, False)):
        candidates = sorted(w for w in edits(word) if w in _LEXICON_WORDS and len(w) >= MIN_WORD_LENGTH)
        if candidates:
            return candidates[0], conclusive
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
