from __future__ import annotations

import re

import pytest

from dreamfusion3d.errors import InputError
from dreamfusion3d.slug import ENGINE_SUFFIXES, LONGEST_PROMPT, RESERVED, check_prompt, slug, with_hash

PROMPTS = [
    "a pitcher with one handle", "A Pitcher, with ONE handle!", "../../etc/passwd", "c:\\windows", "🏺",
    "🏺🏺", "إبريق أحمر", "水差し", "a café table", "con", "aux", "nul", "COM1", "lpt0", "x" * 1000, "-", "_",
    "a" * 64,
    *(f"a traffic {word}" for word in ENGINE_SUFFIXES), *ENGINE_SUFFIXES, "long " * 12 + "col", "ı İ ß",
]


@pytest.mark.parametrize("prompt", PROMPTS)
def test_slugs_are_safe_names(prompt: str) -> None:
    name = slug(prompt)
    assert re.fullmatch(r"[a-z0-9][a-z0-9_]{0,63}", name)
    assert name not in RESERVED
    assert name.rpartition("_")[2] not in ENGINE_SUFFIXES
    assert slug(prompt) == name
    assert slug(name) == name


def test_plain_prompts_stay_readable() -> None:
    assert slug("a pitcher with one handle") == "a_pitcher_with_one_handle"
    assert slug("a café table") == "a_cafe_table"
    assert slug("../up") == "up"


def test_what_is_lost_is_told_apart() -> None:
    assert slug("🏺") != slug("🫖")
    assert slug("إبريق") != slug("كرسي")
    assert slug("a" * 100) != slug("a" * 101)
    assert slug("a red 水差し") != slug("a red 花瓶")
    assert len({with_hash("a" * 64, "x"), with_hash("a" * 64, "y")}) == 2
    assert len(with_hash("a" * 64, "x")) == 64


@pytest.mark.parametrize(
    ("prompt", "words"),
    [("", "empty"), ("  \n\t", "empty"), ("a\x00mug", "U+0000"), ("a\x1bmug", "U+001B"),
     ("\udcff mug", "U+DCFF"), ("x" * (LONGEST_PROMPT + 1), "at most"), ("x" * 10_000, "10,000")],
)
def test_bad_prompts_are_one_clear_line(prompt: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        check_prompt(prompt)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    str(caught.value).encode()


def test_spaces_are_tidied() -> None:
    assert check_prompt("  a  red\nmug ") == "a red mug"
