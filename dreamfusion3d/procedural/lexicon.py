"""Vocabulary of prompts and captions, and the attribute that each word stands for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from dreamfusion3d.procedural.categories import CATEGORIES, HANDLE_WORDS, LEG_WORDS, Category
from dreamfusion3d.procedural.objects import COLORS

Chooser = Callable[[Sequence[str]], str]

COLOR_WORDS = {c: c for c in COLORS} | {
    "gray": "grey",
    "turquoise": "cyan",
    "teal": "cyan",
    "aqua": "cyan",
    "violet": "purple",
    "magenta": "pink",
    "scarlet": "red",
    "crimson": "red",
    "golden": "yellow",
    "gold": "yellow",
    "navy": "blue",
    "silver": "grey",
    "ivory": "white",
    "rose": "pink",
}
SIZE_WORDS = {
    "tall": "tall",
    "high": "tall",
    "slender": "tall",
    "short": "short",
    "low": "short",
    "squat": "short",
    "wide": "wide",
    "broad": "wide",
    "fat": "wide",
    "small": "small",
    "little": "small",
    "tiny": "small",
    "mini": "small",
    "miniature": "small",
}
MATERIAL_WORDS = {
    "striped": "striped",
    "stripy": "striped",
    "stripes": "striped",
    "banded": "striped",
    "spotted": "spotted",
    "dotted": "spotted",
    "spotty": "spotted",
    "spots": "spotted",
    "dots": "spotted",
    "checkered": "checkered",
    "chequered": "checkered",
    "checked": "checkered",
    "checks": "checkered",
    "wooden": "wooden",
    "wood": "wooden",
    "timber": "wooden",
    "metal": "metal",
    "metallic": "metal",
    "steel": "metal",
    "iron": "metal",
    "stone": "stone",
    "granite": "stone",
    "marble": "stone",
    "glass": "glass",
    "crystal": "glass",
}
# "low poly", "high quality" describe the model, not the size of the object
NON_SIZE_FOLLOWERS = {"poly", "polygon", "quality", "detail", "detailed", "resolution", "definition", "end"}
NUMBER_WORDS = {
    "no": 0,
    "without": 0,
    "zero": 0,
    "a": 1,
    "an": 1,
    "one": 1,
    "single": 1,
    "sole": 1,
    "lone": 1,
    "two": 2,
    "both": 2,
    "double": 2,
    "pair": 2,
    "twin": 2,
    "couple": 2,
    "three": 3,
    "triple": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
}
COUNTED_WORDS = (
    {word for category in CATEGORIES.values() for word in category.counted_words} | set(HANDLE_WORDS) | set(LEG_WORDS)
)
CONNECTIVES = {"with", "having", "featuring", "has", "wearing", "without", "on", "in", "whose", "holding", "for"}
STOP_WORDS = {
    "a",
    "an",
    "the",
    "of",
    "with",
    "and",
    "is",
    "that",
    "which",
    "has",
    "have",
    "having",
    "its",
    "in",
    "on",
    "made",
    "painted",
    "coloured",
    "colored",
    "colour",
    "color",
    "single",
    "photo",
    "picture",
    "image",
    "render",
    "model",
    "3d",
    "asset",
    "object",
    "featuring",
    "nice",
    "simple",
    "plain",
    "cute",
    "some",
    "one",
    "normal",
    "wearing",
    "from",
    "please",
    "make",
    "me",
    "it",
    "just",
    "only",
    "exactly",
    "prop",
    "toy",
    "body",
    "are",
    "whose",
    "polka",
    "out",
    "all",
    "over",
    "there",
    "item",
    "version",
    "looking",
    "style",
    "holding",
    "for",
}
PHRASE_STARTERS = CONNECTIVES | {"and", "the", "of", "its", "is", "are"}
ATTRIBUTION_WORDS = {"is", "are", "painted", "coloured", "colored", "in"}
NOUN_CATEGORIES = {noun: category for category in CATEGORIES.values() for noun in (category.name, *category.synonyms)}
# names of several words -> one word; longer names first
COMPOUND_NOUNS = {
    "ice cream cone": "icecream",
    "ice cream": "icecream",
    "ice creams": "icecream",
    "flying saucer": "ufo",
    "treasure chest": "chest",
    "traffic cone": "cone",
    "top hat": "hat",
    "rubber duck": "duck",
    "book shelf": "bookshelf",
    "book case": "bookcase",
    "light house": "lighthouse",
    "tea pot": "teapot",
    "tea cup": "teacup",
    "rocket ship": "rocket",
    "space ship": "spaceship",
    "castle tower": "tower",
    "sailing boat": "boat",
    "sailing ship": "boat",
    "sail boat": "boat",
    "fir tree": "tree",
    "pine tree": "tree",
    "cooking pot": "pot",
    "hand bell": "bell",
    "snow man": "snowman",
    "fruit bowl": "bowl",
    "christmas tree": "tree",
    "gift box": "gift",
    "table lamp": "lamp",
    "race car": "car",
    "wine glass": "goblet",
}
# words for part B that take no article
PLURAL_PART_WORDS = {
    "bands",
    "legs",
    "cushions",
    "books",
    "straps",
    "leaves",
    "teeth",
    "stripes",
    "fins",
    "wheels",
    "wings",
    "battlements",
}


def random_chooser(generator: torch.Generator) -> Chooser:
    """Return a function that picks one of a sequence uniformly at random."""
    return lambda options: options[int(torch.randint(len(options), (), generator=generator))]


def indefinite_article(words: str) -> str:
    """Return "a" or "an" by the initial sound of ``words``."""
    return "an" if words[:1] in tuple("aeiou") and not words.startswith(("one", "ufo", "uni", "eu")) else "a"


def parse_number(word: str) -> int | None:
    """Return the number that a word denotes, or None; articles denote 1."""
    return int(word) if word.isdecimal() and len(word) < 10 else NUMBER_WORDS.get(word)


def lookup_category(word: str) -> Category | None:
    """Return the category that a singular or plural noun names, or None."""
    for form in (word, word.removesuffix("s"), word.removesuffix("es"), word.removesuffix("ves") + "f"):
        if form in NOUN_CATEGORIES:
            return NOUN_CATEGORIES[form]
    return {"snowmen": CATEGORIES["snowman"], "cacti": CATEGORIES["cactus"]}.get(word)


def matches_any_word(word: str, words: tuple[str, ...] | set[str]) -> bool:
    """Return whether ``word`` is one of ``words``, also in a form such as "handled" or "lidded"."""
    base = word.removesuffix("ed")
    undoubled = base[:-1] if base[-1:] == base[-2:-1] else base
    return any(form in words for form in (word, word.removesuffix("d"), base, undoubled))
