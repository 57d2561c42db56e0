"""Find the captions of a library that a prompt may mean, by their words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from dreamfusion3d.procedural.lexicon import STOP_WORDS, singular_forms
from dreamfusion3d.procedural.prompt_rules import split_words

# the noun of a caption ends before the first of these: "a chest full of gold" is a chest
_NOUN_ENDS = frozenset("with without of on in at from by for and full under beside".split())
_NEGATIONS = frozenset(("no", "without"))
_EMPTY_WORDS = frozenset(STOP_WORDS) - {"toy"}  # a toy differs from its model


@dataclass(frozen=True)
class CaptionMatch:
    """Captions that fit a prompt best.

    Attributes:
        rows: Their indices.
        missing: Words of the prompt that they lack.
        adjectives: Those of ``missing`` that describe the noun of the prompt.
    """

    rows: list[int]
    missing: list[str]
    adjectives: list[str]


class _Phrase(NamedTuple):
    before: list[str]  # words up to the noun, which is the last of them
    after: list[str]
    absent: list[str]  # what it is said to lack: "without a lid"


def caption_words(text: str) -> list[str]:
    """Return the words of a caption or prompt that mean something."""
    phrase = _parse(text)
    return phrase.before + phrase.after


def head_noun(text: str) -> str:
    """Return what a caption shows: the last word before "with", "of" and the like."""
    phrase = _parse(text)
    return (phrase.before or phrase.after)[-1]


def match_captions(prompt: str, captions: Sequence[str]) -> CaptionMatch | None:
    """Return the captions whose noun the prompt names and which cover most of its words; None if no noun fits.

    Of these, captions with the fewest words that the prompt does not say are preferred, above all behind the noun.
    Captions with something that the prompt excludes do not fit.

    Example:
        >>> match_captions("a barrel", ["a small barrel", "a large barrel", "a barrel of fish", "a box"]).rows
        [0, 1]
    """
    query = _parse(prompt)
    wanted = list(dict.fromkeys(query.before + query.after))
    ranked: dict[tuple[int, int, int], list[tuple[int, list[str]]]] = {}
    for row, caption in enumerate(captions):
        before, after, _ = _parse(caption)
        if not _contains(wanted, head_noun(caption)) or any(_contains(before + after, word) for word in query.absent):
            continue
        missing = [word for word in wanted if not _contains(before + after, word)]
        extra_after, extra_before = (
            len({word for word in words if not _contains(wanted, word)}) for words in (after, before)
        )
        ranked.setdefault((len(missing), extra_after, extra_before), []).append((row, missing))
    if not ranked:
        return None
    best = ranked[min(ranked)]
    missing = best[0][1]
    rows = [row for row, other in best if other == missing]
    return CaptionMatch(rows, missing, [word for word in missing if word in query.before])


@lru_cache(maxsize=4096)
def _parse(text: str) -> _Phrase:
    phrase = _Phrase([], [], [])
    is_after = is_negated = False
    for i, word in enumerate(split_words(text)):
        is_after |= bool(i) and word in _NOUN_ENDS
        if word in _NEGATIONS:
            is_negated = True
        elif word not in _EMPTY_WORDS:
            (phrase.absent if is_negated else phrase.after if is_after else phrase.before).append(word)
            is_negated = False
    return phrase


def _contains(words: Iterable[str], word: str) -> bool:
    return any(_same_noun(word, other) for other in words)


@lru_cache(maxsize=65536)
def _same_noun(a: str, b: str) -> bool:
    """Return whether one word is the other, or its plural."""
    return a == b or (len(a) < len(b) and a in singular_forms(b)) or (len(b) < len(a) and b in singular_forms(a))
