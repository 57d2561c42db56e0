"""Sentences about props: written by a small grammar, and read back into a ``Meaning``.

Reading settles wording, so that paraphrases are one prompt: "a jug with a single handle",
"one-handled pitcher" and "a pitcher with one handle" have the same meaning, token for token.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import torch

from dreamfusion3d.procedural.world import COLOURS, KINDS, SIZES, Kind, Meaning

COLOUR_WORDS = {c: c for c in COLOURS} | {
    "gray": "grey", "turquoise": "cyan", "teal": "cyan", "aqua": "cyan", "violet": "purple", "magenta": "pink",
    "scarlet": "red", "crimson": "red", "golden": "yellow", "gold": "yellow", "navy": "blue", "silver": "grey",
    "wooden": "brown", "wood": "brown", "ivory": "white", "rose": "pink",
}
_WOOD_WORDS = ("wooden", "wood")
SIZE_WORDS = {
    "tall": "tall", "high": "tall", "slender": "tall", "short": "short", "low": "short", "squat": "short",
    "wide": "wide", "broad": "wide", "fat": "wide", "small": "small", "little": "small", "tiny": "small",
    "mini": "small", "miniature": "small",
}
NUMBER_WORDS = {
    "no": 0, "without": 0, "zero": 0, "0": 0, "a": 1, "an": 1, "one": 1, "single": 1, "1": 1, "sole": 1, "lone": 1,
    "two": 2, "2": 2, "both": 2, "double": 2, "pair": 2, "twin": 2, "couple": 2,
    "three": 3, "3": 3, "triple": 3, "four": 4, "4": 4,
}
HANDLE_WORDS = {"handle", "handles", "handled", "ear", "ears", "eared"}
JOINING = {"with", "having", "featuring", "has", "wearing", "without", "on"}
IDLE = {
    "a", "an", "the", "of", "with", "and", "is", "that", "which", "has", "have", "having", "its", "in", "on", "made",
    "painted", "coloured", "colored", "colour", "color", "single", "photo", "picture", "image", "render", "model",
    "3d", "asset", "object", "featuring", "nice", "simple", "plain", "cute", "some", "one", "normal", "wearing", "from",
    "please", "make", "me", "it", "just", "only", "exactly",
}
_NOUNS = {noun: kind for kind in KINDS.values() for noun in (kind.name, *kind.nouns)}


@dataclass(frozen=True)
class Reading:
    """What a prompt means here. ``meaning`` is None when no noun of this world is in it."""

    meaning: Meaning | None
    unknown: list[str] = field(default_factory=list)  # words that had no effect
    notes: list[str] = field(default_factory=list)  # things asked for that this world cannot do


def read(prompt: str) -> Reading:
    """The meaning of a prompt, and the words that were not understood."""
    words = re.findall(r"[^\W_]+", prompt.lower().replace("handleless", "no handle"))
    words = [w for w in words if w]
    kinds = [(i, _kind_of(w)) for i, w in enumerate(words)]
    nouns = [(i, k) for i, k in kinds if k is not None]
    if not nouns:
        return Reading(None, [w for w in words if w not in IDLE])
    # the head noun is the last one before the first "with": "pine table" is a table
    joint = next((i for i, w in enumerate(words) if w in JOINING and i > nouns[0][0]), len(words))
    at, kind = [n for n in nouns if n[0] < joint][-1]
    used = {at}
    notes: list[str] = []
    handles = _handles(words, kind, used, notes)
    colour, second = _colours(words, kind, at, used)
    size = "normal"
    for i, w in enumerate(words):
        if w in SIZE_WORDS:
            size = SIZE_WORDS[w]
            used.add(i)
    used |= {i for i, w in enumerate(words) if w in kind.second or w in IDLE}
    unknown = list(dict.fromkeys(w for i, w in enumerate(words) if i not in used))
    return Reading(Meaning(kind.name, colour, second, handles, size), unknown, notes)


def _kind_of(word: str) -> Kind | None:
    for form in (word, word.removesuffix("s"), word.removesuffix("es")):
        if form in _NOUNS:
            return _NOUNS[form]
    return {"snowmen": KINDS["snowman"]}.get(word)


def _handles(words: list[str], kind: Kind, used: set[int], notes: list[str]) -> int:
    """The number of handles: by a number word up to three words before "handle", else by the kind."""
    count = kind.handles[0]
    for i, word in enumerate(words):
        if word not in HANDLE_WORDS:
            continue
        used.add(i)
        near = [j for j in range(max(0, i - 4), i) if words[j] in NUMBER_WORDS]
        # "a pair of handles": the larger number wins over the article
        stated = [NUMBER_WORDS[words[j]] for j in near if words[j] not in ("a", "an")]
        if stated:
            count = stated[-1]
        elif word.endswith("s") and not near:
            count = 2
        else:
            count = 1
        used |= set(near)
        break
    if count not in kind.handles:
        possible = " or ".join(str(h) for h in sorted(kind.handles))
        notes.append(f"a {kind.name} comes with {possible} handles here, not {count}")
        count = min(kind.handles, key=lambda h: abs(h - count))
    return count


def _colours(words: list[str], kind: Kind, at: int, used: set[int]) -> tuple[str, str]:
    """Colours of part A and part B: a colour word belongs to the part word or noun that follows it."""
    colour, second = "natural", "default"
    for i, word in enumerate(words):
        if word not in COLOUR_WORDS:
            continue
        used.add(i)
        named = COLOUR_WORDS[word]
        if word in _WOOD_WORDS and kind.natural == KINDS["table"].natural:
            continue  # it is of wood already
        following = next((w for w in words[i + 1 : i + 4] if w in kind.second or _kind_of(w)), None)
        if following in kind.second and i > at or (following in kind.second and colour != "natural"):
            second = named
        elif colour == "natural":
            colour = named
        elif second == "default":
            second = named
    return colour, second


_TEMPLATES = ("{article} {size}{colour}{noun}{rest}", "{size}{colour}{noun}{rest}", "the {size}{colour}{noun}{rest}")
_COUNTED = {
    0: (" without handles", " with no handle", " with no handles"),
    1: (" with one handle", " with a handle", " with a single handle"),
    2: (" with two handles", " with a pair of handles"),
}


def caption(meaning: Meaning, *, generator: torch.Generator) -> str:
    """A sentence with that meaning, its wording drawn at random."""

    def pick(options: tuple[str, ...] | list[str]) -> str:
        return options[int(torch.randint(len(options), (), generator=generator))]

    kind = KINDS[meaning.kind]
    size = "" if meaning.size == "normal" else pick([w for w, s in SIZE_WORDS.items() if s == meaning.size]) + " "
    colour = "" if meaning.colour == "natural" else meaning.colour + " "
    noun = pick([kind.name, *kind.nouns])
    rest = ""
    if len(kind.handles) > 1:
        if meaning.handles != kind.handles[0] or pick(("say", "leave")) == "say":
            rest = pick(_COUNTED[meaning.handles])
    if meaning.second_colour in COLOURS and not (kind.second[0] == "handle" and meaning.handles == 0):
        part = kind.second[0]
        if part == "handle":
            rest = f" with {('no', 'one', 'two')[meaning.handles]} {meaning.second_colour} "
            rest += "handle" if meaning.handles == 1 else "handles"
        else:
            rest += f"{' and' if rest else ' with'} a {meaning.second_colour} {part}"
    first = (size + colour + noun)[0]
    return pick(_TEMPLATES).format(
        article="an" if first in "aeiou" else "a", size=size, colour=colour, noun=noun, rest=rest
    )


def world_summary() -> str:
    """One line for error messages: every kind."""
    return ", ".join(sorted(KINDS))


__all__ = ["Reading", "caption", "read", "world_summary", "SIZES"]
