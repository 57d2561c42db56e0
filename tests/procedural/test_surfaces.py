"""Surfaces: every category has known ones, and the prompt's words change them."""

from __future__ import annotations

from dreamfusion3d.procedural.categories import CATEGORIES
from dreamfusion3d.procedural.materials import MATERIALS
from dreamfusion3d.procedural.objects import ObjectSpec, default_spec
from dreamfusion3d.procedural.surfaces import SURFACES


def surface_names(spec: ObjectSpec) -> list[str]:
    names = {surface: name for name, surface in reversed(SURFACES.items()) if name != "peel"}
    return [names[surface] for surface in spec.part_surfaces()]


def test_surfaces_are_plausible():
    for name, surface in SURFACES.items():
        assert surface.metallic == (name in ("steel", "gold", "iron")) and 0.05 <= surface.roughness <= 0.95
        assert abs(surface.roughness * 255 % 1 - 0.5) > 0.05, "the byte would depend on rounding errors"
    assert SURFACES["glass"].roughness < SURFACES["ceramic"].roughness < SURFACES["wood"].roughness
    assert SURFACES["wood"].roughness < SURFACES["fabric"].roughness


def test_categories_and_materials_have_known_surfaces():
    for category in CATEGORIES.values():
        assert len(category.surfaces) == 3 and set(category.surfaces) <= set(SURFACES)
        count = 2 if category.accent_color is None else 3  # the accent is then part of A
        named = [SURFACES[name] for name in category.surfaces]
        assert default_spec(category.name).part_surfaces()[:count] == named[:count]
    for material in MATERIALS.values():
        assert material.is_pattern or material.shift == 0 or material.surface in SURFACES


def test_part_surfaces_follow_the_prompt():
    assert surface_names(ObjectSpec("pitcher", material="metal")) == ["steel"] * 5
    # the cork of a glass bottle stays cork
    assert surface_names(ObjectSpec("bottle", material="glass"))[:2] == ["glass", "cork"]
    # a color hides a metal, unless the prompt says that it is metal
    assert surface_names(ObjectSpec("bucket", "red"))[:2] == ["paint", "iron"]
    assert surface_names(ObjectSpec("pot", "red"))[:2] == ["paint", "paint"]
    assert surface_names(ObjectSpec("mug", "red", material="metal"))[:2] == ["steel", "steel"]
    assert surface_names(ObjectSpec("bottle", material="metal", second_color="red"))[:2] == ["steel", "paint"]
    # the stripes of a metal pot are painted
    assert surface_names(ObjectSpec("robot", material="striped"))[::3] == ["steel", "paint"]
