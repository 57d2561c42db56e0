"""All categories of objects, by name."""

from __future__ import annotations

from collections.abc import Sequence

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
