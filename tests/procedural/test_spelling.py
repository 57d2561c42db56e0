"""Slips of the hand."""

from __future__ import annotations

import pytest

from dreamfusion3d.procedural.spelling import correct_spelling


@pytest.mark.parametrize(
    ("word", "right"),
    [
        ("picther", ("pitcher", True)),
        ("mushrom", ("mushroom", False)),
        ("chairr", ("chair", False)),
        ("woden", ("wooden", False)),
        ("purpel", ("purple", True)),
        ("hamdled", ("handled", False)),
        ("horse", None),
        ("poly", None),
        ("cup", None),
        ("mgu", None),
        ("steampunk", None),
        ("wallet", None),
        ("b00k", None),
        ("", None),
    ],
)
def test_one_slip(word, right):
    assert correct_spelling(word) == right
