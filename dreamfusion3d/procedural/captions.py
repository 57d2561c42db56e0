"""Sentences about props: written by a small grammar, and read back into a ``Meaning``.

Reading settles wording, so that paraphrases are one prompt: "a jug with a single handle",
"one-handled pitcher" and "a pitcher with one handle" have the same meaning, token for token.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field

import torch

from dreamfusion3d.procedural.world import COLOURS, KINDS, SIZES, Kind, Meaning

COLOUR_WORDS = {c: c for c in COLOURS} | {
    "gray": "grey", "turquoise": "cyan", "teal": "cyan", "aqua": "cyan", "violet": "purple",
    "magenta": "pink", "scarlet": "red", "crimson": "red", "golden": "yellow", "gold": "yellow",
    "navy": "blue", "silver": "grey", "wooden": "brown", "wood": "brown", "ivory": "white", "rose": "pink",
}
_WOOD_WORDS = ("wooden", "wood")
SIZE_WORDS = {
    "tall": "tall", "high": "tall", "slender": "tall", "short": "short", "low": "short", "squat": "short",
    "wide": "wide", "broad": "wide", "fat": "wide", "small": "small", "little": "small", "tiny": "small",
    "mini": "small", "miniature": "small",
}
# "low poly", "high quality": of the model, not of the prop
_NO_SIZE_BEFORE = {"poly", "polygon", "quality", "detail", "detailed", "resolution", "definition", "end"}
NUMBER_WORDS = {
    "no": 0, "without": 0, "zero": 0, "a": 1, "an": 1, "one": 1, "single": 1, "sole": 1, "lone": 1,
    "two": 2, "both": 2, "double": 2, "pair": 2, "twin": 2, "couple": 2, "three": 3, "triple": 3,
    "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
}
HANDLE_WORDS = {"handle", "handles", "handled", "ear", "ears", "eared"}
JOINING = {"with", "having", "featuring", "has", "wearing", "without", "on"}
IDLE = {
    "a", "an", "the", "of", "with", "and", "is", "that", "which", "has", "have", "having", "its", "in", "on",
    "made", "painted", "coloured", "colored", "colour", "color", "single", "photo", "picture", "image",
    "render", "model", "3d", "asset", "object", "featuring", "nice", "simple", "plain", "cute", "some", "one",
    "normal", "wearing", "from", "please", "make", "me", "it", "just", "only", "exactly",
    "body", "are", "whose",
}
_BEGINNING = JOINING | {"and", "the", "of", "its", "in", "is", "are"}
_SAYING = {"is", "are", "painted", "coloured", "colored", "in"}
_NOUNS = {noun: kind for kind in KINDS.values() for noun in (kind.name, *kind.nouns)}


@dataclass(frozen=True)
class Reading:
    """What a prompt means here. ``meaning`` is None when no noun of this world is in it."""

    meaning: Meaning | None
    unknown: list[str] = field(default_factory=list)  # words that had no effect
    notes: list[str] = field(default_factory=list)  # things asked for that this world cannot do


def read(prompt: str) -> Reading:
    """The meaning of a prompt, and the words that were not understood."""
    words = _words(prompt)
    kinds = [(i, _kind_of(w)) for i, w in enumerate(words)]
    nouns = [(i, k) for i, k in kinds if k is not None]
    if not nouns:
        return Reading(None, [w for w in words if w not in IDLE])
    # the head noun is the last one before the first "with": "pine table" is a table
    joint = next((i for i, w in enumerate(words) if w in JOINING and i > nouns[0][0]), len(words))
    at, kind = [n for n in nouns if n[0] < joint][-1]
    used = {i for i, k in nouns if k is kind}  # all of them: "a pine tree" is one thing
    notes: list[str] = []
    handles = _handles(words, kind, at, used, notes)
    colour, second = _colours(words, kind, used)
    if kind.second[0] == "handle" and handles == 0:
        second = "default"  # "no red handle" is no handle
    size = "normal"
    for i, w in enumerate(words):
        if w in SIZE_WORDS and not _NO_SIZE_BEFORE.intersection(words[i + 1 : i + 2]):
            size = SIZE_WORDS[w]
            used.add(i)
    used |= {i for i, w in enumerate(words) if w in IDLE or _is_part(w, kind)}
    unknown = list(dict.fromkeys(w for i, w in enumerate(words) if i not in used))
    return Reading(Meaning(kind.name, colour, second, handles, size), unknown, notes)


def _words(prompt: str) -> list[str]:
    """Letters and digits only, in lower case; every wording of "without a handle" alike."""
    text = unicodedata.normalize("NFKC", prompt).lower()
    text = re.sub(r"['\u2019]s\b", "", text)
    text = re.sub(r"\bhandle-?less\b", "no handle", text)
    return re.findall(r"[^\W_]+", text)


def _number(word: str) -> int | None:
    return int(word) if word.isdecimal() and len(word) < 10 else NUMBER_WORDS.get(word)


def _kind_of(word: str) -> Kind | None:
    for form in (word, word.removesuffix("s"), word.removesuffix("es")):
        if form in _NOUNS:
            return _NOUNS[form]
    return {"snowmen": KINDS["snowman"]}.get(word)


def _handles(words: list[str], kind: Kind, at: int, used: set[int], notes: list[str]) -> int:
    """The number of handles: by a number word up to four words before "handle", else by the kind."""
    count = kind.handles[0]
    for i, word in enumerate(words):
        if word not in HANDLE_WORDS:
            continue
        used.add(i)
        # a number before the noun counts props: "one vase with handles"
        first = max(i - 4, at + 1 if at < i else 0)
        near = [j for j in range(first, i) if _number(words[j]) is not None]
        # "a pair of handles": the larger number wins over the article
        stated = [n for j in near if words[j] not in ("a", "an") and (n := _number(words[j])) is not None]
        if stated:
            count = stated[-1]
        else:
            count = 2 if word.endswith("s") else 1
        used |= set(near)
        break
    if count not in kind.handles:
        possible = " or ".join(str(h) for h in sorted(kind.handles))
        nearest = min(kind.handles, key=lambda h: abs(h - count))
        notes.append(
            f"a {kind.name} comes with {possible} {'handle' if possible == '1' else 'handles'} here, "
            f"not {count}: making {nearest}"
        )
        count = nearest
    return count


def _colours(words: list[str], kind: Kind, used: set[int]) -> tuple[str, str]:
    """Colours of part A and part B: a colour word belongs to the part word or noun that follows it
    ("red handled mug", "mug with a red handle"), or to a part that it is said of ("handle is red")."""
    colour, second = "natural", "default"
    for i, word in enumerate(words):
        if word not in COLOUR_WORDS:
            continue
        used.add(i)
        named = COLOUR_WORDS[word]
        if word in _WOOD_WORDS and kind.natural == KINDS["table"].natural:
            continue  # it is of wood already
        if _of_part(words, i, kind):
            second = named
        elif colour == "natural":
            colour = named
        elif second == "default":
            second = named
    return colour, second


def _of_part(words: list[str], i: int, kind: Kind) -> bool:
    """Whether the colour word at ``i`` is about part B."""
    for word in words[i + 1 : i + 4]:
        if _is_part(word, kind):
            return True
        # "red two handle vase", "in red with a handle": something else begins
        if _kind_of(word) or _number(word) is not None or word in _BEGINNING:
            return False
    said = False
    for word in reversed(words[max(i - 4, 0) : i]):
        if _is_part(word, kind):
            return said
        said |= word in _SAYING
        if word not in IDLE:
            break
    return False


def _is_part(word: str, kind: Kind) -> bool:
    """"handle" and "handles"; "handled", "lidded" and "stemmed" too."""
    base = word.removesuffix("ed")
    single = base[:-1] if base[-1:] == base[-2:-1] else base
    return any(form in kind.second for form in (word, word.removesuffix("d"), base, single))


_TEMPLATES = tuple(start + "{size}{colour}{noun}{rest}" for start in ("{article} ", "", "the "))
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
    sizes = [w for w, s in SIZE_WORDS.items() if s == meaning.size]
    size = "" if meaning.size == "normal" else pick(sizes) + " "
    colour = "" if meaning.colour == "natural" else meaning.colour + " "
    noun = pick([kind.name, *kind.nouns])
    rest = ""
    usual = meaning.handles == kind.handles[0]
    if len(kind.handles) > 1 and (not usual or pick(("say", "leave")) == "say"):
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
