"""A prompt's meaning: by the rules where they know every word, or knew it but for a slip of the
hand; by the network where they do not."""

from __future__ import annotations

import dataclasses
import difflib

import torch

from dreamfusion3d.priors.pixel.text_encoder import Reader, Understood
from dreamfusion3d.procedural.captions import caption
from dreamfusion3d.procedural.categories import KINDS
from dreamfusion3d.procedural.lexicon import COLOUR_WORDS, FINISH_WORDS, SIZE_WORDS
from dreamfusion3d.procedural.objects import Meaning, usual
from dreamfusion3d.procedural.prompt_rules import Reading, read, split
from dreamfusion3d.procedural.spelling import corrected

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
    """The rules' reading with unknown words corrected, or None when there was nothing to correct.

    Where a slip alone is no evidence ("horse" is one letter from "house"), the network must agree
    with what it changes.
    """
    changed = {w: found for w in reading.unknown if (found := corrected(w)) is not None}
    again = _read_with(prompt, {w: right for w, (right, _) in changed.items()})
    kept = {}
    for word, (right, enough) in changed.items():
        alone = _read_with(prompt, {w: r for w, (r, _) in changed.items() if w != word})
        if right in again.unknown or again.meaning is None or again.meaning == alone.meaning:
            continue  # the correction says nothing
        if enough or (guess is not None and _agrees(guess.meaning, again.meaning, alone.meaning)):
            kept[word] = right
    if not kept:
        return None
    final = _read_with(prompt, kept)
    notes = [f"read {right!r} for {word!r}" for word, right in kept.items()]
    return Reading(final.meaning, final.unknown, [*final.notes, *notes]) if final.meaning else None


def _read_with(prompt: str, instead: dict[str, str]) -> Reading:
    return read(" ".join(instead.get(w, w) for w in split(prompt)))


def _agrees(network: Meaning | None, after: Meaning, before: Meaning | None) -> bool:
    """Whether the network says what a correction changed."""
    if network is None or network.kind != after.kind:
        return False
    if before is None or before.kind != after.kind:
        return True
    names = [f.name for f in dataclasses.fields(Meaning)]
    return all(
        getattr(network, n) == getattr(after, n) for n in names if getattr(after, n) != getattr(before, n)
    )


def _guessed(prompt: str, reading: Reading, guess: Understood) -> Reading:
    """The network's reading of what is left, if it is sure, slot by slot where an unknown word bears it
    out: "mushrum" may be a mushroom, "hamburger" is no hammer."""
    if guess.meaning is None or guess.confidence < SURE:
        return reading
    kind, base, spelt = KINDS[guess.meaning.kind], reading, {}
    if reading.meaning is None:
        nouns = {kind.name, *kind.nouns}
        near = {w: found for w in reading.unknown if (found := _close(w, nouns)) and found[0] == w[0]}
        if not near:
            return reading
        word = next(iter(near))
        base = _read_with(prompt, {word: kind.name})
        spelt[word] = kind.name
    if base.meaning is None or base.meaning.kind != guess.meaning.kind:
        return reading
    meaning = base.meaning
    for slot, words in _saying(guess.meaning).items():
        for word in base.unknown:
            unsaid = getattr(meaning, slot) == getattr(usual(meaning.kind), slot)
            if unsaid and (found := _close(word, words)):
                meaning = dataclasses.replace(meaning, **{slot: getattr(guess.meaning, slot)})
                spelt[word] = found
    if meaning == reading.meaning:
        return reading
    said = caption(meaning, generator=torch.Generator().manual_seed(0), plain=True)
    unknown = [w for w in base.unknown if w not in spelt]
    return Reading(meaning, unknown, [*base.notes, f"read as: {said}"])


def _saying(meaning: Meaning) -> dict[str, set[str]]:
    """For each slot, the words that would say its value."""

    def of(table: dict[str, str], value: str) -> set[str]:
        return {w for w, v in table.items() if v == value}

    kind = KINDS[meaning.kind]
    return {
        "colour": of(COLOUR_WORDS, meaning.colour), "second_colour": of(COLOUR_WORDS, meaning.second_colour),
        "size": of(SIZE_WORDS, meaning.size), "finish": of(FINISH_WORDS, meaning.finish),
        "count": set(kind.counted), "option": set(kind.option),
    }


def _close(word: str, known: set[str]) -> str | None:
    """The word of ``known`` that an unknown one is misspelt from, if any."""
    found = difflib.get_close_matches(word, sorted(known), n=1, cutoff=ALIKE)
    return found[0] if found and found[0] != word else None
