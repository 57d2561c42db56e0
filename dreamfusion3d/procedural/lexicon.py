"""Vocabulary of prompts and captions, and the attribute that each word stands for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from dreamfusion3d.procedural.categories import CATEGORIES
from dreamfusion3d.procedural.category import HANDLE_WORDS, LEG_WORDS, Category
from dreamfusion3d.procedural.objects import COLORS

Chooser = Callable[[Sequence[str]], str]


def _word_table(**groups: str) -> dict[str, str]:
    """Map each word of the space-separated groups to the name of its group."""
    return {word: name for name, words in groups.items() for word in words.split()}


COLOR_WORDS = {c: c for c in COLORS} | _word_table(
    grey="gray silver",
    cyan="turquoise teal aqua",
    purple="violet",
    pink="magenta rose",
    red="scarlet crimson",
    yellow="golden gold",
    blue="navy",
    white="ivory",
)
SIZE_WORDS = _word_table(
    tall="tall high slender", short="short low squat", wide="wide broad fat", small="small little tiny mini miniature"
)
# these change the height of an object but not its proportions, so they are no sizes of a spec
LARGE_WORDS = _word_table(large="large big", huge="huge giant gigantic enormous")
MATERIAL_WORDS = _word_table(
    striped="striped stripy stripes banded",
    spotted="spotted dotted spotty spots dots",
    checkered="checkered chequered checked checks",
    wooden="wooden wood timber",
    metal="metal metallic steel iron",
    stone="stone granite marble",
    glass="glass crystal",
)
# "low poly", "high quality" describe the model, not the size of the object
NON_SIZE_FOLLOWERS = {"poly", "polygon", "quality", "detail", "detailed", "resolution", "definition", "end"}
_NUMBERS = (  # words for 0, 1, 2, ...
    *("no without zero", "a an one single sole lone", "two both double pair twin couple", "three triple"),
    *"four five six seven eight nine ten".split(),
)
NUMBER_WORDS = {word: number for number, words in enumerate(_NUMBERS) for word in words.split()}
COUNTED_WORDS = {*HANDLE_WORDS, *LEG_WORDS}.union(*(category.counted_words for category in CATEGORIES.values()))
CONNECTIVES = {"with", "having", "featuring", "has", "wearing", "without", "on", "in", "whose", "holding", "for"}
STOP_WORDS = set(
    "a an the of with and is that which has have having its in on made painted coloured colored colour color "
    "single photo picture image render model 3d asset object featuring nice simple plain cute some one normal "
    "wearing from please make me it just only exactly prop toy body are whose polka out all over there item "
    "version looking style holding for".split()
)
PHRASE_STARTERS = CONNECTIVES | {"and", "the", "of", "its", "is", "are"}
ATTRIBUTION_WORDS = {"is", "are", "painted", "coloured", "colored", "in"}
NOUN_CATEGORIES = {noun: category for category in CATEGORIES.values() for noun in (category.name, *category.synonyms)}
# nouns of several words -> one word; a longer noun before its beginning
_BY_LAST_WORD = (
    "traffic cone, top hat, rubber duck, cooking pot, hand bell, fruit bowl, cheese grater, soup ladle, "
    "chicken drumstick, t bone steak, ear of corn, pestle and mortar, picture frame, photo frame, fire hydrant, "
    "wishing well, wizard staff, magic staff, magic potion, magic scroll, human skull, dog bone, army tank, "
    "triumphal arch, royal crown, field cannon, coconut palm, tree stump, berry bush, hot air balloon"
)
_JOINED = (
    "book shelf, book case, light house, tea pot, tea cup, space ship, snow man, sail boat, wine glass, rolling pin, "
    "pepper mill, jerry can, hot dog, cup cake, fairy cake, water melon, coffee pot, corn cob, night stand, "
    "teddy bear, doll house, play house, rocking horse, hobby horse, type writer, back pack, ruck sack, hand bag, "
    "suit case, flat iron, trash can, dust bin, waste basket, eye glasses, house plant, flower pot, head set, "
    "grave stone, tomb stone, wind mill, sign post, street lamp, lamp post, street light, mail box, screw driver, "
    "pick axe, motor boat"
)
COMPOUND_NOUNS = {noun: noun.split()[-1] for noun in _BY_LAST_WORD.split(", ")}
COMPOUND_NOUNS |= {noun: noun.replace(" ", "") for noun in _JOINED.split(", ")}
COMPOUND_NOUNS |= {
    "ice cream cone": "icecream",
    "ice cream": "icecream",
    "ice creams": "icecream",
    "flying saucer": "ufo",
    "rocket ship": "rocket",
    "gift box": "gift",
    "pepper grinder": "peppermill",
    "drinking glass": "tumbler",
    "water glass": "tumbler",
    "orange fruit": "tangerine",
    "orange fruit bowl": "orange bowl",
    "egg beater": "whisk",
    "gas can": "jerrycan",
    "petrol can": "jerrycan",
    "fuel can": "jerrycan",
    "moka pot": "percolator",
    "bell pepper": "capsicum",
    "sweet pepper": "capsicum",
    "chicken leg": "drumstick",
    "mortar and pestle": "mortar",
    "microwave oven": "microwave",
    "corn on the cob": "corn",
    "chest of drawers": "dresser",
    "bedside table": "nightstand",
    "cardboard box": "carton",
    "steam iron": "flatiron",
    "clothes iron": "flatiron",
    "potted plant": "planter",
    "waste bin": "trashcan",
    "rubbish bin": "trashcan",
    "trash bin": "trashcan",
    "spinning top": "spinner",
    "chess piece": "chessman",
    "palm tree": "palm",
}
# noun of a style, as one word -> (category, name of the style)
STYLE_NOUNS: dict[str, tuple[Category, str]] = {}
for _category in CATEGORIES.values():
    for _nouns in _category.styles:
        for _noun in _nouns:
            STYLE_NOUNS[_noun.replace(" ", "")] = (_category, _nouns[0])
            if " " in _noun:
                COMPOUND_NOUNS[_noun] = _noun.replace(" ", "")
COMPOUND_NOUNS = dict(sorted(COMPOUND_NOUNS.items(), key=lambda item: -len(item[0])))  # longer nouns first
PLURAL_NOUNS = frozenset("scissors shears spectacles glasses eyeglasses sunglasses earphones headphones flaps".split())
# words for part B that take no article
PLURAL_PART_WORDS = set(
    "bands legs cushions books straps leaves teeth stripes fins wheels wings battlements grips "
    "burners knobs stems marks tips "
    "berries ends rails caps sails roofs pillars seats tracks jewels rods "
    "knobs rungs candles blades keys pads valves pages pips rockers lenses bristles".split()
)


def random_chooser(generator: torch.Generator) -> Chooser:
    """Return a function that picks one of a sequence uniformly at random."""
    return lambda options: options[int(torch.randint(len(options), (), generator=generator))]


def indefinite_article(words: str) -> str:
    """Return "a" or "an" by the initial sound of ``words``."""
    return "an" if words[:1] in tuple("aeiou") and not words.startswith(("one", "ufo", "uni", "eu")) else "a"


def with_article(words: str) -> str:
    """Put "a" or "an" before a noun phrase, unless its last word is a plural such as "scissors"."""
    is_plural = words.split()[-1] in PLURAL_NOUNS | PLURAL_PART_WORDS
    return words if is_plural else f"{indefinite_article(words)} {words}"


def parse_number(word: str) -> int | None:
    """Return the number that a word denotes, or None; articles denote 1."""
    return int(word) if word.isdecimal() and len(word) < 10 else NUMBER_WORDS.get(word)


def lookup_category(word: str) -> Category | None:
    """Return the category that a singular or plural noun names, or None."""
    for form in singular_forms(word):
        if form in NOUN_CATEGORIES:
            return NOUN_CATEGORIES[form]
        if form in STYLE_NOUNS:
            return STYLE_NOUNS[form][0]
    return {"snowmen": CATEGORIES["snowman"], "cacti": CATEGORIES["cactus"]}.get(word)


def lookup_style(word: str) -> str:
    """Return the name of the style that a noun stands for ("armchair"), or "" if it leaves the style open."""
    return next((STYLE_NOUNS[form][1] for form in singular_forms(word) if form in STYLE_NOUNS), "")


def singular_forms(word: str) -> tuple[str, ...]:
    """Return what the singular of a noun may be, and the noun itself."""
    stem = word.removesuffix("ves")
    return (
        word,
        word.removesuffix("s"),
        word.removesuffix("es"),
        stem + "f",
        stem + "fe",
        word.removesuffix("ies") + "y",
    )


def matches_any_word(word: str, words: tuple[str, ...] | set[str]) -> bool:
    """Return whether ``word`` is one of ``words``, also in a form such as "handled" or "lidded"."""
    base = word.removesuffix("ed")
    undoubled = base[:-1] if base[-1:] == base[-2:-1] else base
    return any(form in words for form in (word, word.removesuffix("d"), base, undoubled))
