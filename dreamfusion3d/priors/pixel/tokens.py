"""What a pixel prior is told of a sentence: the tokens of its meaning, and of its other words those
that the prior was taught.

The procedural world's sentences are meanings and nothing else. Pictures of the user's own have
captions that no grammar foresees: of these every word that the rules leave over is a token too.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from dreamfusion3d.priors.pixel.prompt_parser import parse_prompt
from dreamfusion3d.priors.pixel.text_encoder import SpecPredictor
from dreamfusion3d.priors.vocabulary import WORD_PREFIX
from dreamfusion3d.procedural.lexicon import STOP_WORDS
from dreamfusion3d.procedural.prompt_rules import ParsedPrompt, parse_with_rules, split_words


@dataclass(frozen=True)
class PromptTokens:
    """A sentence as a prior is told it."""

    parsed: ParsedPrompt
    tokens: list[str]  # may name what the prior was never taught, besides something that it was
    ignored_words: list[str]  # words without effect

    @property
    def has_known_tokens(self) -> bool:
        """Whether it names anything that the prior knows."""
        return bool(self.tokens)


def tokenize_caption(caption: str) -> list[str]:
    """The tokens of a picture's caption, as they are taught. Read by the rules alone: a network
    that guesses would take a new word for a misspelt old one."""
    parsed = parse_with_rules(caption)
    spec_tokens = parsed.spec.tokens() if parsed.spec else []
    return [*spec_tokens, *(WORD_PREFIX + word for word in parsed.unknown_words if word.isalpha())]


def tokenize_prompt(prompt: str, vocabulary: Collection[str], text_encoder: SpecPredictor | None) -> PromptTokens:
    """``prompt`` for a prior of that vocabulary. Where it knows a word that the rules do not, the
    rules' reading stands; else the prompt is read as the procedural world's (``understand``)."""
    parsed = parse_with_rules(prompt)
    known_words = [w for w in _remaining_words(prompt, parsed, vocabulary) if WORD_PREFIX + w in vocabulary]
    if not known_words:
        parsed = parse_prompt(prompt, text_encoder)
    remaining = _remaining_words(prompt, parsed, vocabulary)
    spec_tokens = parsed.spec.tokens() if _in_vocabulary(parsed, vocabulary) and parsed.spec else []
    return PromptTokens(
        parsed, [*spec_tokens, *(WORD_PREFIX + w for w in known_words)], [w for w in remaining if w not in known_words]
    )


def _in_vocabulary(parsed: ParsedPrompt, vocabulary: Collection[str]) -> bool:
    return parsed.spec is not None and f"kind:{parsed.spec.category}" in vocabulary


def _remaining_words(prompt: str, parsed: ParsedPrompt, vocabulary: Collection[str]) -> list[str]:
    """The words that the meaning does not hold; all of them, where the prior does not know its kind."""
    if _in_vocabulary(parsed, vocabulary):
        return parsed.unknown_words
    return list(dict.fromkeys(w for w in split_words(prompt) if w not in STOP_WORDS))
