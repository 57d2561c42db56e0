"""All categories of objects, by name."""

from __future__ import annotations

from collections.abc import Sequence

from dreamfusion3d.procedural.category import Category
from dreamfusion3d.procedural.shapes import (
    appliances,
    built,
    cookware,
    food,
    fruit,
    furniture,
    nature,
    storage,
    tableware,
    tools,
    toys,
    vessels,
)

_GROUPS = (vessels, furniture, nature, toys, tools, built, tableware, cookware, storage, appliances, fruit, food)
CATEGORIES: dict[str, Category] = {category.name: category for group in _GROUPS for category in group.CATEGORIES}


def format_category_names(categories: Sequence[str] | None = None) -> str:
    """List category names (default: all) in one line, for error messages."""
    return ", ".join(sorted(CATEGORIES if categories is None else categories))
