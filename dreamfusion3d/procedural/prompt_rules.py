"""Sentences about props, read into a ``Meaning`` by rules.

Reading settles wording, so that paraphrases are one prompt: "a jug with a single handle",
"one-handled pitcher" and "a pitcher with one handle" have the same meaning, token for token.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field

from dreamfusion3d.procedural.categories import HANDLES, KINDS, WOOD, Kind
from dreamfusion3d.procedural.lexicon import (
    BEGINNING,
    COLOUR_WORDS,
    COMPOUNDS,
    COUNTED_WORDS,
    FINISH_WORDS,
    IDLE,
    JOINING,
    NO_SIZE_BEFORE,
    SAYING,
    SIZE_WORDS,
    article,
    kind_of,
    number,
    says,
)
from dreamfusion3d.procedural.materials import FINISHES
from dreamfusion3d.procedural.objects import Meaning

# a picture's, not the prop's
_GROUND = re.compile(r"\b(on|against|with|over) (an? )?(\w+ ){0,3}(background|backdrop)\b")
_PATTERN_NOUNS = ("stripes", "spots", "dots", "checks")
_NONE = ("no", "without", "zero", "0")
_COMPOUND = re.compile(r"\b(" + "|".join(COMPOUNDS) + r")\b")
_LACKING = re.compile(r"\b([a-z]+?)-?less\b")


@dataclass(frozen=True)
class Reading:
    """What a prompt means here. ``meaning`` is None when no noun of this world is in it."""

    meaning: Meaning | None
    unknown: list[str] = field(default_factory=list)  # words that had no effect
    notes: list[str] = field(default_factory=list)  # things asked for that this world cannot do


@dataclass
class _Sentence:
    """The words, the head noun's kind and place, and what has been understood so far."""

    words: list[str]
    kind: Kind
    at: int
    used: set[int]
    notes: list[str] = field(default_factory=list)


def read(prompt: str) -> Reading:
    """The meaning of a prompt, and the words that were not understood."""
    words = split(prompt)
    nouns = [(i, k) for i, w in enumerate(words) if (k := kind_of(w)) is not None]
    if not nouns:
        return Reading(None, [w for w in words if w not in IDLE])
    # the head noun is the last one before the first "with": "pine table" is a table
    joint = next((i for i, w in enumerate(words) if w in JOINING and i > nouns[0][0]), len(words))
    at, kind = [n for n in nouns if n[0] < joint][-1]
    # all of its nouns are used: "a pine tree" is one thing
    s = _Sentence(words, kind, at, {i for i, k in nouns if k is kind})
    count, option = _count(s), _option(s)
    finish = _finish(s)
    colour, second = _colours(s, finish)
    if kind.second is HANDLES and count == 0:
        second = "default"  # "no red handle" is no handle
    size = "normal"
    for i, w in enumerate(words):
        if w in SIZE_WORDS and not NO_SIZE_BEFORE.intersection(words[i + 1 : i + 2]):
            size = SIZE_WORDS[w]
            s.used.add(i)
    s.used |= {i for i, w in enumerate(words) if w in IDLE or says(w, kind.second)}
    unknown = list(dict.fromkeys(w for i, w in enumerate(words) if i not in s.used))
    return Reading(Meaning(kind.name, colour, second, count, size, finish, option), unknown, s.notes)


def split(prompt: str) -> list[str]:
    """Words of letters and digits only, in lower case; compound names and "-less" settled."""
    text = unicodedata.normalize("NFKC", prompt).lower()
    text = re.sub(r"['\u2019]s\b", "", text)
    text = _GROUND.sub("", text)
    text = _LACKING.sub(_lacking, text)
    text = " ".join(re.findall(r"[^\W_]+", text))
    return _COMPOUND.sub(lambda found: COMPOUNDS[found[1]], text).split()


def _lacking(found: re.Match[str]) -> str:
    """"handleless" is "no handle"; of words that no prop has, nothing is changed."""
    part = found[1]
    known = part in COUNTED_WORDS or any(part in kind.option for kind in KINDS.values())
    return f"no {part}" if known else found[0]


def _count(s: _Sentence) -> int:
    """How many handles (legs, tiers): by a number word up to four words before, else as usual."""
    kind, words = s.kind, s.words
    count = kind.counts[0]
    for i, word in enumerate(words):
        mine = says(word, kind.counted)
        if not mine and not (word in COUNTED_WORDS or says(word, HANDLES)):
            continue
        if not mine or kind.counts == (0,):
            if says(word, kind.second) or says(word, kind.option) or kind_of(word):
                continue  # a hammer's handle is its second part
            if not mine and not says(word, HANDLES):
                continue
        s.used.add(i)
        # a number before the noun counts props: "one vase with handles"
        first = max(i - 4, s.at + 1 if s.at < i else 0)
        near = [j for j in range(first, i) if number(words[j]) is not None]
        # "a pair of handles": the larger number wins over the article
        stated = [n for j in near if words[j] not in ("a", "an") and (n := number(words[j])) is not None]
        if stated:
            count = stated[-1]
        elif kind.counted is HANDLES:
            count = 2 if word.endswith("s") else 1
        elif s.at < i and any(words[j] in ("a", "an") for j in near[-1:]) and 1 in kind.counts:
            count = 1
        s.used |= set(near)
        break
    return _existing(s, count)


