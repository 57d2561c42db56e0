"""Rule-based parser from prompts to object specs.

Parsing normalizes the wording, so that paraphrases are one prompt: "a jug with a single handle",
"one-handled pitcher" and "a pitcher with one handle" yield the same tokens.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field

from dreamfusion3d.procedural.categories import CATEGORIES
from dreamfusion3d.procedural.category import HANDLE_WORDS, WOOD_COLOR, Category
from dreamfusion3d.procedural.heights import TOY
from dreamfusion3d.procedural.lexicon import (
    ATTRIBUTION_WORDS,
    COLOR_WORDS,
    COMPOUND_NOUNS,
    CONNECTIVES,
    COUNTED_WORDS,
    LARGE_WORDS,
    MATERIAL_WORDS,
    NON_SIZE_FOLLOWERS,
    PHRASE_STARTERS,
    SIZE_WORDS,
    STOP_WORDS,
    lookup_category,
    lookup_style,
    matches_any_word,
    parse_number,
    with_article,
)
from dreamfusion3d.procedural.materials import MATERIALS
from dreamfusion3d.procedural.measures import extract_height
from dreamfusion3d.procedural.objects import ObjectSpec

# describes the image, not the object
_BACKGROUND_PHRASE = re.compile(r"\b(on|against|with|over) (an? )?(\w+ ){0,3}(background|backdrop)\b")
_PATTERN_NOUNS = ("stripes", "spots", "dots", "checks")
_ADJECTIVES = (COLOR_WORDS, SIZE_WORDS, LARGE_WORDS, MATERIAL_WORDS, ("and", "polka"))
_NEGATIONS = ("no", "without", "zero", "0")
_COMPOUND_NOUN = re.compile(r"\b(" + "|".join(COMPOUND_NOUNS) + r")\b")
_LESS_SUFFIX = re.compile(r"\b([a-z]+?)-?less\b")


@dataclass(frozen=True)
class ParsedPrompt:
    """A parsed prompt. ``spec`` is None if the prompt contains no known noun."""

    spec: ObjectSpec | None
    unknown_words: list[str] = field(default_factory=list)  # words that had no effect
    notes: list[str] = field(default_factory=list)  # for the user: requests that cannot be met
    height_m: float | None = None  # stated by the prompt, in meters; may be implausible
    height_words: list[str] = field(default_factory=list)  # that change the usual height but not the spec


@dataclass
class _Sentence:
    """State of the parser: the words, the head noun, and the indices of the words used so far."""

    words: list[str]
    category: Category
    noun_index: int
    used: set[int]
    notes: list[str] = field(default_factory=list)
    height_words: list[str] = field(default_factory=list)


def parse_with_rules(prompt: str) -> ParsedPrompt:
    stated = extract_height(prompt)
    words = _split_without_measures(stated.rest)
    nouns = [(i, k) for i, w in enumerate(words) if (k := lookup_category(w)) is not None]
    if not nouns:
        return ParsedPrompt(None, [w for w in words if w not in STOP_WORDS], stated.notes, stated.meters)
    # the head noun is the last one before the first "with": "pine table" is a table
    connective_index = next((i for i, w in enumerate(words) if w in CONNECTIVES and i > nouns[0][0]), len(words))
    noun_index, category = [n for n in nouns if n[0] < connective_index][-1]
    # all nouns of the category are used: "a pine tree" is one object
    s = _Sentence(words, category, noun_index, {i for i, k in nouns if k is category}, stated.notes)
    count, option = _parse_count(s), _parse_option(s)
    material = _parse_material(s)
    color, second_color = _parse_colors(s, material)
    if category.second_part_is_handles and count == 0:
        second_color = "default"  # "no red handle" is no handle
    size, style = _parse_size(s), lookup_style(words[noun_index])
    s.used |= {i for i, w in enumerate(words) if w in STOP_WORDS or matches_any_word(w, category.second_part_words)}
    unknown_words = list(dict.fromkeys(w for i, w in enumerate(words) if i not in s.used))
    spec = ObjectSpec(category.name, color, second_color, count, size, material, option, style)
    return ParsedPrompt(spec, unknown_words, s.notes, stated.meters, s.height_words)


def split_words(prompt: str) -> list[str]:
    """Split into lower-case alphanumeric words without measures, with compound nouns joined and "-less" expanded."""
    return _split_without_measures(extract_height(prompt).rest)


def _split_without_measures(prompt: str) -> list[str]:
    text = re.sub(r"['\u2019]s\b", "", unicodedata.normalize("NFKC", prompt).lower())
    text = _LESS_SUFFIX.sub(_expand_less_suffix, _BACKGROUND_PHRASE.sub("", text))
    text = " ".join(re.findall(r"[^\W_]+", text))
    return _COMPOUND_NOUN.sub(lambda found: COMPOUND_NOUNS[found[1]], text).split()


def _expand_less_suffix(match: re.Match[str]) -> str:
    """Expand "handleless" to "no handle", for words of known parts only."""
    part = match[1]
    is_part = part in COUNTED_WORDS or any(part in category.option_words for category in CATEGORIES.values())
    return f"no {part}" if is_part else match[0]


def _parse_count(s: _Sentence) -> int:
    """Parse the count of handles, legs or tiers from a number up to four words before the counted word."""
    category, words = s.category, s.words
    count = category.counts[0]
    for i, word in enumerate(words):
        is_counted = matches_any_word(word, category.counted_words)
        if not is_counted and not matches_any_word(word, HANDLE_WORDS):
            continue
        other_part = matches_any_word(word, (*category.second_part_words, *category.option_words))
        if (not is_counted or category.counts == (0,)) and (other_part or lookup_category(word)):
            continue  # e.g. a hammer's handle is its second part
        s.used.add(i)
        # a number before the noun counts objects: "one vase with handles"
        first = max(i - 4, s.noun_index + 1 if s.noun_index < i else 0)
        number_indices = [j for j in range(first, i) if parse_number(words[j]) is not None]
        # "a pair of handles": a number takes precedence over an article
        numbers = [words[j] for j in number_indices if words[j] not in ("a", "an")]
        if numbers:
            count = parse_number(numbers[-1]) or 0
        elif category.counts_handles:
            count = 2 if word.endswith("s") else 1
        elif s.noun_index < i and any(words[j] in ("a", "an") for j in number_indices[-1:]) and 1 in category.counts:
            count = 1
        s.used |= set(number_indices)
        break
    return _nearest_valid_count(s, count)


def _nearest_valid_count(s: _Sentence, count: int) -> int:
    """Return the valid count nearest to ``count``, and note it if it differs."""
    category = s.category
    if count in category.counts:
        return count
    counted_words = category.counted_words[:2] if category.counts != (0,) else HANDLE_WORDS[:2]
    possible = " or ".join(str(h) for h in sorted(category.counts))
    nearest = min(category.counts, key=lambda c: abs(c - count))
    s.notes.append(
        f"{with_article(category.name)} has {possible} {counted_words[possible != '1']} here, "
        f"not {count}: using {nearest}"
    )
    return nearest


def _parse_option(s: _Sentence) -> bool:
    """Parse whether the optional part is present: "with a lid", "lidded", "no lid"."""
    present = s.category.option_default
    for i, word in enumerate(s.words):
        if not matches_any_word(word, s.category.option_words):
            continue
        s.used.add(i)
        negations = [j for j in range(max(i - 3, 0), i) if s.words[j] in _NEGATIONS]
        s.used |= set(negations)
        present = not negations
    return present


def _parse_size(s: _Sentence) -> str:
    """Parse the size word of the spec, and collect the words that change nothing but the height."""
    size = "normal"
    for i, word in enumerate(s.words):
        if NON_SIZE_FOLLOWERS.intersection(s.words[i + 1 : i + 2]):
            continue
        if word in SIZE_WORDS:
            size = SIZE_WORDS[word]
            s.used.add(i)
        elif word in LARGE_WORDS and _other_noun_after(s, i) is None:
            s.height_words.append(LARGE_WORDS[word])
            s.used.add(i)
        elif word == TOY:
            s.height_words.append(TOY)
    s.height_words = list(dict.fromkeys(s.height_words))
    return size


def _parse_material(s: _Sentence) -> str:
    for i, word in enumerate(s.words):
        material = MATERIAL_WORDS.get(word)
        if material is None or matches_any_word(word, s.category.second_part_words):
            continue
        s.used.add(i)
        other_noun = None if word in _PATTERN_NOUNS else _other_noun_after(s, i)
        if other_noun is not None:
            is_wooden_part = material == "wooden" and s.category.natural_second_color == WOOD_COLOR
            if not (is_wooden_part and matches_any_word(other_noun, s.category.second_part_words)):
                s.notes.append(f"only the whole object can be {word} here, not just the {other_noun}")
            continue
        if material in s.category.materials:
            return material
        if material == "wooden" and s.category.natural_color == WOOD_COLOR:
            continue
        name = f"{with_article(s.category.name)}"
        s.notes.append(f"{name} cannot be {material} here: using plain")
    return "plain"


def _parse_colors(s: _Sentence, material: str) -> tuple[str, str]:
    """Parse the colors of part A and part B.

    A color word belongs to the part or noun that follows it ("red handled mug", "mug with a red
    handle"), or to the part it is an attribute of ("handle is red"). Colors of other things ("on a
    white table") are noted and ignored.
    """
    color, second_color = "natural", "default"
    for i, word in enumerate(s.words):
        if word not in COLOR_WORDS:
            continue
        s.used.add(i)
        named = COLOR_WORDS[word]
        if _is_part_color(s.words, i, s.category):
            second_color = named
        elif _is_pattern_color(s.words, i, noun_only=True):
            continue  # "white stripes": the second color of a pattern is fixed
        elif (other_noun := _other_noun_after(s, i)) is not None:
            s.notes.append(f"the {other_noun} has no color of its own here: ignoring {word}")
        elif color == "natural":
            color = named
        elif MATERIALS[material].is_pattern and _is_pattern_color(s.words, i):
            continue  # "red and white striped"
        elif second_color == "default":
            second_color = named
    return color, second_color


def _other_noun_after(s: _Sentence, i: int) -> str | None:
    """Return the noun that the adjective at ``i`` describes, or None if it describes the object itself."""
    if i < s.noun_index:
        return None
    for word in s.words[i + 1 : i + 4]:
        if any(word in words for words in _ADJECTIVES):
            continue
        ends_phrase = word in STOP_WORDS or word in PHRASE_STARTERS or parse_number(word) is not None
        return None if ends_phrase or lookup_category(word) is s.category else word
    return None


def _is_pattern_color(words: list[str], i: int, *, noun_only: bool = False) -> bool:
    """Return whether the color at ``i`` describes a pattern; ``noun_only``: a noun, as in "white stripes"."""
    after = "".join(words[i + 1 : i + 2])
    if noun_only:
        return after in _PATTERN_NOUNS or words[i + 1 : i + 3] == ["polka", "dots"]
    return after in MATERIAL_WORDS or after == "polka"


def _is_part_color(words: list[str], i: int, category: Category) -> bool:
    """Return whether the color word at ``i`` describes part B."""
    for word in words[i + 1 : i + 4]:
        if matches_any_word(word, category.second_part_words):
            return True
        # "red two handle vase", "in red with a handle": a new phrase begins
        if lookup_category(word) or parse_number(word) is not None or word in PHRASE_STARTERS:
            return False
    attributed = False
    for word in reversed(words[max(i - 4, 0) : i]):
        if matches_any_word(word, category.second_part_words):
            return attributed
        attributed |= word in ATTRIBUTION_WORDS
        if word not in STOP_WORDS:
            break
    return False
