"""Finishes: what they cover, that they do not follow the viewer, and what colours they give."""

from __future__ import annotations

import pytest
import torch

from dreamfusion3d.cameras.orbit import orbit_cameras
from dreamfusion3d.procedural.catalog import render_catalog, render_spec_image
from dreamfusion3d.procedural.categories import CATEGORIES
from dreamfusion3d.procedural.materials import MATERIALS, material_mask
from dreamfusion3d.procedural.objects import COLORS, ObjectSpec, default_spec, sample_objects
from dreamfusion3d.procedural.renderer import render_objects


def sphere_points(count=4000):
    """Points on a sphere of radius 0.5 and their normals."""
    normals = torch.randn(count, 3, generator=torch.Generator().manual_seed(0))
    normals = normals / normals.norm(dim=1, keepdim=True)
    return 0.5 * normals, normals


@pytest.mark.parametrize("finish", MATERIALS)
def test_a_mask_is_a_share_and_covers_some_of_a_ball(finish):
    share = material_mask(finish, *sphere_points())
    assert share.min() >= 0 and share.max() <= 1
    if finish == "plain":
        assert not share.any()
    else:
        assert 0.05 < share.mean() < 0.75, "both colours are seen"


def test_kinds_have_finishes_that_exist():
    for kind in CATEGORIES.values():
        assert kind.materials[0] == "plain" and set(kind.materials) <= set(MATERIALS)


@pytest.mark.parametrize("finish", ["striped", "spotted", "checkered"])
def test_a_pattern_contrasts(finish):
    for colour in COLORS:
        first, *_, inside, _ = ObjectSpec("vase", colour, material=finish).part_colors()
        assert max(abs(a - b) for a, b in zip(first, inside, strict=True)) > 0.35, colour


def test_a_material_covers_both_parts_a_pattern_only_the_first():
    *_, second_inside = ObjectSpec("mug", "red", material="wooden", count=1).part_colors()
    assert second_inside == MATERIALS["wooden"].second_color(COLORS["red"])
    assert ObjectSpec("mug", "red", material="striped", count=1).part_colors()[4] == COLORS["red"]
    # a cork stays a cork
    paints = ObjectSpec("bottle", material="glass").part_colors()
    assert paints[4] == paints[1] == CATEGORIES["bottle"].natural_second_color


def test_finishes_do_not_follow_the_viewer():
    """The same spot has the same share of the second colour from two sides: light ratios agree."""
    props = sample_objects("ball", 0, "normal", 1, generator=torch.Generator().manual_seed(0))
    two = props[torch.tensor([0, 0])]
    planes = render_objects(two, orbit_cameras([0.0, 20.0], 0.0, height=48, width=48), "striped")
    share = planes.shading[:, 3] / (planes.shading[:, 0] + planes.shading[:, 3]).clamp(min=1e-6)
    # level stripes on a ball: every row of either picture shows the same bands
    rows = [s[:, 20:28].mean(1) for s in share]
    assert (rows[0] - rows[1]).abs().mean() < 0.03


def test_a_finish_takes_no_light_away():
    props = sample_objects("mug", 1, "normal", 1, generator=torch.Generator().manual_seed(0))
    camera = orbit_cameras([30.0], 20.0, height=24, width=24)
    plain, spotted = (render_objects(props, camera, finish) for finish in ("plain", "spotted"))
    torch.testing.assert_close(plain.shading.sum(1), spotted.shading.sum(1))
    assert spotted.shading[:, 3].any() and not plain.shading[:, 3:].any()


def test_held_out_pairs_are_some_and_named_colours_only():
    pairs = [ObjectSpec(kind, colour) for kind in CATEGORIES for colour in COLORS]
    share = sum(m.is_held_out() for m in pairs) / len(pairs)
    assert 0.04 < share < 0.13
    assert not any(ObjectSpec(kind).is_held_out() for kind in CATEGORIES)


def test_a_sheet_has_a_cell_a_meaning():
    drawn = render_catalog([default_spec("mug"), default_spec("boat"), default_spec("cake")], columns=2, size=32)
    assert drawn.shape == (64, 64, 3)
    assert (drawn[:32, :32] == render_spec_image(default_spec("mug"), size=32)).all()
    assert drawn[32:, 32:].std() == 0, "an empty cell is empty"
    assert default_spec("boat").option and not default_spec("mug").option