def _existing(s: _Sentence, count: int) -> int:
    """The count nearest to ``count`` that the kind comes with, and a note where it is another."""
    kind = s.kind
    if count in kind.counts:
        return count
    what = kind.counted[:2] if kind.counts != (0,) else HANDLES[:2]
    possible = " or ".join(str(h) for h in sorted(kind.counts))
    nearest = min(kind.counts, key=lambda c: abs(c - count))
    s.notes.append(
        f"{article(kind.name)} {kind.name} comes with {possible} {what[possible != '1']} here, "
        f"not {count}: making {nearest}"
    )
    return nearest


def _option(s: _Sentence) -> bool:
    """Whether the kind's optional part is there: "with a lid", "lidded", "no lid"."""
    there = s.kind.usually
    for i, word in enumerate(s.words):
        if not says(word, s.kind.option):
            continue
        s.used.add(i)
        near = [j for j in range(max(i - 3, 0), i) if s.words[j] in _NONE]
        s.used |= set(near)
        there = not near
    return there


def _finish(s: _Sentence) -> str:
    for i, word in enumerate(s.words):
        finish = FINISH_WORDS.get(word)
        if finish is None or says(word, s.kind.second):
            continue
        s.used.add(i)
        other = None if word in _PATTERN_NOUNS else _elsewhere(s, i)
        if other is not None:
            if not (finish == "wooden" and s.kind.natural_second == WOOD and says(other, s.kind.second)):
                s.notes.append(f"only the whole can be {word} here, not the {other} alone")
            continue
        if finish in s.kind.finishes:
            return finish
        if finish == "wooden" and s.kind.natural == WOOD:
            continue
        s.notes.append(f"{article(s.kind.name)} {s.kind.name} is not {finish} here: making it plain")
    return "plain"


def _colours(s: _Sentence, finish: str) -> tuple[str, str]:
    """Colours of part A and part B: a colour word belongs to the part word or noun that follows it
    ("red handled mug", "mug with a red handle"), or to a part that it is said of ("handle is red").
    A colour of anything else ("on a white table") is named and left."""
    colour, second = "natural", "default"
    for i, word in enumerate(s.words):
        if word not in COLOUR_WORDS:
            continue
        s.used.add(i)
        named = COLOUR_WORDS[word]
        if _of_part(s.words, i, s.kind):
            second = named
        elif _of_pattern(s.words, i, alone=True):
            continue  # "white stripes": a pattern's second colour is its own
        elif (other := _elsewhere(s, i)) is not None:
            s.notes.append(f"the {other} has no colour of its own here: {word} is left out")
        elif colour == "natural":
            colour = named
        elif FINISHES[finish].shift is None and _of_pattern(s.words, i):
            continue  # "red and white striped"
        elif second == "default":
            second = named
    return colour, second


def _elsewhere(s: _Sentence, i: int) -> str | None:
    """The noun after the adjective at ``i``, where that is neither the prop nor its part B: another
    part, another thing; None where the adjective is the prop's own."""
    if i < s.at:
        return None
    for word in s.words[i + 1 : i + 4]:
        if word in COLOUR_WORDS or word in SIZE_WORDS or word in FINISH_WORDS or word in ("and", "polka"):
            continue
        if kind_of(word) is s.kind or word in IDLE or word in BEGINNING or number(word) is not None:
            return None
        return word
    return None


def _of_pattern(words: list[str], i: int, *, alone: bool = False) -> bool:
    """Whether the colour at ``i`` is that of stripes; ``alone``: said of nothing else ("white stripes")."""
    after = words[i + 1 : i + 2]
    if alone:
        return bool(after) and (after[0] in _PATTERN_NOUNS or words[i + 1 : i + 3] == ["polka", "dots"])
    return bool(after) and (after[0] in FINISH_WORDS or after[0] == "polka")


def _of_part(words: list[str], i: int, kind: Kind) -> bool:
    """Whether the colour word at ``i`` is about part B."""
    for word in words[i + 1 : i + 4]:
        if says(word, kind.second):
            return True
        # "red two handle vase", "in red with a handle": something else begins
        if kind_of(word) or number(word) is not None or word in BEGINNING:
            return False
    said = False
    for word in reversed(words[max(i - 4, 0) : i]):
        if says(word, kind.second):
            return said
        said |= word in SAYING
        if word not in IDLE:
            break
    return False
