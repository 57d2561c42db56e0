"""Usual heights of objects, and heights that prompts state."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from dreamfusion3d.core.errors import InputError
from dreamfusion3d.priors.pixel.prompt_parser import parse_prompt
from dreamfusion3d.priors.pixel.tokens import tokenize_caption, tokenize_prompt
from dreamfusion3d.procedural.categories import CATEGORIES
from dreamfusion3d.procedural.heights import HEIGHT_FACTORS, MAX_TOY_HEIGHT_M, describe_usual_height, usual_height
from dreamfusion3d.procedural.lexicon import LARGE_WORDS, SIZE_WORDS
from dreamfusion3d.procedural.measures import check_stated_height, extract_height
from dreamfusion3d.procedural.objects import SIZES
from dreamfusion3d.procedural.prompt_rules import parse_with_rules, split_words


def height_of(prompt: str) -> float:
    parsed = parse_with_rules(prompt)
    assert parsed.spec is not None and not parsed.unknown_words
    return usual_height(parsed.spec, parsed.height_words)


@pytest.mark.parametrize("name", CATEGORIES)
def test_usual_height_grows_with_the_size_word(name: str) -> None:
    small, short, usual, tall, large, huge = (
        height_of(f"a {word} {name}") for word in ("small", "short", "nice", "tall", "large", "huge")
    )
    assert 0 < small < short < usual < tall < large < huge
    assert usual == CATEGORIES[name].height_m
    assert height_of(f"a large small {name}") < usual < height_of(f"a large tall {name}")


def test_usual_height_of_real_things() -> None:
    assert height_of("a mug") < height_of("a chair") < height_of("a house")
    assert height_of("a toy house") == MAX_TOY_HEIGHT_M < height_of("a small house")
    assert height_of("a toy duck") == height_of("a duck"), "a toy is never enlarged"


def test_height_factors_cover_every_size_word() -> None:
    assert set(HEIGHT_FACTORS) == {*SIZES, *LARGE_WORDS.values()} and not set(LARGE_WORDS) & set(SIZE_WORDS)
    for size, (horizontal, vertical) in SIZES.items():
        if size != "small":
            width = HEIGHT_FACTORS[size] * horizontal / vertical
            assert abs(width - 1) < 0.18, "these words do not change the width much"


def test_describe_usual_height() -> None:
    parsed = parse_with_rules("a big tall red mug with two handles")
    assert parsed.spec is not None
    assert describe_usual_height(parsed.spec, parsed.height_words) == "usual height of a large tall mug"
    assert describe_usual_height(parse_with_rules("an airplane").spec) == "usual height of an airplane"


def test_large_words_are_no_part_of_the_spec() -> None:
    assert parse_with_rules("a gigantic red mug").spec == parse_with_rules("a red mug").spec
    part = parse_with_rules("a mug with a large handle")
    assert part.unknown_words == ["large"] and not part.height_words


PHRASINGS = (
    "a {} vase",
    "a vase {} tall",
    "a vase, {} tall",
    "a vase {} high with no handles",
    "a {} high vase",
    "a vase that is about {} tall",
    "a vase with a height of {}",
    "a vase, height: {}",
    "a vase {} in height",
    "a vase, {}",
    "a vase ({})",
)
MEASURES = {
    0.2: ("20 cm", "20cm", "20 centimeters", "twenty centimetres", "200 mm", "2 dm", "0.2 m", "0,2 m", ".2 m", "20 ㎝"),
    0.25: ("twenty-five cm", "25 CM", "¼ m", "1/4 m"),
    1.5: ("1.5 m", "1½ meters", "1 1/2 metres", "one and a half meters", "1,500 mm", "1 m 50 cm", "1500 mm"),
    1.2: ("a hundred and twenty centimeters", "1.20m"),
    0.3048: ("12 inches", "12-inch", "one ft", "twelve inch", "12in"),
    1.8288: ("6 ft", "6ft", "six-foot", "2 yards"),
    1.8796: ("6 ft 2 in", "6'2\"", "6′2″", "6 feet and 2 inches"),
}


@pytest.mark.parametrize("meters", MEASURES)
def test_stated_heights_in_all_units_and_phrasings(meters: float) -> None:
    plain = parse_with_rules("a vase")
    for measure, phrasing in itertools.product(MEASURES[meters], PHRASINGS):
        parsed = parse_with_rules(phrasing.format(measure))
        assert parsed.height_m == pytest.approx(meters, abs=1e-6), phrasing.format(measure)
        assert (parsed.spec, parsed.unknown_words, parsed.notes) == (plain.spec, [], []), phrasing.format(measure)


def test_a_stated_height_survives_corrected_spelling() -> None:
    parsed = parse_prompt("a picther 30 cm tall", None)
    assert parsed.spec == parse_with_rules("a pitcher").spec and parsed.height_m == 0.3
    assert parsed.notes == ["read 'pitcher' for 'picther'"]


def test_other_size_words_stay_beside_a_measure() -> None:
    parsed = parse_with_rules("a tall vase, 20 cm high, with two handles")
    assert parsed.spec == parse_with_rules("a tall vase with two handles").spec and parsed.height_m == 0.2


@pytest.mark.parametrize(
    ("prompt", "ignored"),
    [
        ("a mug with a 3 cm handle", "3 cm"),
        ("a vase with 2 20 cm handles", "20 cm"),
        ("a bowl 20 cm wide", "20 cm wide"),
        ("a bowl with a diameter of 20 cm", "with a diameter of 20 cm"),
        ("a gift, 20 x 30 x 40 cm", "20 x 30 x 40 cm"),
    ],
)
def test_measures_of_something_else_are_noted(prompt: str, ignored: str) -> None:
    parsed = parse_with_rules(prompt)
    assert parsed.height_m is None and not parsed.unknown_words
    assert parsed.notes == [f"only the height of the whole object can be set here: ignoring {ignored!r}"]
    both = parse_with_rules(f"{prompt}, 50 cm tall")
    assert (both.height_m, both.spec, both.notes) == (0.5, parsed.spec, parsed.notes)


@pytest.mark.parametrize(
    "prompt",
    [
        "a robot with two feet",
        "a stool with one foot",
        "a mug with two handles, one in red",
        "a box with 2 in red",
        "a parking meter",
        "a foot",
        'a gift with a "7" on it',
        "a mug in '90s style",
        "v2 cm",
        "1/0 m",
        "1.2.3 m",
        "a low poly mug",
    ],
)
def test_counts_and_quotations_are_no_measures(prompt: str) -> None:
    assert extract_height(prompt) == (prompt, None, [])


def test_extract_height_takes_little_time_for_odd_prompts() -> None:
    for prompt in (
        "1 x " * 5000,
        "1" * 20_000 + " cm",
        "a " * 10_000 + "m",
        "one and " * 5000 + "cm",
        "with a " * 5000,
    ):
        extract_height(prompt)


@pytest.mark.parametrize("measure", ["0 cm", "zero meters", "10 km", "0.1 mm", "999999999 m"])
def test_implausible_heights_are_refused(measure: str) -> None:
    with pytest.raises(InputError, match="between 1 mm and 1 km"):
        check_stated_height(parse_with_rules(f"a {measure} mug").height_m)


def test_the_networks_see_no_heights() -> None:
    assert split_words("a 20 cm vase, two meters tall") == split_words("a vase")
    assert tokenize_caption("a 20 cm vase") == tokenize_caption("a vase")
    # a prior that was trained with the word keeps its token
    assert tokenize_caption("a big vase") == [*tokenize_caption("a vase"), "word:big"]
    vocabulary = tokenize_caption("a big vase")
    assert tokenize_prompt("a big vase", vocabulary, None).tokens == vocabulary
    known = tokenize_prompt("a big vase", tokenize_caption("a vase"), None)
    assert (known.tokens, known.ignored_words) == (tokenize_caption("a vase"), [])


def test_the_documented_factors_are_those_of_the_words() -> None:
    text = (Path(__file__).parents[2] / "docs" / "commands.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([a-z, ]+) \| ([\d.]+) \|$", text.split("### Size")[1].split("###")[0], re.MULTILINE)
    listed = {word: float(factor) for words, factor in rows for word in words.split(", ")}
    assert listed == {word: HEIGHT_FACTORS[size] for word, size in (SIZE_WORDS | LARGE_WORDS).items()}
