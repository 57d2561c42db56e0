"""A prompt's meaning: by the rules where they know every word, or knew it but for a slip of the
hand; by the network where they do not."""

from __future__ import annotations

import dataclasses
import difflib

import torch

from dreamfusion3d.prior.words import Reader, Understood
from dreamfusion3d.procedural.captions import caption
from dreamfusion3d.procedural.kinds import KINDS
from dreamfusion3d.procedural.reading import Reading, read, split
from dreamfusion3d.procedural.spelling import corrected
from dreamfusion3d.procedural.wording import (
    COLOUR_WORDS,
    COMPOUNDS,
    FINISH_WORDS,
    NUMBER_WORDS,
    SIZE_WORDS,
    kind_of,
)
from dreamfusion3d.procedural.world import Meaning

SURE = 0.8  # of the network's least certain slot
ALIKE = 0.75  # difflib's ratio of a misspelt word to the right one


def understand(prompt: str, words: Reader | None) -> Reading:
    """What the rules read (``procedural.reading``). Where they do not know a word, it is tried as
    one with a slip of the hand; then the network is asked. What was changed is named in a note."""
    reading = read(prompt)
    if reading.meaning is not None and not reading.unknown:
        return reading
    guess = words.understand([prompt])[0] if words else None
    spelt = _respelt(prompt, reading, guess)
    if spelt is not None and not spelt.unknown:
        return spelt
    best = spelt or reading
    return best if guess is None else _guessed(prompt, best, guess)


def _respelt(prompt: str, reading: Reading, guess: Understood | None) -> Reading | None:
    """The rules' reading with unknown words corrected, or None when there was nothing to correct."""
    changed = {}
    for word in reading.unknown:
        found = corrected(word)
        if found is None:
            continue
        right, replaced = found
        kind = kind_of(right)
        # "horse" is one letter from "house": where a wrong letter makes the noun, the network must agree
        agreed = guess is not None and guess.meaning is not None and kind is KINDS[guess.meaning.kind]
        if not replaced or kind is None or agreed:
            changed[word] = right
    if not changed:
        return None
    again = read(" ".join(changed.get(w, w) for w in split(prompt)))
    if again.meaning is None:
        return None
    notes = [f"read {right!r} for {word!r}" for word, right in changed.items()]
    return Reading(again.meaning, again.unknown, [*again.notes, *notes])


def _guessed(prompt: str, reading: Reading, guess: Understood) -> Reading:
    """The network's reading, if it is sure and a word of the prompt bears it out: "mushrum" may be a
    mushroom, "hamburger" is no hammer."""
    if guess.meaning is None or guess.confidence < SURE or guess.meaning == reading.meaning:
        return reading
    spelt = {w: near for w in reading.unknown if (near := _near(w, guess.meaning))}
    if not spelt:
        return reading
    if reading.meaning is None:
        nouns = {guess.meaning.kind, *KINDS[guess.meaning.kind].nouns}
        if not any(w[0] == near[0] for w in split(prompt) if (near := _close(w, nouns))):
            return reading
        meaning = guess.meaning
    elif guess.meaning.kind != reading.meaning.kind:
        return reading
    else:
        meaning = _filled(reading.meaning, guess.meaning)
        if meaning == reading.meaning:
            return reading
    said = caption(meaning, generator=torch.Generator().manual_seed(0), plain=True)
    unknown = [w for w in reading.unknown if w not in spelt]
    return Reading(meaning, unknown if reading.meaning else [], [*reading.notes, f"read as: {said}"])


def _filled(rules: Meaning, network: Meaning) -> Meaning:
    """The rules' meaning, with the network's values where the rules found nothing said."""
    usual = Meaning(rules.kind, count=KINDS[rules.kind].counts[0], option=KINDS[rules.kind].usually)
    changed = {
        f.name: getattr(network, f.name) for f in dataclasses.fields(Meaning)
        if getattr(rules, f.name) == getattr(usual, f.name)
    }
    return dataclasses.replace(rules, **changed)


def _near(word: str, meaning: Meaning) -> str | None:
    """The word that a meaning could be said with which is most like ``word``."""
    kind = KINDS[meaning.kind]
    saying = {kind.name, *kind.nouns, *kind.second, *kind.counted, *kind.option, *NUMBER_WORDS}
    for table, value in (
        (COLOUR_WORDS, meaning.colour), (COLOUR_WORDS, meaning.second_colour), (SIZE_WORDS, meaning.size),
        (FINISH_WORDS, meaning.finish),
    ):
        saying |= {w for w, v in table.items() if v == value}
    saying |= {piece for name in COMPOUNDS for piece in name.split()}
    return _close(word, saying)


def _close(word: str, known: set[str]) -> str | None:
    found = difflib.get_close_matches(word, sorted(known), n=1, cutoff=ALIKE)
    return found[0] if found else None
