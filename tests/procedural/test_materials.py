"""Finishes: what they cover, that they do not follow the viewer, and what colours they give."""

from __future__ import annotations

import pytest
import torch

from dreamfusion3d.cameras.orbit import orbit
from dreamfusion3d.procedural.catalog import picture, sheet
from dreamfusion3d.procedural.categories import KINDS
from dreamfusion3d.procedural.materials import FINISHES, masks
from dreamfusion3d.procedural.objects import COLOURS, Meaning, instances, usual
from dreamfusion3d.procedural.renderer import draw


def sphere_points(count=4000):
    """Points on a sphere of radius 0.5 and their normals."""
    normals = torch.randn(count, 3, generator=torch.Generator().manual_seed(0))
    normals = normals / normals.norm(dim=1, keepdim=True)
    return 0.5 * normals, normals


@pytest.mark.parametrize("finish", FINISHES)
def test_a_mask_is_a_share_and_covers_some_of_a_ball(finish):
    share = masks(finish, *sphere_points())
    assert share.min() >= 0 and share.max() <= 1
    if finish == "plain":
        assert not share.any()
    else:
        assert 0.05 < share.mean() < 0.75, "both colours are seen"


def test_kinds_have_finishes_that_exist():
    for kind in KINDS.values():
        assert kind.finishes[0] == "plain" and set(kind.finishes) <= set(FINISHES)


@pytest.mark.parametrize("finish", ["striped", "spotted", "checkered"])
def test_a_pattern_contrasts(finish):
    for colour in COLOURS:
        first, *_, inside, _ = Meaning("vase", colour, finish=finish).paints()
        assert max(abs(a - b) for a, b in zip(first, inside, strict=True)) > 0.35, colour


def test_a_material_covers_both_parts_a_pattern_only_the_first():
    *_, second_inside = Meaning("mug", "red", finish="wooden", count=1).paints()
    assert second_inside == FINISHES["wooden"].second(COLOURS["red"])
    assert Meaning("mug", "red", finish="striped", count=1).paints()[4] == COLOURS["red"]
    # a cork stays a cork
    paints = Meaning("bottle", finish="glass").paints()
    assert paints[4] == paints[1] == KINDS["bottle"].natural_second


def test_finishes_do_not_follow_the_viewer():
    """The same spot has the same share of the second colour from two sides: light ratios agree."""
    props = instances("ball", 0, "normal", 1, generator=torch.Generator().manual_seed(0))
    two = props[torch.tensor([0, 0])]
    planes = draw(two, orbit([0.0, 20.0], 0.0, height=48, width=48), "striped")
    share = planes.light[:, 3] / (planes.light[:, 0] + planes.light[:, 3]).clamp(min=1e-6)
    # level stripes on a ball: every row of either picture shows the same bands
    rows = [s[:, 20:28].mean(1) for s in share]
    assert (rows[0] - rows[1]).abs().mean() < 0.03


def test_a_finish_takes_no_light_away():
    props = instances("mug", 1, "normal", 1, generator=torch.Generator().manual_seed(0))
    camera = orbit([30.0], 20.0, height=24, width=24)
    plain, spotted = (draw(props, camera, finish) for finish in ("plain", "spotted"))
    torch.testing.assert_close(plain.light.sum(1), spotted.light.sum(1))
    assert spotted.light[:, 3].any() and not plain.light[:, 3:].any()


def test_held_out_pairs_are_some_and_named_colours_only():
    pairs = [Meaning(kind, colour) for kind in KINDS for colour in COLOURS]
    share = sum(m.held_out() for m in pairs) / len(pairs)
    assert 0.04 < share < 0.13
    assert not any(Meaning(kind).held_out() for kind in KINDS)


def test_a_sheet_has_a_cell_a_meaning():
    drawn = sheet([usual("mug"), usual("boat"), usual("cake")], columns=2, size=32)
    assert drawn.shape == (64, 64, 3)
    assert (drawn[:32, :32] == picture(usual("mug"), size=32)).all()
    assert drawn[32:, 32:].std() == 0, "an empty cell is empty"
    assert usual("boat").option and not usual("mug").option
