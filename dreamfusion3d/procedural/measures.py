"""Measures in prompts: "a 20 cm vase", "a lamp two meters high", "6 ft"."""

from __future__ import annotations

import math
import re
import unicodedata
from typing import NamedTuple

from dreamfusion3d.core.errors import InputError
from dreamfusion3d.procedural.lexicon import CONNECTIVES, NON_SIZE_FOLLOWERS, PHRASE_STARTERS, STOP_WORDS

MIN_HEIGHT_M, MAX_HEIGHT_M = 0.001, 1000.0  # of a plausible prompt


class StatedHeight(NamedTuple):
    """What `extract_height` finds in a prompt."""

    rest: str  # the prompt without its measures
    meters: float | None  # None if the prompt states no height; may be implausible
    notes: list[str]  # for the user: measures that have no effect


_UNIT_WORDS = {
    r"mm|millimet(?:er|re)s?": 0.001,
    r"cm|centimet(?:er|re)s?": 0.01,
    r"dm|decimet(?:er|re)s?": 0.1,
    r"m|met(?:er|re)s?": 1.0,
    r"km|kilomet(?:er|re)s?": 1000.0,
    r"in|inch(?:es)?": 0.0254,
    r"ft|foot|feet": 0.3048,
    r"yd|yards?": 0.9144,
}
_QUOTES = {"[\"\u201d]|['\u2019\u2032]{2}": 0.0254, "['\u2019\u2032]": 0.3048}  # 12" and 6'
_WORD_UNIT = rf"(?:{'|'.join(_UNIT_WORDS)})(?![^\W\d_])"
_QUOTE_UNIT = rf"(?:{'|'.join(_QUOTES)})(?![a-z])"
_UNDER_TWENTY = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_NUMBERS = {word: float(i) for i, word in enumerate(_UNDER_TWENTY.split())}
_NUMBERS |= {word: 10.0 * i for i, word in enumerate(_TENS.split(), 2)} | {"half": 0.5}
# repetitions are bounded, so that hostile prompts take no longer than others
_FRACTION = r"\d{1,3}[/\u2044]\d{1,3}"
_DECIMAL = r"(?:\d{1,9}(?:,\d{3}){0,3}(?:[.,]\d{1,9})?|\.\d{1,9})"
_NUMBER_WORD = rf"(?:{'|'.join(_NUMBERS)}|hundred|an?)\b"
_AMOUNT = rf"{_FRACTION}|{_DECIMAL}(?:[ -]{_FRACTION})?|{_NUMBER_WORD}(?:[ -](?:{_NUMBER_WORD}|and\b)){{0,6}}"
_OTHER_AXES = "length|width|depth|diameter|thickness"


def _one_measure(i: int) -> str:
    return rf"(?P<amount{i}>{_AMOUNT})(?P<gap{i}>[ -]?)(?P<unit{i}>{_WORD_UNIT}|{_QUOTE_UNIT})"


_MEASURE = re.compile(
    # "with a height of about"
    rf"(?:(?:\b(?:with|of|and|at|has|having) )?(?:\b(?:an?|the|its) )?\b(?P<before>height|{_OTHER_AXES})\b"
    r"(?: is| of|:| =)? ?)?"
    r"(?:\b(?:about|around|approximately|roughly|nearly|almost|exactly|measuring|standing) ){0,2}"
    # an amount begins neither inside a word or number nor after an opening quote
    r"(?<![\w/\u2044\"\u201c'\u2018])(?<!\d[.,])"
    rf"(?P<sides>(?:{_DECIMAL}(?: ?{_WORD_UNIT})? ?[x\u00d7*] ?){{1,3}})?"  # "20 x 30 x"
    rf"{_one_measure(1)}(?:(?: and | |-)?{_one_measure(2)})?"  # "6 ft 2 in"
    r"(?:[ -](?:(?:in|of) )?(?P<after>tall|high|height|long|wide|broad|deep|thick|across"
    rf"|{_OTHER_AXES})\b(?! (?:{'|'.join(sorted(NON_SIZE_FOLLOWERS))})\b))?"
)
_ARTICLES = {"a", "an"}
_AMBIGUOUS_UNITS = {"in", "foot", "feet", *"\"'\u201d\u2019\u2032", "''", "\u2032\u2032", "\u2019\u2019"}
_HAS_UNIT = re.compile(rf"(?<![^\W\d_]){_WORD_UNIT}|\d(?:{'|'.join(_QUOTES)})")


