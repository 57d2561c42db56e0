"""Colors and materials that a prompt adds to an asset: "a red barrel" of a library with a brown one."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.procedural.lexicon import COLOR_WORDS, MATERIAL_WORDS
from dreamfusion3d.procedural.materials import MATERIALS
from dreamfusion3d.procedural.objects import COLORS
from dreamfusion3d.procedural.surfaces import SURFACES

SAME_HUE = 0.25  # largest distance between chromaticities that are painted together, relative to the first
MIN_SHADE_LUMA = 0.05  # of the main material; a darker one has no shades
_LUMA = (0.299, 0.587, 0.114)


def paint_words(adjectives: Sequence[str]) -> list[str]:
    """Return those of the words that `paint_palette` uses: the first material that is no pattern, the first color."""
    materials = [word for word in adjectives if _surface_name(word)]
    colors = [word for word in adjectives if word in COLOR_WORDS and word not in materials]
    return materials[:1] + colors[:1]


def paint_palette(palette: Float[Tensor, "k 5"], words: Sequence[str]) -> Float[Tensor, "k 5"]:
    """Paint the first entry of a palette, which is the most frequent, and those of its hue.

    Shades of the first entry become the same shades of the new color. A material brings its color, if none is named.

    Args:
        palette: sRGB colors, roughness and metallic.
        words: `paint_words` of a prompt.
    """
    painted = palette.clone()
    luma = palette[:, :3] @ palette.new_tensor(_LUMA)
    chromaticity = palette[:, :3] / palette[:, :3].sum(1, keepdim=True).clamp(min=1e-3)
    same = (chromaticity - chromaticity[0]).norm(dim=1) < SAME_HUE * chromaticity[0].norm()
    same[0] = True
    color = None
    for word in words:
        if surface := _surface_name(word):
            painted[same, 3:] = palette.new_tensor(SURFACES[surface])
        new_color = COLORS[COLOR_WORDS[word]] if word in COLOR_WORDS else MATERIALS[MATERIAL_WORDS[word]].natural_color
        color = new_color or color
    if color is not None:
        shade = luma[same] / luma[0] if luma[0] > MIN_SHADE_LUMA else luma[same] * 0 + 1
        painted[same, :3] = (palette.new_tensor(color) * shade[:, None]).clamp(0, 1)
    return painted


def _surface_name(word: str) -> str | None:
    return MATERIALS[MATERIAL_WORDS[word]].surface if word in MATERIAL_WORDS else None
