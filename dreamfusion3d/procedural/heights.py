"""Usual heights of objects, in meters."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dreamfusion3d.procedural.categories import CATEGORIES
from dreamfusion3d.procedural.lexicon import with_article
from dreamfusion3d.procedural.objects import ObjectSpec

# Size word -> factor of the usual height. The first five also change the proportions of the object (`SIZES`): with
# these factors the width of a tall, short or wide object stays within a sixth of the usual one.
HEIGHT_FACTORS = {"normal": 1.0, "tall": 1.25, "short": 0.75, "wide": 0.9, "small": 0.5, "large": 1.5, "huge": 2.0}
TOY, MAX_TOY_HEIGHT_M = "toy", 0.2


def usual_height(spec: ObjectSpec, height_words: Sequence[str] = ()) -> float:
    """Return the usual height of an object in meters.

    Args:
        spec: The object; its size word counts.
        height_words: Further words: "large", "huge" or "toy".
    """
    factors = [HEIGHT_FACTORS[word] for word in (spec.size, *height_words) if word != TOY]
    height = CATEGORIES[spec.category].height_m * math.prod(factors)
    return round(min(height, MAX_TOY_HEIGHT_M) if TOY in height_words else height, 6)


def describe_usual_height(spec: ObjectSpec, height_words: Sequence[str] = ()) -> str:
    """Say what `usual_height` is the height of, e.g. "usual height of a small mug"."""
    size = [spec.size] * (spec.size != "normal")
    words = " ".join([*height_words, *size, spec.category])
    return f"usual height of {with_article(words)}"
