"""Rewrites of captions that keep their meaning (ContraCode, arXiv 2007.04973: programs that mean
the same, made by a compiler's transformations; here sentences that mean the same), and sentences
about things that are not of this world.

Two families are named apart: ``TRAINING`` teaches the encoder of prompts, ``KEPT_OUT`` is never
shown to it and measures whether it generalises.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import torch

from dreamfusion3d.procedural.lexicon import COLOUR_WORDS, FINISH_WORDS, NOUNS, SIZE_WORDS, kind_of
from dreamfusion3d.procedural.objects import COLOURS

Pick = Callable[[Sequence[str]], str]
Rewrite = Callable[[str, Pick], str]

_KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_STARTS = ("a 3d model of {}", "please make {}", "make me {}", "an image of {}", "{}, game asset",
           "{}, low poly",
           "{} for a video game", "i want {}", "render of {}", "a picture of {}, high quality")
_STARTS_KEPT_OUT = ("could you build {} for my scene?", "{} on a white background", "generate {} in 3d",
                    "we need {} as a prop", "a detailed asset: {}")
_FILLERS = ("rustic", "old", "nice", "beautiful", "fancy", "pretty", "medieval", "ancient", "shiny", "simple",
            "realistic", "cartoon", "stylised", "classic", "modern")
_FILLERS_KEPT_OUT = ("lovely", "weathered", "charming", "ornate", "typical", "unused", "handmade")
# things that no kind of the world is
_ELSEWHERE = tuple(
    "hamburger cat dog horse dragon phone laptop guitar piano bicycle train helicopter castle "
    "bridge mountain "
    "river cloud person man woman child knight wizard elephant lion tiger bear monkey fish shark bird eagle "
    "spider pizza sandwich burger fries banana orange grape strawberry lemon bread cheese egg steak "
    "sushi shoe "
    "boot shirt dress jacket glove ring necklace watch clock mirror window door carpet curtain pillow fridge "
    "oven toaster microwave television radio camera telescope microscope skull bone ghost alien "
    "zombie".split()
)
_ELSEWHERE_KEPT_OUT = tuple(
    "motorcycle tractor violin drum trumpet giraffe penguin whale turtle frog hotdog taco waffle "
    "cherry onion "
    "backpack wallet scarf sandal notebook pencil scissors wrench drill statue fountain volcano "
    "island".split()
)
_WORDS = set(NOUNS) | set(COLOUR_WORDS) | set(SIZE_WORDS) | set(FINISH_WORDS)


_SYLLABLES = tuple(
    "ba cor del fin gra ha jin kel lo mer nu or pla qui ran sto ter ul ver wis xen ya zo che bri amp ick ous "
    "ing ly".split()
)



def rewrite(sentence: str, *, generator: torch.Generator, kept_out: bool = False) -> str:
    """The sentence in other words, by one to three of the rewrites of a family."""

    def pick(options: Sequence[str]) -> str:
        return options[int(torch.randint(len(options), (), generator=generator))]

    family = KEPT_OUT if kept_out else TRAINING
    order = torch.randperm(len(family), generator=generator)
    # each has its place: words are exchanged before the sentence is wrapped
    chosen = sorted(order[: 1 + int(torch.randint(3, (), generator=generator))].tolist())
    for i in chosen:
        sentence = family[i](sentence, pick)
    return sentence


def elsewhere(*, generator: torch.Generator, kept_out: bool = False) -> str:
    """A sentence about something that is not of this world, in this world's colours and sizes."""

    def pick(options: Sequence[str]) -> str:
        return options[int(torch.randint(len(options), (), generator=generator))]

    noun = pick(_ELSEWHERE_KEPT_OUT if kept_out else _ELSEWHERE)
    if not kept_out and pick(("known", "unknown")) == "unknown":
        noun = _invented(pick)
    adjective = pick(("", "", *COLOURS, *SIZE_WORDS, "wooden", "striped"))
    ending = pick(("", "", " with two handles", " with a red lid", " with one handle", " with legs"))
    return f"{pick(('a', 'the', 'one', ''))} {adjective} {noun}{ending}".replace("  ", " ").strip()


def _shortened(sentence: str, pick: Pick) -> str:
    """Articles left out."""
    return re.sub(r"\b(a|an|the) ", "", sentence)


def _plural(sentence: str, pick: Pick) -> str:
    """The first noun in the plural."""
    words = sentence.split(" ")
    for i, word in enumerate(words):
        if word in NOUNS:
            words[i] = word + ("es" if word.endswith(("s", "sh", "ch", "x")) else "s")
            break
    return " ".join(words)


