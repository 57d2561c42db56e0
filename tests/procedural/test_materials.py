"""Materials: coverage, independence of the view, and colors."""

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


@pytest.mark.parametrize("material", MATERIALS)
def test_material_mask_covers_part_of_a_sphere(material):
    fraction = material_mask(material, *sphere_points())
    assert fraction.min() >= 0 and fraction.max() <= 1
    if material == "plain":
        assert not fraction.any()
    else:
        assert 0.05 < fraction.mean() < 0.75, "both colors are visible"


def test_categories_have_known_materials():
    for category in CATEGORIES.values():
        assert category.materials[0] == "plain" and set(category.materials) <= set(MATERIALS)


@pytest.mark.parametrize("material", ["striped", "spotted", "checkered"])
def test_part_colors_of_patterns_contrast(material):
    for color in COLORS:
        first, *_, inside, _ = ObjectSpec("vase", color, material=material).part_colors()
        assert max(abs(a - b) for a, b in zip(first, inside, strict=True)) > 0.35, color


def test_part_colors_material_covers_both_parts_pattern_only_the_first():
    *_, second_inside = ObjectSpec("mug", "red", material="wooden", count=1).part_colors()
    assert second_inside == MATERIALS["wooden"].second_color(COLORS["red"])
    assert ObjectSpec("mug", "red", material="striped", count=1).part_colors()[4] == COLORS["red"]
    # a cork stays a cork
    colors = ObjectSpec("bottle", material="glass").part_colors()
    assert colors[4] == colors[1] == CATEGORIES["bottle"].natural_second_color


def test_materials_are_view_independent():
    """A surface point has the same fraction of the second color from two sides."""
    objects = sample_objects("ball", 0, "normal", 1, generator=torch.Generator().manual_seed(0))
    two = objects[torch.tensor([0, 0])]
    layers = render_objects(two, orbit_cameras([0.0, 20.0], 0.0, height=48, width=48), "striped")
    fraction = layers.shading[:, 3] / (layers.shading[:, 0] + layers.shading[:, 3]).clamp(min=1e-6)
    # level stripes on a ball: every row of either picture shows the same bands
    rows = [s[:, 20:28].mean(1) for s in fraction]
    assert (rows[0] - rows[1]).abs().mean() < 0.03


def test_materials_preserve_shading():
    objects = sample_objects("mug", 1, "normal", 1, generator=torch.Generator().manual_seed(0))
    camera = orbit_cameras([30.0], 20.0, height=24, width=24)
    plain, spotted = (render_objects(objects, camera, material) for material in ("plain", "spotted"))
    torch.testing.assert_close(plain.shading.sum(1), spotted.shading.sum(1))
    assert spotted.shading[:, 3].any() and not plain.shading[:, 3:].any()


def test_is_held_out_covers_a_fraction_of_named_colors():
    pairs = [ObjectSpec(category, color) for category in CATEGORIES for color in COLORS]
    fraction = sum(m.is_held_out() for m in pairs) / len(pairs)
    assert 0.04 < fraction < 0.13
    assert not any(ObjectSpec(category).is_held_out() for category in CATEGORIES)


def test_render_catalog_has_one_cell_per_spec():
    image = render_catalog([default_spec("mug"), default_spec("boat"), default_spec("cake")], columns=2, size=32)
    assert image.shape == (64, 64, 3)
    assert (image[:32, :32] == render_spec_image(default_spec("mug"), size=32)).all()
    assert image[32:, 32:].std() == 0, "an empty cell is empty"
    assert default_spec("boat").option and not default_spec("mug").option
