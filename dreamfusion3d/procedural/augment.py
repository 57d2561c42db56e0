"""Caption augmentations that preserve the meaning, and prompts about unrelated things.

ContraCode (arXiv 2007.04973) augments programs with a compiler's transformations; these functions
do the same with sentences. The text encoder is trained with ``TRAIN_AUGMENTATIONS``;
``HELD_OUT_AUGMENTATIONS`` measure whether it generalizes.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import torch

from dreamfusion3d.procedural.lexicon import (
    COLOR_WORDS,
    MATERIAL_WORDS,
    NOUN_CATEGORIES,
    SIZE_WORDS,
    Chooser,
    lookup_category,
    random_chooser,
)
from dreamfusion3d.procedural.objects import COLORS

Augmentation = Callable[[str, Chooser], str]

_KEYBOARD_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_TEMPLATES = (
    "a 3d model of {}",
    "please make {}",
    "make me {}",
    "an image of {}",
    "{}, game asset",
    "{}, low poly",
    "{} for a video game",
    "i want {}",
    "render of {}",
    "a picture of {}, high quality",
)
_HELD_OUT_TEMPLATES = (
    "could you build {} for my scene?",
    "{} on a white background",
    "generate {} in 3d",
    "we need {} as a prop",
    "a detailed asset: {}",
)
_FILLERS = (
    "rustic old nice beautiful fancy pretty medieval ancient shiny simple realistic cartoon stylised classic modern"
).split()
_HELD_OUT_FILLERS = "lovely weathered charming ornate typical unused handmade".split()
# nouns of no category
_UNRELATED_NOUNS = (
    "harmonica cat dog horse dragon bicycle mountain river cloud person man woman child knight wizard elephant "
    "lion tiger bear monkey fish shark bird eagle spider sandwich fries orange grape sushi shirt dress jacket "
    "glove necklace watch window curtain pillow telescope microscope ghost alien zombie"
).split()
_HELD_OUT_UNRELATED_NOUNS = (
    "motorcycle tractor giraffe penguin whale turtle frog taco waffle onion wallet scarf sandal notebook pencil "
    "statue fountain volcano island"
).split()
_LEXICON_WORDS = {*NOUN_CATEGORIES, *COLOR_WORDS, *SIZE_WORDS, *MATERIAL_WORDS}
_SYLLABLES = (
    "ba cor del fin gra ha jin kel lo mer nu or pla qui ran sto ter ul ver wis xen ya zo che bri amp ick ous ing ly"
).split()


def augment_caption(sentence: str, *, generator: torch.Generator, held_out: bool = False) -> str:
    """Paraphrase a caption with one to three augmentations."""
    pick = random_chooser(generator)
    augmentations = HELD_OUT_AUGMENTATIONS if held_out else TRAIN_AUGMENTATIONS
    order = torch.randperm(len(augmentations), generator=generator)
    # augmentations apply in order: words are replaced before templates wrap the sentence
    chosen = sorted(order[: 1 + int(torch.randint(3, (), generator=generator))].tolist())
    for i in chosen:
        sentence = augmentations[i](sentence, pick)
    return sentence


def generate_unrelated_prompt(*, generator: torch.Generator, held_out: bool = False) -> str:
    """Generate a prompt about something that no category covers, with known colors and sizes."""
    pick = random_chooser(generator)
    noun = pick(_HELD_OUT_UNRELATED_NOUNS if held_out else _UNRELATED_NOUNS)
    if not held_out and pick(("known", "unknown")) == "unknown":
        noun = _pseudoword(pick)
    adjective = pick(("", "", *COLORS, *SIZE_WORDS, "wooden", "striped"))
    ending = pick(("", "", " with two handles", " with a red lid", " with one handle", " with legs"))
    return f"{pick(('a', 'the', 'one', ''))} {adjective} {noun}{ending}".replace("  ", " ").strip()


def _drop_articles(sentence: str, pick: Chooser) -> str:
    """Drop all articles."""
    return re.sub(r"\b(a|an|the) ", "", sentence)


def _pluralize(sentence: str, pick: Chooser) -> str:
    """Put the first noun into the plural."""
    words = sentence.split(" ")
    if (noun := next((word for word in words if word in NOUN_CATEGORIES), None)) is not None:
        words[words.index(noun)] += "es" if noun.endswith(("s", "sh", "ch", "x")) else "s"
    return " ".join(words)


def _change_case(sentence: str, pick: Chooser) -> str:
    return pick((sentence.upper(), sentence.capitalize(), sentence.title()))


def _to_comma_list(sentence: str, pick: Chooser) -> str:
    """Rewrite "a red mug with one handle" as "mug, red, one handle"."""
    head, *tail = sentence.split(" with ", 1)
    *adjectives, noun = head.split()
    return ", ".join([noun, *adjectives, *filter(None, tail)]) if noun in NOUN_CATEGORIES else sentence


def _move_phrase_first(sentence: str, pick: Chooser) -> str:
    """Rewrite "a mug with one handle" as "with one handle, a mug"."""
    head, separator, tail = sentence.partition(" with ")
    return f"with {tail}, {head}" if separator else sentence


def _move_color_last(sentence: str, pick: Chooser) -> str:
    """Rewrite "a red mug" as "a mug in red" or "a mug painted red"."""
    return _move_color(sentence, pick(("in {}", "painted {}", "that is {}")))


def _say_colored(sentence: str, pick: Chooser) -> str:
    """Rewrite "a red mug" as "a mug colored red" or "a mug of red color"."""
    return _move_color(sentence, pick(("coloured {}", "colored {}", "of {} color")))


def _move_color(sentence: str, template: str) -> str:
    words = sentence.split(" ")
    i = next((i for i, word in enumerate(words) if word in COLORS or word in ("with", "that", "without")), len(words))
    noun = next((j for j in range(i + 1, len(words)) if lookup_category(words[j]) is not None), None)
    if noun is None or words[i] not in COLORS:
        return sentence
    return " ".join([*words[:i], *words[i + 1 : noun + 1], template.format(words[i]), *words[noun + 1 :]])


def _insert_filler(sentence: str, pick: Chooser) -> str:
    return _insert_before_noun(sentence, pick(_FILLERS))


def _insert_held_out_filler(sentence: str, pick: Chooser) -> str:
    return _insert_before_noun(sentence, pick(_HELD_OUT_FILLERS))


def _insert_pseudowords(sentence: str, pick: Chooser) -> str:
    """Insert one or two pseudowords, which carry no meaning, at random positions."""
    words = sentence.split(" ")
    for _ in range(int(pick("12"))):
        position = int(pick([str(i) for i in range(len(words) + 1)]))
        words.insert(position, _pseudoword(pick))
    return " ".join(words)


def _pseudoword(pick: Chooser) -> str:
    """Make up a word of two or three syllables that is not in the lexicon."""
    word = "".join(pick(_SYLLABLES) for _ in range(int(pick("23"))))
    return word if word not in _LEXICON_WORDS else word + "o"


def _insert_before_noun(sentence: str, filler: str) -> str:
    words = sentence.split(" ")
    position = next((i for i, w in enumerate(words) if lookup_category(w) is not None), 0)
    return " ".join([*words[:position], filler, *words[position:]])


def _misspell(sentence: str, pick: Chooser) -> str:
    """Misspell one long word: drop or double a letter, or hit the neighboring key."""

    def corrupt(word: str, i: int) -> str:
        keyboard_row = next((r for r in _KEYBOARD_ROWS if word[i] in r), _KEYBOARD_ROWS[0])
        neighbor = keyboard_row[(keyboard_row.find(word[i]) + 1) % len(keyboard_row)]
        return pick((word[:i] + word[i + 1 :], word[:i] + word[i] + word[i:], word[:i] + neighbor + word[i + 1 :]))

    return _corrupt_word(sentence, corrupt, pick)


def _swap_letters(sentence: str, pick: Chooser) -> str:
    """Transpose two letters of one long word."""
    return _corrupt_word(sentence, lambda w, i: w[: i - 1] + w[i] + w[i - 1] + w[i + 1 :], pick)


def _corrupt_word(sentence: str, corrupt: Callable[[str, int], str], pick: Chooser) -> str:
    words = sentence.split(" ")
    long_words = [str(i) for i, w in enumerate(words) if len(w) > 4 and w.isalpha()]
    if not long_words:
        return sentence
    word_index = int(pick(long_words))
    i = int(pick([str(i) for i in range(2, len(words[word_index]))]))  # the first letters are rarely wrong
    corrupted = corrupt(words[word_index], i)
    if corrupted in _LEXICON_WORDS or lookup_category(corrupted) is not None:
        return sentence  # the typo happens to be another known word
    return " ".join([*words[:word_index], corrupted, *words[word_index + 1 :]])


def _apply_template(sentence: str, pick: Chooser) -> str:
    return pick(_TEMPLATES).format(sentence)


def _apply_held_out_template(sentence: str, pick: Chooser) -> str:
    return pick(_HELD_OUT_TEMPLATES).format(sentence)


TRAIN_AUGMENTATIONS: tuple[Augmentation, ...] = (
    _move_color_last,
    _pluralize,
    _misspell,
    _insert_filler,
    _insert_pseudowords,
    _to_comma_list,
    _move_phrase_first,
    _drop_articles,
    _apply_template,
    _change_case,
)
HELD_OUT_AUGMENTATIONS: tuple[Augmentation, ...] = (
    _say_colored,
    _swap_letters,
    _insert_held_out_filler,
    _apply_held_out_template,
)
