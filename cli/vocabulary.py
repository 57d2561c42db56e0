"""``dreamfusion3d vocabulary``: list the objects and words that a prior knows."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import PixelPriorName

if TYPE_CHECKING:
    from dreamfusion3d.procedural.categories import Category


def vocabulary(
    prior: PixelPriorName = "embedded",
    image: Annotated[Path | None, typer.Option(help="PNG to draw the categories into.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Include the categories that `evaluate --mark-weak` marked.")
    ] = False,
) -> None:
    """List the object categories, colors and words that a prior knows, or draw the categories."""
    from dreamfusion3d.priors.vocabulary import (
        load_vocabulary,
        prior_folder,
        read_weak_categories,
        shape_categories,
        vocabulary_categories,
        vocabulary_words,
    )
    from dreamfusion3d.procedural.categories import CATEGORIES
    from dreamfusion3d.procedural.lexicon import LARGE_WORDS, MATERIAL_WORDS, SIZE_WORDS
    from dreamfusion3d.procedural.objects import COLORS

    tokens, shapes = load_vocabulary(prior), shape_categories(prior_folder(prior))
    words = vocabulary_words(tokens)
    hidden = [] if everything else read_weak_categories(prior_folder(prior))
    names = sorted(shapes.union(set(vocabulary_categories(tokens)) - set(hidden)))
    if image is not None:
        _draw_categories(names, image)
    for name in names:
        print(_describe_category(CATEGORIES[name], None if name in shapes else tokens))
    if words:
        print(f"words from its training images: {', '.join(words)}")
        if not names:
            return
    print(f"colors: {', '.join(color for color in COLORS if f'colour:{color}' in tokens)}")
    sizes = [*(word for word, size in SIZE_WORDS.items() if f"size:{size}" in tokens), *LARGE_WORDS]
    print(f"sizes: {', '.join(sizes)}")
    if materials := [word for word, material in MATERIAL_WORDS.items() if f"finish:{material}" in tokens]:
        print(f"materials: {', '.join(materials)}")


def _describe_category(category: Category, tokens: Collection[str] | None) -> str:
    """Describe what prompts may say of a category; ``tokens`` restrict it to what a prior was trained on."""
    synonyms = f" (or {', '.join(category.synonyms)})" if category.synonyms else ""
    parts = [f"{category.name}{synonyms}", f"a part with its own color: {category.second_part_words[0]}"]
    counts = [
        count for count in sorted(category.counts) if tokens is None or f"{category.name}:count:{count}" in tokens
    ]
    if len(counts) > 1:
        parts.append(f"{category.counted_words[1]}: {', '.join(map(str, counts))}")
    if category.option_words and (tokens is None or f"{category.name}:option" in tokens):
        parts.append(f"with or without {category.option_words[0]}")
    parts.append(f"usually {category.height_m:g} m high")
    if materials := [name for name in category.materials if tokens is None or f"finish:{name}" in tokens]:
        parts.append(f"materials: {', '.join(materials)}")
    return "; ".join(parts)


def _draw_categories(names: list[str], path: Path) -> None:
    """Draw the default object of each category, as the procedural renderer shows it."""
    import imageio.v3 as iio

    from dreamfusion3d.core.errors import InputError
    from dreamfusion3d.core.files import atomic_write
    from dreamfusion3d.core.folders import check_free_space, translate_folder_errors
    from dreamfusion3d.procedural.catalog import render_catalog
    from dreamfusion3d.procedural.objects import default_spec

    if path.suffix.lower() != ".png":
        raise InputError(f"--image {path} must be a PNG, e.g. vocabulary.png")
    check_free_space(path.parent)
    with translate_folder_errors(path.parent), atomic_write(path) as temporary:
        iio.imwrite(temporary, render_catalog([default_spec(name) for name in names]))