def _case(sentence: str, pick: Pick) -> str:
    return pick((sentence.upper(), sentence.capitalize(), sentence.title()))


def _listed(sentence: str, pick: Pick) -> str:
    """"a red mug with one handle" as "mug, red, one handle"."""
    head, _, tail = sentence.partition(" with ")
    words = head.split()
    return ", ".join([words[-1], *words[:-1], *([tail] if tail else [])]) if words[-1] in NOUNS else sentence


def _turned(sentence: str, pick: Pick) -> str:
    """"a mug with one handle" as "with one handle, a mug"."""
    head, joint, tail = sentence.partition(" with ")
    return f"with {tail}, {head}" if joint else sentence


def _late_colour(sentence: str, pick: Pick) -> str:
    """"a red mug" as "a mug in red", "a mug painted red"."""
    return _moved_colour(sentence, pick(("in {}", "painted {}", "that is {}")))


def _coloured(sentence: str, pick: Pick) -> str:
    """"a red mug" as "a mug coloured red", "a mug of red colour"."""
    return _moved_colour(sentence, pick(("coloured {}", "colored {}", "of {} color")))


def _moved_colour(sentence: str, form: str) -> str:
    words = sentence.split(" ")
    for i, word in enumerate(words):
        if word in ("with", "that", "without"):
            break
        if word in COLOURS:
            for j in range(i + 1, len(words)):
                if kind_of(words[j]) is not None:
                    moved = [*words[:i], *words[i + 1 : j + 1], form.format(word), *words[j + 1 :]]
                    return " ".join(moved)
            break
    return sentence


def _filled(sentence: str, pick: Pick) -> str:
    return _before_noun(sentence, pick(_FILLERS))


def _filled_kept_out(sentence: str, pick: Pick) -> str:
    return _before_noun(sentence, pick(_FILLERS_KEPT_OUT))


def _babbled(sentence: str, pick: Pick) -> str:
    """One or two words that nobody knows: they mean nothing here, wherever they stand."""
    words = sentence.split(" ")
    for _ in range(int(pick(("1", "2")))):
        place = int(pick([str(i) for i in range(len(words) + 1)]))
        words.insert(place, _invented(pick))
    return " ".join(words)


def _invented(pick: Pick) -> str:
    """A word of two or three syllables that is none of this world's."""
    word = "".join(pick(_SYLLABLES) for _ in range(int(pick(("2", "3")))))
    return word if word not in _WORDS else word + "o"


def _before_noun(sentence: str, filler: str) -> str:
    words = sentence.split(" ")
    place = next((i for i, w in enumerate(words) if kind_of(w) is not None), 0)
    return " ".join([*words[:place], filler, *words[place:]])


def _misspelt(sentence: str, pick: Pick) -> str:
    """One long word with a letter missing, doubled, or exchanged for its neighbour on the keyboard."""

    def wrong(word: str, i: int) -> str:
        row = next((r for r in _KEYS if word[i] in r), _KEYS[0])
        near = row[(row.find(word[i]) + 1) % len(row)]
        return pick((
            word[:i] + word[i + 1 :], word[:i] + word[i] + word[i:], word[:i] + near + word[i + 1 :]
        ))

    return _spoil(sentence, wrong, pick)


def _swapped(sentence: str, pick: Pick) -> str:
    """One long word with two neighbouring letters exchanged."""
    return _spoil(sentence, lambda w, i: w[: i - 1] + w[i] + w[i - 1] + w[i + 1 :], pick)


def _spoil(sentence: str, wrong: Callable[[str, int], str], pick: Pick) -> str:
    words = sentence.split(" ")
    long = [str(i) for i, w in enumerate(words) if len(w) > 4 and w.isalpha()]
    if not long:
        return sentence
    at = int(pick(long))
    i = int(pick([str(i) for i in range(2, len(words[at]))]))  # the first letters are seldom wrong
    spoilt = wrong(words[at], i)
    if spoilt in _WORDS or kind_of(spoilt) is not None:
        return sentence  # it would mean something else
    return " ".join([*words[:at], spoilt, *words[at + 1 :]])


def _wrapped(sentence: str, pick: Pick) -> str:
    return pick(_STARTS).format(sentence)


def _wrapped_kept_out(sentence: str, pick: Pick) -> str:
    return pick(_STARTS_KEPT_OUT).format(sentence)


TRAINING: tuple[Rewrite, ...] = (
    _late_colour, _plural, _misspelt, _filled, _babbled, _listed, _turned, _shortened, _wrapped, _case,
)
KEPT_OUT: tuple[Rewrite, ...] = (_coloured, _swapped, _filled_kept_out, _wrapped_kept_out)
