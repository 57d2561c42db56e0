from __future__ import annotations

import re

import pytest

from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.slug import (
    ENGINE_SUFFIXES,
    MAX_PROMPT_LENGTH,
    MAX_SLUG_LENGTH,
    RESERVED_FILE_NAMES,
    append_hash,
    check_prompt,
    hash_text,
    slugify,
)

PROMPTS = [
    "a pitcher with one handle",
    "A Pitcher, with ONE handle!",
    "../../etc/passwd",
    "c:\\windows",
    "🏺",
    "🏺🏺",
    "إبريق أحمر",
    "水差し",
    "a café table",
    "con",
    "aux",
    "nul",
    "COM1",
    "lpt0",
    "x" * 1000,
    "-",
    "_",
    "a" * 64,
    *(f"a traffic {word}" for word in sorted(ENGINE_SUFFIXES)),
    *sorted(ENGINE_SUFFIXES),
    "long " * 12 + "col",
    "ı İ ß",
    "traffic noimp 2",
    "traffic noimp2",
    "a wheel 1 2",
    "long " * 12 + "col4",
    "long " * 11 + "noimp 2",
]


def godot_acts_on(name: str) -> bool:
    """Mirror Godot's importer: digits and '_' may follow the suffix (3.x: digits)."""
    while name and name[-1] in "0123456789_":
        name = name[:-1]
    return any(name == suffix or name.endswith(f"_{suffix}") for suffix in ENGINE_SUFFIXES)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_slugify_gives_safe_names(prompt: str) -> None:
    name = slugify(prompt)
    assert re.fullmatch(r"[a-z0-9][a-z0-9_]{0,63}", name)
    assert name not in RESERVED_FILE_NAMES
    assert not godot_acts_on(name)
    assert slugify(prompt) == name
    assert slugify(name) == name


def test_slugify_keeps_plain_prompts_readable() -> None:
    assert slugify("a pitcher with one handle") == "a_pitcher_with_one_handle"
    assert slugify("a café table") == "a_cafe_table"
    assert slugify("../up") == "up"


def test_slugify_distinguishes_prompts_that_lose_letters() -> None:
    assert slugify("🏺") != slugify("🫖")
    assert slugify("إبريق") != slugify("كرسي")
    assert slugify("a" * 100) != slugify("a" * 101)
    assert slugify("a red 水差し") != slugify("a red 花瓶")
    assert len({append_hash("a" * 64, "x"), append_hash("a" * 64, "y")}) == 2
    assert len(append_hash("a" * 64, "x")) == 64


def test_append_hash_guards_hashes_of_digits_only() -> None:
    """One hash in seventeen has no letter: Godot would skip it and act on the word before."""
    texts = [text for text in map(str, range(60)) if hash_text(text).isdigit()]
    assert texts
    for text in texts:
        for name in ("a_noimp", "b" * 51 + "_noimp" + "c" * 9):
            assert not godot_acts_on(append_hash(name, text)) and len(append_hash(name, text)) <= MAX_SLUG_LENGTH
        assert append_hash("a_mug", text) == f"a_mug_{hash_text(text)}"


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("", "empty"),
        ("  \n\t", "empty"),
        ("a\x00mug", "U+0000"),
        ("a\x1bmug", "U+001B"),
        ("\udcff mug", "U+DCFF"),
        ("x" * (MAX_PROMPT_LENGTH + 1), "limit is"),
        ("x" * 10_000, "10,000"),
    ],
)
def test_check_prompt_reports_bad_prompts_in_one_line(prompt: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        check_prompt(prompt)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    str(caught.value).encode()


def test_check_prompt_normalizes_whitespace() -> None:
    assert check_prompt("  a  red\nmug ") == "a red mug"
