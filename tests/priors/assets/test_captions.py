"""Which captions of a library a prompt may mean."""

from __future__ import annotations

import pytest

from dreamfusion3d.priors.assets.captions import caption_words, head_noun, match_captions

CAPTIONS = ["a small barrel", "a large barrel", "a barrel of fish", "a chest full of gold", "a chest", "stacked boxes"]


@pytest.mark.parametrize(
    ("prompt", "found", "missing"),
    [
        ("a barrel", CAPTIONS[:2], []),
        ("a small barrel", CAPTIONS[:1], []),
        ("please make a large barrel, game asset", CAPTIONS[1:2], ["game"]),
        ("a barrel full of fish", CAPTIONS[2:3], ["full"]),
        ("a red chest", ["a chest"], ["red"]),
        ("a chest of gold", ["a chest full of gold"], []),
        ("a stacked box", ["stacked boxes"], []),
        ("a barrel without fish", CAPTIONS[:2], []),
        ("a chest with no gold", ["a chest"], []),
        ("a goldless chest", ["a chest"], ["goldless"]),
    ],
)
def test_a_prompt_finds_the_captions_nearest_to_it(prompt, found, missing):
    match = match_captions(prompt, CAPTIONS)
    assert match and [CAPTIONS[row] for row in match.rows] == found and match.missing == missing


@pytest.mark.parametrize("prompt", ["a harmonica", "gold", "fish", ""])
def test_a_prompt_without_the_noun_of_a_caption_finds_none(prompt):
    assert match_captions(prompt, CAPTIONS) is None


def test_the_noun_is_what_the_caption_shows():
    nouns = [head_noun(text) for text in (*CAPTIONS, "a table with a vase", "the top of a bun", "a glass")]
    assert nouns == ["barrel", "barrel", "barrel", "chest", "chest", "boxes", "table", "top", "glass"]


@pytest.mark.parametrize(
    ("plural", "singular"), [("knives", "knife"), ("potatoes", "potato"), ("cherries", "cherry"), ("buses", "bus")]
)
def test_plurals_are_the_same_noun(plural, singular):
    for a, b in ((plural, singular), (singular, plural)):
        assert match_captions(f"the {a}", [f"a {b}"])


def test_words_that_resemble_a_noun_are_others():
    assert match_captions("a boxy thing", ["a box"]) is None and match_captions("a canvas", ["a can"]) is None
    assert caption_words("the canvas of a toy glass") == ["canvas", "toy", "glass"]
