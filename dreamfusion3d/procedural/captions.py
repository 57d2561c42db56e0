"""Sentences about props, written by a small grammar: many wordings for one meaning."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from dreamfusion3d.procedural.categories import HANDLES, KINDS, Kind
from dreamfusion3d.procedural.lexicon import FINISH_WORDS, PLURALS, SIZE_WORDS, article
from dreamfusion3d.procedural.objects import COLOURS, Meaning

Pick = Callable[[Sequence[str]], str]
_NUMBERS = {0: ("no", "zero"), 1: ("one", "a single", "1"), 2: ("two", "2", "a pair of"), 3: ("three", "3"),
            4: ("four", "4")}
_STEMS = ("striped", "stripy", "spotted", "dotted", "checkered", "chequered", "wooden", "wood", "metal",
          "metallic", "steel", "stone", "glass")


def caption(meaning: Meaning, *, generator: torch.Generator, plain: bool = False) -> str:
    """A sentence with that meaning, its wording drawn at random; ``plain``: the usual words and order."""

    def pick(options: Sequence[str]) -> str:
        return options[0 if plain else int(torch.randint(len(options), (), generator=generator))]

    kind = KINDS[meaning.kind]
    before, after = _adjectives(meaning, kind, pick), _phrases(meaning, kind, pick)
    noun = pick([kind.name, *kind.nouns])
    noun = "ice cream" if noun == "icecream" else noun
    # one phrase may become an adjective before the noun: "two-handled", "lidded"
    if not plain and pick(("keep", "move")) == "move":
        moved = _compound(meaning, kind)
        if moved is not None:
            before, after = [moved, *before], [p for p in after if p.split()[-1] not in kind.counted]
    start = pick(("{article} ", "the ", "")) if not plain else "{article} "
    words = " ".join([*before, noun])
    rest = ""
    for n, phrase in enumerate(after):
        rest += (" with " if n == 0 else " and ") + phrase
    if not plain and after and pick(("on", "on", "has")) == "has":
        rest = rest.replace(" with ", " that has ", 1)
    return start.format(article=article(words)) + words + _without(rest)


def _adjectives(meaning: Meaning, kind: Kind, pick: Pick) -> list[str]:
    out = []
    if meaning.size != "normal":
        out.append(pick([w for w, s in SIZE_WORDS.items() if s == meaning.size]))
    if meaning.colour != "natural":
        out.append(meaning.colour)
    if meaning.finish != "plain":
        out.append(pick([w for w in _STEMS if FINISH_WORDS[w] == meaning.finish]))
    return out


def _phrases(meaning: Meaning, kind: Kind, pick: Pick) -> list[str]:
    """What comes after "with"."""
    phrases = []
    second = meaning.second_colour if meaning.second_colour in COLOURS else ""
    handles = kind.second is HANDLES
    usual = meaning.count == kind.counts[0]
    if handles and second and meaning.count:
        number = _NUMBERS[meaning.count][0]
        phrases.append(f"{number} {second} handle{'s' if meaning.count > 1 else ''}")
        second = ""
    elif len(kind.counts) > 1 and (not usual or pick(("say", "leave")) == "say"):
        counted = kind.counted[meaning.count != 1]
        phrases.append(f"{pick(_NUMBERS[meaning.count])} {counted}")
    if second and not handles:
        part = kind.second[0]
        said = f"{second} {part}"
        phrases.append(said if part in PLURALS else f"{article(said)} {said}")
    if kind.option and meaning.option != kind.usually:
        phrases.append(f"{'a' if meaning.option else 'no'} {kind.option[0]}")
    return phrases


def _compound(meaning: Meaning, kind: Kind) -> str | None:
    """"two-handled", where the count is said and its colour is not."""
    if len(kind.counts) == 1 or not 0 < meaning.count < 5 or kind.counted[0] not in ("handle", "leg", "tier"):
        return None
    if meaning.second_colour in COLOURS and kind.second[0].startswith(kind.counted[0]):
        return None
    ending = {"handle": "handled", "leg": "legged", "tier": "tiered"}[kind.counted[0]]
    return f"{_NUMBERS[meaning.count][0]}-{ending}"


def _without(rest: str) -> str:
    """"with no lid" as "without a lid"."""
    return rest.replace(" with no ", " without ", 1) if rest.count(" and ") == 0 else rest
