"""Sentences: what the grammar writes is read back, paraphrases are one meaning, the rest is named."""

from __future__ import annotations

import itertools

import pytest
import torch

from dreamfusion3d.procedural.captions import caption, read, world_summary
from dreamfusion3d.procedural.world import COLOURS, KINDS, SIZES, Meaning


def meanings():
    """Every kind, handle count and size, with colours that take turns."""
    colours = itertools.cycle(["natural", *COLOURS])
    seconds = itertools.cycle(["default", *list(COLOURS)[::-1], "default"])
    for kind in KINDS.values():
        for handles, size, _ in itertools.product(kind.handles, SIZES, range(3)):
            # a colour of handles that are not there cannot be said
            second = next(seconds) if handles or kind.second[0] != "handle" else "default"
            yield Meaning(kind.name, next(colours), second, handles, size)


def test_captions_are_read_back():
    generator = torch.Generator().manual_seed(0)
    for meaning in meanings():
        sentence = caption(meaning, generator=generator)
        reading = read(sentence)
        assert reading.meaning == meaning, sentence
        assert not reading.unknown and not reading.notes, sentence


def test_the_wording_varies_and_is_repeatable():
    meaning = Meaning("mug", "red", "blue", 1, "small")
    generator = torch.Generator().manual_seed(1)
    sentences = {caption(meaning, generator=generator) for _ in range(30)}
    assert len(sentences) > 8
    assert caption(meaning, generator=torch.Generator().manual_seed(2)) == caption(
        meaning, generator=torch.Generator().manual_seed(2)
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a pitcher with one handle", "a jug with a single handle"),
        ("a pitcher with one handle", "one-handled pitcher"),
        ("a pitcher with one handle", "a pitcher"),
        ("a pitcher with one handle", "A PITCHER, with 1 handle!"),
        ("a vase with two handles", "a two-handled vase"),
        ("a vase with two handles", "an urn with a pair of handles"),
        ("a vase with two handles", "a vase with handles"),
        ("a vase with two handles", "one vase with handles on it"),
        ("a vase with two handles", "double handled amphora"),
        ("a mug without handles", "a handleless cup"),
        ("a mug without handles", "handle-less mug"),
        ("a mug without handles", "a mug with no handle"),
        ("a mug without handles", "mug with 0 handles"),
        ("a red mug", "the red cup"),
        ("a red mug", "a mug painted red"),
        ("a red mug", "a mug in scarlet"),
        ("a red mug with a blue handle", "a red mug with one blue handle"),
        ("a mug with a red handle", "a red-handled mug"),
        ("a mug with a red handle", "a mug whose handle is red"),
        ("a mug with a red handle", "a mug with a handle painted red"),
        ("a mug with a red handle", "a mug with a red coloured handle"),
        ("a red mug with a handle", "a mug in red with a handle"),
        ("a red mug with a handle", "mug, red, with a handle"),
        ("a blue mug with a red handle", "a mug with a red handle and a blue body"),
        ("a blue mug without handles", "cup, blue, no handle"),
        ("a mug without handles", "a mug without a red handle"),
        ("a table with black legs", "a black-legged table"),
        ("a teapot with a blue lid", "blue lidded kettle"),
        ("a red mushroom with a white stem", "a white-stemmed red toadstool"),
        ("a rocket with red fins and a blue body", "a blue rocket with red fins"),
        ("a small bottle", "a tiny flask"),
        ("a tall grey barrel", "high gray cask"),
        ("a tree", "a pine tree"),
        ("a tree with a brown trunk", "a brown trunk tree"),
        ("a snowman with a green hat", "a snowman wearing a green hat"),
        ("a donut", "two doughnuts"),
        ("a bowl", "dishes"),
        ("a rocket", "a spaceship's"),
        ("a table", "a wooden desk"),
        ("a wide brown bowl", "a broad wood basin"),
        ("a pink chair", "a 3d model of a pink chair"),
        ("a low poly mug", "a mug, high quality"),
        ("a red vase with two handles", "red two handle vase"),
        ("a yellow mug", "a ｇｏｌｄｅｎ ｍｕｇ"),
    ],
)
def test_paraphrases(one, other):
    assert read(one).meaning is not None
    assert read(one).meaning == read(other).meaning


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a mug", "a mug without handles"), ("a vase", "a vase with one handle"), ("a red mug", "a mug"),
        ("a red mug", "a mug with a red handle"), ("a tall vase", "a vase"), ("a cup", "a bowl"),
        ("a blue bottle with a red cap", "a red bottle with a blue cap"),
    ],
)
def test_other_meanings(one, other):
    assert read(one).meaning != read(other).meaning


@pytest.mark.parametrize(
    ("prompt", "kind", "unknown"),
    [
        ("a steampunk mug", "mug", ["steampunk"]),
        ("a cup and a bowl", "bowl", ["cup"]),
        ("a mug on a table", "mug", ["table"]),
        ("a pine table", "table", ["pine"]),
        ("a mug with a lid", "mug", ["lid"]),
        ("two red mugs", "mug", ["two"]),
        ("a photo of a nice mug, please", "mug", []),
        ("a low poly mug", "mug", ["low", "poly"]),
        ("a weird weird mug", "mug", ["weird"]),
        ("une tasse à thé, a mug", "mug", ["une", "tasse", "à", "thé"]),
        ("a mug 🙂 #5", "mug", ["5"]),
        ("a hamburger", None, ["hamburger"]),
        ("", None, []),
        ("!!! ...", None, []),
        ("马克杯", None, ["马克杯"]),
        ("mugs", "mug", []),
        ("snowmen", "snowman", []),
        ("glass", None, ["glass"]),
        ("mug_mug", "mug", []),
    ],
)
def test_what_has_no_effect_is_reported(prompt, kind, unknown):
    reading = read(prompt)
    assert (reading.meaning.kind if reading.meaning else None) == kind
    assert reading.unknown == unknown


@pytest.mark.parametrize(
    ("prompt", "handles", "words"),
    [
        ("a mug with three handles", 2, "0 or 1 or 2 handles here, not 3: making 2"),
        ("a mug with 12 handles", 2, "not 12"),
        ("a mug with ٣ handles", 2, "not 3"),
        ("a bowl with one handle", 0, "0 or 2"),
        ("a chair with two handles", 0, "not 2: making 0"),
        ("a teapot without a handle", 1, "1 handle here, not 0"),
        ("a six-handled vase", 2, "not 6"),
    ],
)
def test_handles_that_do_not_exist_are_noted(prompt, handles, words):
    reading = read(prompt)
    assert reading.meaning is not None and reading.meaning.handles == handles
    assert len(reading.notes) == 1 and words in reading.notes[0]
    assert not reading.unknown


@pytest.mark.parametrize(
    "prompt", ["mug " * 3000, "a" * 10_000, "1" * 10_000 + " handles mug", "²-handled mug", "\x00mug"]
)
def test_odd_prompts_do_not_break_the_reader(prompt):
    read(prompt)


def test_nouns_belong_to_one_kind():
    nouns = [n for kind in KINDS.values() for n in (kind.name, *kind.nouns)]
    assert len(nouns) == len(set(nouns))
    assert all(kind in world_summary() for kind in KINDS)
