"""Words with one slip of the hand: letters exchanged, missing, doubled or wrong (Damerau 1964)."""

from __future__ import annotations

import string
from collections.abc import Iterator

from dreamfusion3d.procedural.kinds import KINDS
from dreamfusion3d.procedural.wording import (
    COLOUR_WORDS,
    COUNTED_WORDS,
    FINISH_WORDS,
    IDLE,
    JOINING,
    NOUNS,
    NUMBER_WORDS,
    SIZE_WORDS,
)

SHORTEST = 4  # letters: shorter words are one slip away from too many others
_KNOWN = {
    *NOUNS, *COLOUR_WORDS, *COUNTED_WORDS, *FINISH_WORDS, *IDLE, *JOINING, *NUMBER_WORDS, *SIZE_WORDS,
    *(word for kind in KINDS.values() for word in (*kind.second, *kind.option)),
    *(noun + "s" for noun in NOUNS), *(part + "ed" for part in ("handl", "legg", "tier", "lidd")),
}


def corrected(word: str) -> tuple[str, bool] | None:
    """The known word that is one slip away, and whether a letter was exchanged for another.

    A wrong letter is the weakest evidence ("horse" is no house), an exchange of neighbours the
    strongest. The first letter is taken as right.
    """
    if len(word) < SHORTEST or not word.isalpha() or word in _KNOWN:
        return None
    for slips, replaced in ((_swaps, False), (_lost_or_doubled, False), (_replaced, True)):
        found = sorted(w for w in slips(word) if w in _KNOWN and len(w) >= SHORTEST)
        if found:
            return found[0], replaced
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
