"""Parsing of prompts into object specs: by rules, with corrected spelling, and by the text encoder."""

from __future__ import annotations

import dataclasses
import difflib

import torch

from dreamfusion3d.priors.pixel.text_encoder import SpecPrediction, SpecPredictor
from dreamfusion3d.procedural.captions import generate_caption
from dreamfusion3d.procedural.categories import CATEGORIES
from dreamfusion3d.procedural.lexicon import COLOR_WORDS, MATERIAL_WORDS, SIZE_WORDS
from dreamfusion3d.procedural.measures import extract_height
from dreamfusion3d.procedural.objects import ObjectSpec, default_spec
from dreamfusion3d.procedural.prompt_rules import ParsedPrompt, parse_with_rules, split_words
from dreamfusion3d.procedural.spelling import correct_spelling

MIN_CONFIDENCE = 0.8  # of the network's least certain slot
MIN_SIMILARITY = 0.75  # difflib's ratio between a misspelled word and the right one


def parse_prompt(prompt: str, text_encoder: SpecPredictor | None) -> ParsedPrompt:
    """Parse a prompt by the rules; unknown words are tried as typos, then left to the text encoder.

    A note names every change.
    """
    stated = extract_height(prompt)
    parsed = _parse_without_measures(stated.rest, text_encoder)
    return dataclasses.replace(parsed, notes=[*stated.notes, *parsed.notes], height_m=stated.meters)


def _parse_without_measures(prompt: str, text_encoder: SpecPredictor | None) -> ParsedPrompt:
    parsed = parse_with_rules(prompt)
    if parsed.spec is not None and not parsed.unknown_words:
        return parsed
    prediction = text_encoder.predict_specs([prompt])[0] if text_encoder else None
    respelled = _correct_spelling(prompt, parsed, prediction)
    if respelled is not None and not respelled.unknown_words:
        return respelled
    best = respelled or parsed
    return best if prediction is None else _apply_prediction(prompt, best, prediction)


def _correct_spelling(prompt: str, parsed: ParsedPrompt, prediction: SpecPrediction | None) -> ParsedPrompt | None:
    """Parse the prompt with typos corrected, or return None if there are none.

    An ambiguous correction ("horse" is one letter from "house") is accepted only if the text encoder confirms it.
    """
    corrections = {w: fix for w in parsed.unknown_words if (fix := correct_spelling(w)) is not None}
    corrected_all = _parse_with_replacements(prompt, {w: correction for w, (correction, _) in corrections.items()})
    accepted = {}
    for word, (correction, is_certain) in corrections.items():
        without_it = _parse_with_replacements(prompt, {w: r for w, (r, _) in corrections.items() if w != word})
        spec = corrected_all.spec
        if correction in corrected_all.unknown_words or spec is None or spec == without_it.spec:
            continue  # the correction changes nothing
        if is_certain or (prediction and _confirms_correction(prediction.spec, spec, without_it.spec)):
            accepted[word] = correction
    if not accepted:
        return None
    final = _parse_with_replacements(prompt, accepted)
    notes = [f"read {correction!r} for {word!r}" for word, correction in accepted.items()]
    return dataclasses.replace(final, notes=[*final.notes, *notes]) if final.spec else None


def _parse_with_replacements(prompt: str, replacements: dict[str, str]) -> ParsedPrompt:
    return parse_with_rules(" ".join(replacements.get(w, w) for w in split_words(prompt)))


def _confirms_correction(predicted: ObjectSpec | None, after: ObjectSpec, before: ObjectSpec | None) -> bool:
    """Return whether the text encoder predicts what a correction changed."""
    if predicted is None or predicted.category != after.category:
        return False
    if before is None or before.category != after.category:
        return True
    names = [f.name for f in dataclasses.fields(ObjectSpec)]
    return all(getattr(predicted, n) == getattr(after, n) for n in names if getattr(after, n) != getattr(before, n))


def _apply_prediction(prompt: str, parsed: ParsedPrompt, prediction: SpecPrediction) -> ParsedPrompt:
    """Fill slots from a confident prediction where an unknown word resembles the predicted value.

    "mushrum" may be a mushroom, but "harmonica" is no hammer.
    """
    if prediction.spec is None or prediction.confidence < MIN_CONFIDENCE:
        return parsed
    category, base, respelled = CATEGORIES[prediction.spec.category], parsed, {}
    if parsed.spec is None:
        nouns = {category.name, *category.synonyms}
        near = {w: match for w in parsed.unknown_words if (match := _closest_word(w, nouns)) and match[0] == w[0]}
        if not near:
            return parsed
        word = next(iter(near))
        base = _parse_with_replacements(prompt, {word: category.name})
        respelled[word] = category.name
    if base.spec is None or base.spec.category != prediction.spec.category:
        return parsed
    spec = base.spec
    for slot, words in _slot_words(prediction.spec).items():
        for word in base.unknown_words:
            is_default = getattr(spec, slot) == getattr(default_spec(spec.category), slot)
            if is_default and (match := _closest_word(word, words)):
                spec = dataclasses.replace(spec, **{slot: getattr(prediction.spec, slot)})
                respelled[word] = match
    if spec == parsed.spec:
        return parsed
    sentence = generate_caption(spec, generator=torch.Generator().manual_seed(0), plain=True)
    unknown = [w for w in base.unknown_words if w not in respelled]
    return dataclasses.replace(base, spec=spec, unknown_words=unknown, notes=[*base.notes, f"read as: {sentence}"])


def _slot_words(spec: ObjectSpec) -> dict[str, set[str]]:
    """Return, for each slot, the words that express its value."""

    def words_with_value(table: dict[str, str], value: str) -> set[str]:
        return {w for w, v in table.items() if v == value}

    category = CATEGORIES[spec.category]
    return {
        "color": words_with_value(COLOR_WORDS, spec.color),
        "second_color": words_with_value(COLOR_WORDS, spec.second_color),
        "size": words_with_value(SIZE_WORDS, spec.size),
        "material": words_with_value(MATERIAL_WORDS, spec.material),
        "count": set(category.counted_words),
        "option": set(category.option_words),
    }


def _closest_word(word: str, candidates: set[str]) -> str | None:
    """Return the candidate that ``word`` is a misspelling of, if any."""
    matches = difflib.get_close_matches(word, sorted(candidates), n=1, cutoff=MIN_SIMILARITY)
    return matches[0] if matches and matches[0] != word else None
