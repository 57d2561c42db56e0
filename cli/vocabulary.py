"""``dreamfusion3d vocabulary``: list the objects and words that a prior knows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import PixelPriorName


def vocabulary(
    prior: PixelPriorName = "embedded",
    image: Annotated[Path | None, typer.Option(help="PNG to draw the categories into.")] = None,
    html: Annotated[
        Path | None, typer.Option(help="Page to write, with a picture of each object and a filter.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Include the categories that `evaluate --mark-weak` marked.")
    ] = False,
) -> None:
    """List the object categories, colors and words that a prior knows, or draw the categories."""
    from dreamfusion3d.core.errors import InputError
    from dreamfusion3d.priors.vocabulary import (
        asset_captions,
        load_vocabulary,
        prior_folder,
        read_weak_categories,
        shape_categories,
        vocabulary_categories,
        vocabulary_words,
    )
    from dreamfusion3d.procedural.categories import CATEGORIES, describe_category
    from dreamfusion3d.procedural.lexicon import LARGE_WORDS, MATERIAL_WORDS, SIZE_WORDS
    from dreamfusion3d.procedural.objects import COLORS

    tokens, shapes = load_vocabulary(prior), shape_categories(prior_folder(prior))
    words, captions = vocabulary_words(tokens), asset_captions(prior_folder(prior))
    hidden = [] if everything else read_weak_categories(prior_folder(prior))
    names = sorted(shapes.union(set(vocabulary_categories(tokens)) - set(hidden)))
    if image is not None:
        if not names:
            raise InputError(f"the prior '{prior}' has no categories to draw; --html draws its assets")
        _draw_categories(names, image)
    if html is not None:
        _write_page(prior, html)
    for name in names:
        category = CATEGORIES[name]
        synonyms = f" (or {', '.join(category.synonyms)})" if category.synonyms else ""
        print(f"{name}{synonyms}; {describe_category(category, None if name in shapes else tokens)}")
    if captions:
        print(f"assets of its library: {', '.join(captions)}")
    if words:
        print(f"words from its training images: {', '.join(words)}")
    if not names:
        return
    # shapes take every color, size and material
    print(f"colors: {', '.join(color for color in COLORS if shapes or f'colour:{color}' in tokens)}")
    sizes = [*(word for word, size in SIZE_WORDS.items() if shapes or f"size:{size}" in tokens), *LARGE_WORDS]
    print(f"sizes: {', '.join(sizes)}")
    if materials := [word for word, material in MATERIAL_WORDS.items() if shapes or f"finish:{material}" in tokens]:
        print(f"materials: {', '.join(materials)}")


def _write_page(name: str, path: Path) -> None:
    from dreamfusion3d.core.errors import InputError
    from dreamfusion3d.core.folders import check_free_space, translate_folder_errors
    from dreamfusion3d.core.progress import default_progress
    from dreamfusion3d.priors.loading import load_pixel_prior

    from .vocabulary_page import write_vocabulary_page

    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--html {path} must be an HTML file, e.g. vocabulary.html")
    loaded = load_pixel_prior(name)
    if not loaded.shapes.categories and not loaded.assets.entries:
        raise InputError(f"the prior '{name}' has no shapes to draw; train them with train-shapes")
    check_free_space(path.parent)
    with translate_folder_errors(path.parent):
        write_vocabulary_page(loaded, path, default_progress(quiet=False))


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
