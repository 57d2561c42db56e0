"""Correction of typos."""

from __future__ import annotations

import pytest

from dreamfusion3d.procedural.spelling import correct_spelling


@pytest.mark.parametrize(
    ("word", "expected"),
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
def test_correct_spelling(word, expected):
    assert correct_spelling(word) == expected
