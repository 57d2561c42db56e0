"""Caption grammar: many wordings for one object spec."""

from __future__ import annotations

import torch

from dreamfusion3d.procedural.categories import CATEGORIES
from dreamfusion3d.procedural.category import Category
from dreamfusion3d.procedural.lexicon import MATERIAL_WORDS, SIZE_WORDS, Chooser, random_chooser, with_article
from dreamfusion3d.procedural.objects import COLORS, ObjectSpec

_NUMBER_PHRASES = (("no", "zero"), ("one", "a single", "1"), ("two", "2", "a pair of"), ("three", "3"), ("four", "4"))
_MATERIAL_ADJECTIVES = (
    "striped stripy spotted dotted checkered chequered wooden wood metal metallic steel stone glass".split()
)


def generate_caption(spec: ObjectSpec, *, generator: torch.Generator, plain: bool = False) -> str:
    """Describe an object in a randomly worded sentence.

    Args:
        plain: Use the first wording of every choice and the canonical word order; draws nothing.
    """
    pick: Chooser = (lambda options: options[0]) if plain else random_chooser(generator)
    category = CATEGORIES[spec.category]
    before, after = _adjectives(spec, pick), _phrases(spec, category, pick)
    nouns = category.styles[category.style_index(spec.style)] if spec.style else (category.name, *category.synonyms)
    noun = pick(nouns).replace("icecream", "ice cream")
    # one phrase may become an adjective before the noun: "two-handled", "lidded"
    if not plain and pick(("keep", "move")) == "move" and (compound := _compound_adjective(spec, category)):
        before = [compound, *before]
        after = [phrase for phrase in after if phrase.split()[-1] not in category.counted_words]
    words = " ".join([*before, noun])
    start = with_article(words) if plain else pick((with_article(words), f"the {words}", words))
    rest = f" with {' and '.join(after)}" if after else ""
    if not plain and after and pick(("on", "on", "has")) == "has":
        rest = rest.replace(" with ", " that has ", 1)
    if " and " not in rest:
        rest = rest.replace(" with no ", " without ", 1)
    return start + rest


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
        phrases.append(f"{pick(_NUMBER_PHRASES[spec.count])} {category.counted_words[spec.count != 1]}")
    if second_color and not category.second_part_is_handles:
        phrases.append(with_article(f"{second_color} {category.second_part_words[0]}"))
    if category.option_words and spec.option != category.option_default:
        option = category.option_words[0]
        phrases.append(with_article(option) if spec.option else f"no {option}")
    return phrases


def _compound_adjective(spec: ObjectSpec, category: Category) -> str | None:
    """Return e.g. "two-handled", or None if the counted part has a color of its own or no such adjective."""
    counted = category.counted_words[0]
    endings = {"handle": "handled", "leg": "legged", "tier": "tiered"}
    if len(category.counts) == 1 or not 0 < spec.count < 5 or counted not in endings:
        return None
    if spec.second_color in COLORS and category.second_part_words[0].startswith(counted):
        return None
    return f"{_NUMBER_PHRASES[spec.count][0]}-{endings[counted]}"
