"""What a category of objects is: its shape, names, styles, colors, materials and usual height."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dreamfusion3d.procedural.shapes.base import ShapeFunction

Color = tuple[float, float, float]  # sRGB

WOOD_COLOR: Color = (0.6, 0.4, 0.22)
CLAY, CREAM, STEEL = (0.76, 0.5, 0.34), (0.93, 0.89, 0.8), (0.62, 0.64, 0.67)
GOLD, STONE, LEAF, DARK = (0.85, 0.68, 0.25), (0.6, 0.58, 0.54), (0.2, 0.5, 0.2), (0.2, 0.22, 0.26)
GLASS, WHITE, RED = (0.55, 0.75, 0.85), (0.94, 0.94, 0.93), (0.8, 0.16, 0.14)

HANDLES, LEGS = "handle handles ear ears", "leg legs"
HANDLE_WORDS, LEG_WORDS = tuple(HANDLES.split()), tuple(LEGS.split())
WOODEN, PATTERNS = "wooden metal", "striped spotted checkered"
CERAMIC = f"{PATTERNS} metal glass stone"


@dataclass(frozen=True)
class Category:
    """A category of procedural objects.

    ``part_distances`` returns the signed distances of part A (painted in the first color of a
    prompt), part B (the named second part) and optionally an accent of fixed color.
    """

    name: str
    part_distances: ShapeFunction
    synonyms: tuple[str, ...]  # besides the name
    second_part_words: tuple[str, ...]  # words for part B
    natural_color: Color
    natural_second_color: Color | None = None  # None: painted like part A
    accent_color: Color | None = None
    counts: tuple[int, ...] = (0,)  # valid counts, the default first
    counted_words: tuple[str, ...] = HANDLE_WORDS  # words for what is counted, the singular first
    option_words: tuple[str, ...] = ()  # words for the optional part
    option_default: bool = False  # whether the optional part is present by default
    styles: tuple[tuple[str, ...], ...] = ()  # nouns of each style ("armchair"); none: all objects have one style
    height_m: float = 1.0  # usual height
    surfaces: tuple[str, ...] = ("plastic", "plastic", "plastic")  # natural surface of part A, part B and the accent
    materials: tuple[str, ...] = ("plain",)
    relaxation: float = 0.8  # fraction of the distance that sphere tracing may safely advance
    genus: int | tuple[int, ...] | None = None  # of the whole object, or of each style; None: one per handle

    @property
    def style_names(self) -> list[str]:
        """Names of the styles, or [""] if there is only one."""
        return [nouns[0] for nouns in self.styles] or [""]

    @property
    def num_styles(self) -> int:
        return len(self.style_names)

    def style_index(self, style: str) -> int:
        """Return the index of a style by its name, which is its first noun."""
        return self.style_names.index(style)

    def variants(self) -> list[tuple[int, bool]]:
        """Return every valid (count, option)."""
        options = (self.option_default, not self.option_default) if self.option_words else (False,)
        return [(count, option) for count in self.counts for option in options]

    def expected_genus(self, count: int, style: int = 0) -> int:
        """Return the topological genus for a count of handles (or of legs, which make no holes) and a style."""
        if self.genus is None:
            return count * self.counts_handles
        return self.genus[style] if isinstance(self.genus, tuple) else self.genus

    @property
    def counts_handles(self) -> bool:
        """Whether the count is a count of handles."""
        return self.counted_words == HANDLE_WORDS

    @property
    def second_part_is_handles(self) -> bool:
        """Whether part B is the handles, which are absent if the count is 0."""
        return self.second_part_words == HANDLE_WORDS


def category(
    name: str,
    shape: ShapeFunction,
    synonyms: str,
    second_part: str,
    color: Color,
    second_color: Color | None = None,
    accent_color: Color | None = None,
    *,
    counted: str = HANDLES,
    option: str = "",
    materials: str = "",
    styles: str = "",
    surfaces: str,
    height: float,
    **fields: Any,
) -> Category:
    """Build a category from words separated by spaces; ``materials`` are those besides plain.

    ``styles`` is a list such as "dining chair; armchair, easy chair": synonyms separated by commas, styles by
    semicolons. ``height`` is in meters. ``surfaces`` names one surface for each part, the last one for all others.
    """
    named = surfaces.split()
    fields |= {"height_m": height, "surfaces": (*named, *named[-1:] * (3 - len(named)))}
    fields["styles"] = tuple(tuple(n.strip() for n in s.split(",")) for s in styles.split(";") if s.strip())
    fields |= {"counted_words": tuple(counted.split()), "option_words": tuple(option.split())}
    fields["materials"] = ("plain", *materials.split())
    words = tuple(synonyms.split()), tuple(second_part.split())
    return Category(name, shape, *words, color, second_color, accent_color, **fields)
