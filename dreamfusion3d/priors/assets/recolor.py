"""Colors and materials that a prompt adds to an asset: "a red barrel" of a library with a brown one."""

from __future__ import annotations

from collections.abc import Iterable

from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.procedural.lexicon import COLOR_WORDS, MATERIAL_WORDS
from dreamfusion3d.procedural.materials import MATERIALS
from dreamfusion3d.procedural.objects import COLORS
from dreamfusion3d.procedural.surfaces import SURFACES

SAME_HUE = 0.25  # largest distance between the chromaticities of entries that are painted together
_LUMA = (0.299, 0.587, 0.114)


def paint_words(words: Iterable[str]) -> list[str]:
    """Return the words that `paint_palette` understands: colors, and materials that are no pattern."""
    return [word for word in words if word in COLOR_WORDS or _surface_name(word)]


def paint_palette(palette: Float[Tensor, "k 5"], words: Iterable[str]) -> Float[Tensor, "k 5"]:
    """Paint the most frequent material and those of its hue; shades of it remain shades of the new color."""
    painted = palette.clone()
    luma = palette[:, :3] @ palette.new_tensor(_LUMA)
    chromaticity = palette[:, :3] / palette[:, :3].sum(1, keepdim=True).clamp(min=1e-3)
    same = (chromaticity - chromaticity[0]).norm(dim=1) < SAME_HUE * chromaticity[0].norm()
    for word in words:
        surface, color = _surface_name(word), None
        if word in COLOR_WORDS:
            color = palette.new_tensor(COLORS[COLOR_WORDS[word]])
        elif surface:
            natural = MATERIALS[MATERIAL_WORDS[word]].natural_color
            color = None if natural is None else palette.new_tensor(natural)
            painted[same, 3:] = palette.new_tensor(SURFACES[surface])
        if color is not None:
            shade = (luma[same] / luma[0].clamp(min=0.05))[:, None]
            painted[same, :3] = (color * shade).clamp(0, 1)
    return painted


def _surface_name(word: str) -> str | None:
    return MATERIALS[MATERIAL_WORDS[word]].surface if word in MATERIAL_WORDS else None
