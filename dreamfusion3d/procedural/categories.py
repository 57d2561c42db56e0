"""All categories of objects, by name."""

from __future__ import annotations

from collections.abc import Sequence

from dreamfusion3d.procedural.category import Category
from dreamfusion3d.procedural.shapes import (
    appliances,
    belongings,
    built,
    cabinets,
    cookware,
    food,
    fruit,
    furniture,
    household,
    instruments,
    media,
    nature,
    playthings,
    storage,
    tableware,
    tools,
    toys,
    vessels,
    wear,
)

_GROUPS = (
    vessels,
    furniture,
    nature,
    toys,
    tools,
    built,
    appliances,
    belongings,
    cabinets,
    cookware,
    food,
    fruit,
    household,
    instruments,
    media,
    playthings,
    storage,
    tableware,
    wear,
)
CATEGORIES: dict[str, Category] = {category.name: category for group in _GROUPS for category in group.CATEGORIES}


def format_category_names(categories: Sequence[str] | None = None) -> str:
    """List category names (default: all) in one line, for error messages."""
    return ", ".join(sorted(CATEGORIES if categories is None else categories))
