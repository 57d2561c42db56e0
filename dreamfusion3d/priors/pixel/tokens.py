"""Tokens of captions and prompts for a pixel prior.

A sentence becomes the tokens of its parsed spec. Captions of a user's images contain words outside the grammar;
each such word is a token of its own.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from dreamfusion3d.priors.pixel.prompt_parser import parse_prompt
from dreamfusion3d.priors.pixel.text_encoder import SpecPredictor
from dreamfusion3d.priors.vocabulary import CATEGORY_PREFIX, WORD_PREFIX
from dreamfusion3d.procedural.lexicon import LARGE_WORDS, STOP_WORDS
from dreamfusion3d.procedural.prompt_rules import ParsedPrompt, parse_with_rules, split_words


@dataclass(frozen=True)
class PromptTokens:
    """A prompt as tokens of a prior's vocabulary."""

    parsed: ParsedPrompt
    tokens: list[str]  # empty if the prior knows nothing that the prompt names
    ignored_words: list[str]


def tokenize_caption(caption: str) -> list[str]:
    """Return the training tokens of an image's caption.

    Only the rules parse it: the text encoder could take a new word for a misspelled known one.
    """
    parsed = parse_with_rules(caption)
    spec_tokens = parsed.spec.tokens() if parsed.spec else []
    words = _with_large_words(caption, parsed.unknown_words)
    return [*spec_tokens, *(WORD_PREFIX + word for word in words if word.isalpha())]


def tokenize_prompt(prompt: str, vocabulary: Collection[str], text_encoder: SpecPredictor | None) -> PromptTokens:
    """Tokenize a prompt for a prior with the given vocabulary.

    If the prior knows a word outside the grammar, the rules alone parse the prompt; otherwise ``parse_prompt`` does.
    """
    parsed = parse_with_rules(prompt)
    words = _with_large_words(prompt, _remaining_words(prompt, parsed, vocabulary))
    known_words = [w for w in words if WORD_PREFIX + w in vocabulary]
    if not known_words:
        parsed = parse_prompt(prompt, text_encoder)
    remaining = _remaining_words(prompt, parsed, vocabulary)
    spec_tokens = parsed.spec.tokens() if _in_vocabulary(parsed, vocabulary) and parsed.spec else []
    tokens = [*spec_tokens, *(WORD_PREFIX + w for w in known_words)]
    return PromptTokens(parsed, tokens, [w for w in remaining if w not in known_words])


def _with_large_words(sentence: str, words: list[str]) -> list[str]:
    """Append words such as "large", which no spec token stands for, although the parser knows them."""
    return list(dict.fromkeys([*words, *(w for w in split_words(sentence) if w in LARGE_WORDS)]))


def _in_vocabulary(parsed: ParsedPrompt, vocabulary: Collection[str]) -> bool:
    return parsed.spec is not None and CATEGORY_PREFIX + parsed.spec.category in vocabulary


def _remaining_words(prompt: str, parsed: ParsedPrompt, vocabulary: Collection[str]) -> list[str]:
    """Return the words that the spec does not cover: all words if the prior does not know its category."""
    if _in_vocabulary(parsed, vocabulary):
        return parsed.unknown_words
    return list(dict.fromkeys(w for w in split_words(prompt) if w not in STOP_WORDS))
