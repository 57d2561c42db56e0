"""The words of the procedural world: what each says of a prop."""

from __future__ import annotations

from dreamfusion3d.procedural.categories import CATEGORIES, HANDLE_WORDS, LEG_WORDS, Category
from dreamfusion3d.procedural.objects import COLORS

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
# "low poly", "high quality": of the model, not of the prop
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
    {word for kind in CATEGORIES.values() for word in kind.counted_words} | set(HANDLE_WORDS) | set(LEG_WORDS)
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
NOUN_CATEGORIES = {noun: kind for kind in CATEGORIES.values() for noun in (kind.name, *kind.synonyms)}
# names of more than one word, as one; longer ones first
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


# first words for part B that take no article
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


def indefinite_article(words: str) -> str:
    """ "a" or "an", by the sound that ``words`` begin with."""
    return "an" if words[:1] in tuple("aeiou") and not words.startswith(("one", "ufo", "uni", "eu")) else "a"


def parse_number(word: str) -> int | None:
    """The number that a word says; articles are ones."""
    return int(word) if word.isdecimal() and len(word) < 10 else NUMBER_WORDS.get(word)


def lookup_category(word: str) -> Category | None:
    """The kind that a noun names, in the singular or plural."""
    for form in (word, word.removesuffix("s"), word.removesuffix("es"), word.removesuffix("ves") + "f"):
        if form in NOUN_CATEGORIES:
            return NOUN_CATEGORIES[form]
    return {"snowmen": CATEGORIES["snowman"], "cacti": CATEGORIES["cactus"]}.get(word)


def matches_any_word(word: str, words: tuple[str, ...] | set[str]) -> bool:
    """Whether ``word`` is one of ``meant``, also as "handled", "lidded", "stemmed"."""
    base = word.removesuffix("ed")
    undoubled = base[:-1] if base[-1:] == base[-2:-1] else base
    return any(form in words for form in (word, word.removesuffix("d"), base, undoubled))