def extract_height(prompt: str) -> StatedHeight:
    """Find the height that a prompt states, and remove all measures.

    Amounts are decimals, fractions or words, units metric or imperial: "a 20 cm vase", "a vase, 20 cm tall", "a vase
    with a height of 20 cm". Widths and measures of parts have no effect and are noted.
    """
    spaced = "".join(f" {c}" if unicodedata.category(c) == "No" else c for c in prompt)  # "2½" becomes "2 1/2"
    text = " ".join(unicodedata.normalize("NFKC", spaced).lower().split())
    if not _HAS_UNIT.search(text):
        return StatedHeight(prompt, None, [])
    pieces, end = [], 0
    heights: list[tuple[bool, float, str]] = []  # whether it is called a height, meters, text
    ignored: list[str] = []
    for match in _MEASURE.finditer(text):
        meters = _to_meters(match)
        if meters is None or not _is_measure(text, match):
            continue
        pieces.append(text[end : match.start()])
        end = match.end()
        axis = match["before"] or match["after"]
        if match["sides"] or axis not in (None, "height", "tall", "high") or _describes_part(text, match):
            ignored.append(match[0])
        else:
            heights.append((axis is not None, meters, match[0]))
    if not pieces:
        return StatedHeight(prompt, None, [])
    heights.sort(key=lambda height: not height[0])
    ignored += [words for _, _, words in heights[1:]]
    notes = [f"only the height of the whole object can be set here: ignoring {words.strip()!r}" for words in ignored]
    return StatedHeight(" ".join([*pieces, text[end:]]), heights[0][1] if heights else None, notes)


def check_stated_height(meters: float | None) -> None:
    """Raise InputError if a prompt states a height that no object has."""
    if meters is not None and not MIN_HEIGHT_M <= meters <= MAX_HEIGHT_M:
        raise InputError(f"the prompt says {meters:g} m, but a height must be between 1 mm and 1 km; change the prompt")


def _to_meters(match: re.Match[str]) -> float | None:
    """Return the length of a match; None if an amount has a zero denominator."""
    first, second = (_unit_meters(match[f"unit{i}"]) for i in (1, 2))
    try:
        meters = _parse_amount(match["amount1"]) * first
        if second < first:
            meters += _parse_amount(match["amount2"]) * second
    except ZeroDivisionError:
        return None
    return round(meters, 6)


def _unit_meters(unit: str | None) -> float:
    return next((m for pattern, m in (_UNIT_WORDS | _QUOTES).items() if unit and re.fullmatch(pattern, unit)), math.inf)


def _parse_amount(amount: str) -> float:
    """Parse "1,5", "2 1/2", "twenty-five", "two and a half"; raises ZeroDivisionError."""
    words = re.split("[ -]", amount)
    if set(words) <= _ARTICLES:
        return 1.0
    total = 0.0
    for word in words:
        if numerator_denominator := re.fullmatch(r"(\d+)[/\u2044](\d+)", word):
            total += int(numerator_denominator[1]) / int(numerator_denominator[2])
        elif word[0].isdecimal() or word[0] == ".":
            is_grouped = re.fullmatch(r"[^0]\d{0,2}(,\d{3})+(\.\d+)?", word)  # "1,500", but not "0,125"
            total += float(word.replace(",", "" if is_grouped else "."))
        elif word == "hundred":
            total = max(total, 1.0) * 100
        else:
            total += _NUMBERS.get(word, 0.0)
    return total


def _is_measure(text: str, match: re.Match[str]) -> bool:
    """Return whether a match is more likely a measure than a count ("with two feet", "one in red") or a quotation."""
    if match["before"] or match["after"] or match["sides"]:
        return True
    amount, unit = match["amount1"], match["unit1"]
    if set(amount.split()) <= _ARTICLES:
        return False  # "a meter", "a foot"
    is_joined = match["gap1"] == "-" or (match["gap1"] == "" and unit.isalpha())  # "six-foot", "12in"
    if match["unit2"] or is_joined or unit not in _AMBIGUOUS_UNITS:
        return True
    if unit == "in" and amount[0].isalpha():
        return False
    before, after = text[: match.start()].rstrip(), text[match.end() :].lstrip()
    if not before or before.split()[-1] in _ARTICLES | {"the"} or amount.split()[0] in _ARTICLES:
        return True
    return before[-1] in ",;:(" and after[:1] in ("", *",;:.)")


def _describes_part(text: str, match: re.Match[str]) -> bool:
    """Return whether a measure stands before the noun of a part, as in "with a 3 cm handle"."""
    follower = re.match(r"[ -]*([^\W\d_]+)", text[match.end() :])
    if match["before"] or follower is None or follower[1] in PHRASE_STARTERS | STOP_WORDS:
        return False
    return not CONNECTIVES.isdisjoint(re.findall(r"[a-z]+", text[: match.start()]))
