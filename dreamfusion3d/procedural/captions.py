"""Caption grammar: many wordings for one object spec."""

from __future__ import annotations

import torch

from dreamfusion3d.procedural.categories import CATEGORIES, Category
from dreamfusion3d.procedural.lexicon import (
    MATERIAL_WORDS,
    PLURAL_PART_WORDS,
    SIZE_WORDS,
    Chooser,
    indefinite_article,
    random_chooser,
)
from dreamfusion3d.procedural.objects import COLORS, ObjectSpec

_NUMBER_PHRASES = {
    0: ("no", "zero"),
    1: ("one", "a single", "1"),
    2: ("two", "2", "a pair of"),
    3: ("three", "3"),
    4: ("four", "4"),
}
_MATERIAL_ADJECTIVES = (
    "striped",
    "stripy",
    "spotted",
    "dotted",
    "checkered",
    "chequered",
    "wooden",
    "wood",
    "metal",
    "metallic",
    "steel",
    "stone",
    "glass",
)


def generate_caption(spec: ObjectSpec, *, generator: torch.Generator, plain: bool = False) -> str:
    """Describe an object in a randomly worded sentence.

    Args:
        plain: Use the first wording of every choice and the canonical word order; draws nothing.
    """
    pick: Chooser = (lambda options: options[0]) if plain else random_chooser(generator)
    category = CATEGORIES[spec.category]
    before, after = _adjectives(spec, pick), _phrases(spec, category, pick)
    noun = pick([category.name, *category.synonyms])
    noun = "ice cream" if noun == "icecream" else noun
    # one phrase may become an adjective before the noun: "two-handled", "lidded"
    if not plain and pick(("keep", "move")) == "move":
        compound = _compound_adjective(spec, category)
        if compound is not None:
            before, after = ([compound, *before], [p for p in after if p.split()[-1] not in category.counted_words])
    start = pick(("{article} ", "the ", "")) if not plain else "{article} "
    words = " ".join([*before, noun])
    rest = ""
    for n, phrase in enumerate(after):
        rest += (" with " if n == 0 else " and ") + phrase
    if not plain and after and pick(("on", "on", "has")) == "has":
        rest = rest.replace(" with ", " that has ", 1)
    return start.format(article=indefinite_article(words)) + words + _contract_with_no(rest)


def _adjectives(spec: ObjectSpec, pick: Chooser) -> list[str]:
    out = []
    if spec.size != "normal":
        out.append(pick([w for w, s in SIZE_WORDS.items() if s == spec.size]))
    if spec.color != "natural":
        out.append(spec.color)
    if spec.material != "plain":
        out.append(pick([w for w in _MATERIAL_ADJECTIVES if MATERIAL_WORDS[w] == spec.material]))
    return out


def _phrases(spec: ObjectSpec, category: Category, pick: Chooser) -> list[str]:
    """Phrases that follow "with"."""
    phrases = []
    second_color = spec.second_color if spec.second_color in COLORS else ""
    is_default_count = spec.count == category.counts[0]
    if category.second_part_is_handles and second_color and spec.count:
        number = _NUMBER_PHRASES[spec.count][0]
        phrases.append(f"{number} {second_color} handle{'s' if spec.count > 1 else ''}")
        second_color = ""
    elif len(category.counts) > 1 and (not is_default_count or pick(("say", "leave")) == "say"):
        counted = category.counted_words[spec.count != 1]
        phrases.append(f"{pick(_NUMBER_PHRASES[spec.count])} {counted}")
    if second_color and not category.second_part_is_handles:
        part = category.second_part_words[0]
        colored_part = f"{second_color} {part}"
        phrases.append(
            colored_part if part in PLURAL_PART_WORDS else f"{indefinite_article(colored_part)} {colored_part}"
        )
    if category.option_words and spec.option != category.option_default:
        phrases.append(f"{'a' if spec.option else 'no'} {category.option_words[0]}")
    return phrases


def _compound_adjective(spec: ObjectSpec, category: Category) -> str | None:
    """Return e.g. "two-handled", or None if the counted part has a color of its own or no such adjective."""
    if (
        len(category.counts) == 1
        or not 0 < spec.count < 5
        or category.counted_words[0] not in ("handle", "leg", "tier")
    ):
        return None
    if spec.second_color in COLORS and category.second_part_words[0].startswith(category.counted_words[0]):
        return None
    ending = {"handle": "handled", "leg": "legged", "tier": "tiered"}[category.counted_words[0]]
    return f"{_NUMBER_PHRASES[spec.count][0]}-{ending}"


def _contract_with_no(rest: str) -> str:
    """Contract "with no lid" to "without lid"."""
    return rest.replace(" with no ", " without ", 1) if rest.count(" and ") == 0 else rest
