"""What a pixel prior is told of a sentence: the tokens of its meaning, and of its other words those
that the prior was taught.

The procedural world's sentences are meanings and nothing else. Pictures of the user's own have
captions that no grammar foresees: of these every word that the rules leave over is a token too.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from dreamfusion3d.priors.pixel.prompt_parser import understand
from dreamfusion3d.priors.pixel.text_encoder import Reader
from dreamfusion3d.priors.vocabulary import WORD
from dreamfusion3d.procedural.lexicon import IDLE
from dreamfusion3d.procedural.prompt_rules import Reading, read, split


@dataclass(frozen=True)
class Told:
    """A sentence as a prior is told it."""

    reading: Reading
    tokens: list[str]  # may name what the prior was never taught, besides something that it was
    unknown: list[str]  # words without effect

    @property
    def served(self) -> bool:
        """Whether it names anything that the prior knows."""
        return bool(self.tokens)


def caption_tokens(caption: str) -> list[str]:
    """The tokens of a picture's caption, as they are taught. Read by the rules alone: a network
    that guesses would take a new word for a misspelt old one."""
    reading = read(caption)
    meant = reading.meaning.tokens() if reading.meaning else []
    return [*meant, *(WORD + word for word in reading.unknown if word.isalpha())]


def tell(prompt: str, vocabulary: Collection[str], reader: Reader | None) -> Told:
    """``prompt`` for a prior of that vocabulary. Where it knows a word that the rules do not, the
    rules' reading stands; else the prompt is read as the procedural world's (``understand``)."""
    reading = read(prompt)
    taught = [w for w in _left(prompt, reading, vocabulary) if WORD + w in vocabulary]
    if not taught:
        reading = understand(prompt, reader)
    left = _left(prompt, reading, vocabulary)
    meant = reading.meaning.tokens() if _known(reading, vocabulary) and reading.meaning else []
    return Told(
        reading, [*meant, *(WORD + w for w in taught)], [w for w in left if w not in taught]
    )


def _known(reading: Reading, vocabulary: Collection[str]) -> bool:
    return reading.meaning is not None and f"kind:{reading.meaning.kind}" in vocabulary


def _left(prompt: str, reading: Reading, vocabulary: Collection[str]) -> list[str]:
    """The words that the meaning does not hold; all of them, where the prior does not know its kind."""
    if _known(reading, vocabulary):
        return reading.unknown
    return list(dict.fromkeys(w for w in split(prompt) if w not in IDLE))
