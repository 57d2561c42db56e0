"""Surfaces: how rough and how metallic the parts of objects are.

Roughness is perceptual, as in glTF 2.0: its square is the width of the GGX lobe. The values are within the usual
ranges of measured materials: polished metal .2-.4, glazed and glassy .05-.3, plastic and paint .4-.5, wood and
leather .5-.7, cloth, stone and bread .8-.95.
"""

from __future__ import annotations

from typing import NamedTuple


class Surface(NamedTuple):
    """Roughness and metallic in [0, 1]; metallic is 0 or 1."""

    roughness: float
    metallic: float = 0.0


# No roughness lies halfway between two bytes: where the same surface is everywhere, the map has one value.
SURFACES: dict[str, Surface] = {
    "steel": Surface(0.28, 1.0),
    "gold": Surface(0.22, 1.0),
    "iron": Surface(0.55, 1.0),
    "glass": Surface(0.08),
    "ceramic": Surface(0.25),
    "paint": Surface(0.4),
    "plastic": Surface(0.45),
    "peel": Surface(0.4),
    "wax": Surface(0.45),
    "icing": Surface(0.45),
    "leaves": Surface(0.55),
    "plant": Surface(0.6),
    "leather": Surface(0.6),
    "wood": Surface(0.6),
    "rubber": Surface(0.72),
    "snow": Surface(0.75),
    "tiles": Surface(0.75),
    "stone": Surface(0.8),
    "bread": Surface(0.8),
    "paper": Surface(0.85),
    "terracotta": Surface(0.85),
    "cheese": Surface(0.6),
    "bone": Surface(0.65),
    "cardboard": Surface(0.85),
    "cork": Surface(0.88),
    "bark": Surface(0.88),
    "brick": Surface(0.88),
    "plaster": Surface(0.88),
    "fabric": Surface(0.88),
}
DEFAULT_SURFACE = Surface(0.8)  # of what no spec describes, as the renders that train the prior show everything


def painted_surface(name: str) -> Surface:
    """Return the surface of a part whose color the prompt names: paint hides a metal, and nothing else."""
    return SURFACES["paint" if SURFACES[name].metallic else name]
