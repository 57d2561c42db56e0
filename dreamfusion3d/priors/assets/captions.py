"""Find the captions of a library that a prompt may mean, by their words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dreamfusion3d.procedural.lexicon import STOP_WORDS
from dreamfusion3d.procedural.prompt_rules import split_words

# the noun of a caption ends before the first of these: "a chest full of gold" is a chest
_NOUN_ENDS = frozenset("with without of on in at from by for and full under beside".split())


@dataclass(frozen=True)
class CaptionMatch:
    """Rows of the captions that fit a prompt best, and the prompt's words that they lack."""

    rows: list[int]
    missing: list[str]


def caption_words(text: str) -> list[str]:
    """Return the words of a caption or prompt that mean something, in the singular."""
    before, after = _split_at_noun(text)
    return before + after


def head_noun(text: str) -> str:
    """Return what a caption shows: the last word before "with", "of" and the like."""
    before, after = _split_at_noun(text)
    return (before or after)[-1]


def match_captions(prompt: str, captions: Sequence[str]) -> CaptionMatch | None:
    """Return the captions whose noun the prompt names and which cover most of its words; None if no noun fits.

    Of these, captions with the fewest words that the prompt does not say are preferred, above all behind the noun.

    Example:
        >>> match_captions("a barrel", ["a small barrel", "a large barrel", "a barrel of fish", "a box"]).rows
        [0, 1]
    """
    wanted = dict.fromkeys(caption_words(prompt))
    best: tuple[int, int, int] | None = None
    match: CaptionMatch | None = None
    for row, caption in enumerate(captions):
        before, after = (dict.fromkeys(words) for words in _split_at_noun(caption))
        if head_noun(caption) not in wanted:
            continue
        missing = [word for word in wanted if word not in before and word not in after]
        rank = len(missing), len(after.keys() - wanted.keys()), len(before.keys() - wanted.keys())
        if best is None or rank < best:
            best, match = rank, CaptionMatch([row], missing)
        elif rank == best and match and missing == match.missing:
            match.rows.append(row)
    return match


def _split_at_noun(text: str) -> tuple[list[str], list[str]]:
    """Return the words up to the noun, which is the last of them, and those after it."""
    words = split_words(text)
    end = next((i for i, word in enumerate(words) if i and word in _NOUN_ENDS), len(words))
    before, after = ([_singular(w) for w in part if w not in STOP_WORDS] for part in (words[:end], words[end:]))
    return before, after


def _singular(word: str) -> str:
    if len(word) > 4 and word.endswith(("xes", "ches", "shes", "sses")):
        return word[:-2]
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us")) else word
