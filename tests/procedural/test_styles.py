"""Styles: words that name them, objects that have them, and shapes that are combined by them."""

from __future__ import annotations

import torch

from dreamfusion3d.procedural import sdf
from dreamfusion3d.procedural.categories import CATEGORIES
from dreamfusion3d.procedural.lexicon import STYLE_NOUNS
from dreamfusion3d.procedural.objects import sample_objects
from dreamfusion3d.procedural.prompt_rules import parse_with_rules
from dreamfusion3d.procedural.shapes.base import ShapeParams, styled

STYLED = [category for category in CATEGORIES.values() if category.styles]


def params(style: list[int]) -> ShapeParams:
    zeros = torch.zeros(len(style))
    return ShapeParams(torch.zeros(len(style), 6), zeros, zeros, torch.tensor(style))


def test_styled_shapes_are_those_of_each_style():
    """A part that a style lacks is absent, whatever else is in the batch."""

    def one(x, y, z, s):
        return [sdf.sphere(x, y, z, 0.3)]

    def two(x, y, z, s):
        return [sdf.sphere(x, y, z, 0.2), sdf.sphere(x - 0.5, y, z, 0.1)]

    x, y, z = torch.rand(3, 4, generator=torch.Generator().manual_seed(0))
    mixed = styled(one, two)(x, y, z, params([0, 1, 0, 1]))
    for i, shape in enumerate((one, two, one, two)):
        alone = shape(x, y, z, params([0] * 4))
        assert mixed[0][i] == alone[0][i]
        assert mixed[1][i] == (alone[1][i] if shape is two else 10.0)


def test_every_style_noun_names_its_category_and_style():
    for category in STYLED:
        for nouns in category.styles:
            for noun in nouns:
                spec = parse_with_rules(f"a red {noun}").spec
                assert spec is not None and (spec.category, spec.style) == (category.name, nouns[0]), noun
        bare = parse_with_rules(f"a {category.name}").spec
        assert bare is not None and bare.style == ""
    assert len(STYLE_NOUNS) == sum(len(nouns) for category in STYLED for nouns in category.styles), (
        "a noun of two styles"
    )


def test_an_open_style_is_drawn_and_a_named_style_is_kept():
    for category in STYLED:
        drawn = sample_objects(
            category.name, category.counts[0], "normal", 200, generator=torch.Generator().manual_seed(0)
        )
        assert set(drawn.style.tolist()) == set(range(category.num_styles))
        for i, nouns in enumerate(category.styles):
            named = sample_objects(
                category.name, category.counts[0], "normal", 3, style=nouns[0], generator=torch.Generator()
            )
            assert named.style.tolist() == [i] * 3


def test_usual_heights_are_those_of_real_things():
    assert all(0.005 < category.height_m <= 50 for category in CATEGORIES.values())
    assert CATEGORIES["mug"].height_m < CATEGORIES["chair"].height_m < CATEGORIES["house"].height_m
