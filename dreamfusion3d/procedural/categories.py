"""All categories of objects, by name."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Collection, Sequence

from dreamfusion3d.procedural.category import Category
from dreamfusion3d.procedural.shapes import (
    appliances,
    armory,
    belongings,
    built,
    cabinets,
    carts,
    cookware,
    craft,
    dwellings,
    fixtures,
    food,
    fruit,
    furniture,
    hardware,
    household,
    instruments,
    landmarks,
    media,
    nature,
    playthings,
    storage,
    tableware,
    tools,
    toys,
    treasure,
    vessels,
    wear,
    wheeled,
    woodland,
)

MAX_LISTED_CATEGORIES = 40  # in a message
_GROUPS = (
    vessels,
    furniture,
    nature,
    toys,
    tools,
    built,
    appliances,
    armory,
    belongings,
    cabinets,
    carts,
    cookware,
    craft,
    dwellings,
    fixtures,
    food,
    fruit,
    hardware,
    household,
    instruments,
    landmarks,
    media,
    playthings,
    storage,
    tableware,
    treasure,
    wear,
    wheeled,
    woodland,
)
CATEGORIES: dict[str, Category] = {category.name: category for group in _GROUPS for category in group.CATEGORIES}


def format_category_names(categories: Sequence[str] | None = None) -> str:
    """List category names (default: all) in one line, for error messages."""
    return ", ".join(sorted(CATEGORIES if categories is None else categories))


def describe_categories(prompt: str, names: Collection[str]) -> str:
    """List categories for a message about ``prompt``: those spelled like one of its words, else the first ones."""
    listed = nearest_categories(prompt, names) or sorted(names)[:MAX_LISTED_CATEGORIES]
    more = len(names) - len(listed)
    return ", ".join(listed) + (f" and {more} more (dreamfusion3d vocabulary lists them)" if more else "")


def nearest_categories(prompt: str, names: Collection[str]) -> list[str]:
    """Return the categories with a noun spelled like a word of ``prompt``, the most similar first."""
    nouns = {
        noun: name
        for name in sorted(names)
        for noun in [name, *CATEGORIES[name].synonyms, *itertools.chain(*CATEGORIES[name].styles)]
    }
    words = [word for word in prompt.lower().split() if len(word) > 3]
    close = itertools.chain(*(difflib.get_close_matches(word, nouns, 3, 0.75) for word in words))
    return list(dict.fromkeys(nouns[noun] for noun in close))


def describe_category(category: Category, tokens: Collection[str] | None = None) -> str:
    """Return what prompts may say of a category, in one line; ``tokens`` restrict it to a prior's vocabulary."""

    def is_known(token: str) -> bool:
        return tokens is None or token in tokens

    parts = [f"a part with its own color: {category.second_part_words[0]}"]
    counts = [count for count in sorted(category.counts) if is_known(f"{category.name}:count:{count}")]
    if len(counts) > 1:
        parts.append(f"{category.counted_words[1]}: {', '.join(map(str, counts))}")
    if category.option_words and is_known(f"{category.name}:option"):
        parts.append(f"with or without {category.option_words[0]}")
    if len(category.styles) > 1:
        parts.append(f"styles: {', '.join(category.style_names)}")
    parts.append(f"usually {category.height_m:g} m high")
    if materials := [name for name in category.materials if is_known(f"finish:{name}")]:
        parts.append(f"materials: {', '.join(materials)}")
    return "; ".join(parts)
