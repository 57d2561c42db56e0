"""Words with one slip of the hand: letters exchanged, missing, doubled or wrong (Damerau 1964)."""

from __future__ import annotations

import string
from collections.abc import Iterator

from dreamfusion3d.procedural.categories import KINDS
from dreamfusion3d.procedural.lexicon import (
    COLOUR_WORDS,
    COUNTED_WORDS,
    FINISH_WORDS,
    IDLE,
    JOINING,
    NO_SIZE_BEFORE,
    NOUNS,
    NUMBER_WORDS,
    SIZE_WORDS,
)

# right words that are one slip from a word of this world
_ENGLISH = set(
    "back bare bear bolt boot boots bread card care carp cart chess clover heat hill horse hose less ming "
    "plate plates poles post posts rode seal shop spare sport sports stack steal stove straw threw tiles "
    "while whole wine wish witch write".split()
)
SHORTEST = 4  # letters: shorter words are one slip away from too many others
_KNOWN = {
    *NOUNS, *NO_SIZE_BEFORE, *COLOUR_WORDS, *COUNTED_WORDS, *FINISH_WORDS, *IDLE, *JOINING, *NUMBER_WORDS,
    *SIZE_WORDS,
    *(word for kind in KINDS.values() for word in (*kind.second, *kind.option)),
    *(noun + "s" for noun in NOUNS), *(part + "ed" for part in ("handl", "legg", "tier", "lidd")),
}


def corrected(word: str) -> tuple[str, bool] | None:
    """The known word that is one slip away, and whether the slip alone is evidence enough.

    Two neighbouring letters exchanged hardly ever make another word; a letter lost, doubled or wrong
    may ("witch", "with"). The first letter is taken as right.
    """
    if len(word) < SHORTEST or not word.isalpha() or word in _KNOWN | _ENGLISH:
        return None
    for slips, enough in ((_swaps, True), (_lost_or_doubled, False), (_replaced, False)):
        found = sorted(w for w in slips(word) if w in _KNOWN and len(w) >= SHORTEST)
        if found:
            return found[0], enough
    return None


def _swaps(word: str) -> Iterator[str]:
    for i in range(1, len(word) - 1):
        yield word[:i] + word[i + 1] + word[i] + word[i + 2 :]


def _lost_or_doubled(word: str) -> Iterator[str]:
    for i in range(1, len(word) + 1):
        yield word[:i] + word[i + 1 :]
        for letter in string.ascii_lowercase:
            yield word[:i] + letter + word[i:]


def _replaced(word: str) -> Iterator[str]:
    for i in range(1, len(word)):
        for letter in string.ascii_lowercase:
            yield word[:i] + letter + word[i + 1 :]
