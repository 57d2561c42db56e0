"""Object categories: shape, names, colors, counts and materials of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from dreamfusion3d.procedural.shapes import built, furniture, nature, tools, toys, vessels
from dreamfusion3d.procedural.shapes.base import ShapeParams

Color = tuple[float, float, float]  # sRGB
ShapeFunction = Callable[[Tensor, Tensor, Tensor, ShapeParams], list[Tensor]]

WOOD_COLOR: Color = (0.6, 0.4, 0.22)
_CLAY, _CREAM, _STEEL = (0.76, 0.5, 0.34), (0.93, 0.89, 0.8), (0.62, 0.64, 0.67)
_GOLD, _STONE, _LEAF, _DARK = (0.85, 0.68, 0.25), (0.6, 0.58, 0.54), (0.2, 0.5, 0.2), (0.2, 0.22, 0.26)
_GLASS, _WHITE, _RED = (0.55, 0.75, 0.85), (0.94, 0.94, 0.93), (0.8, 0.16, 0.14)

_HANDLES, _LEGS = "handle handles ear ears", "leg legs"
HANDLE_WORDS, LEG_WORDS = tuple(_HANDLES.split()), tuple(_LEGS.split())
_WOODEN, _PATTERNS = "wooden metal", "striped spotted checkered"
_CERAMIC = f"{_PATTERNS} metal glass stone"


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
    materials: tuple[str, ...] = ("plain",)
    relaxation: float = 0.8  # fraction of the distance that sphere tracing may safely advance
    genus: int | None = None  # of the whole object; None: one per handle

    def variants(self) -> list[tuple[int, bool]]:
        """Return every valid (count, option)."""
        options = (self.option_default, not self.option_default) if self.option_words else (False,)
        return [(count, option) for count in self.counts for option in options]

    def expected_genus(self, count: int) -> int:
        """Return the topological genus for a count of handles (or of legs, which make no holes)."""
        return self.genus if self.genus is not None else count * self.counts_handles

    @property
    def counts_handles(self) -> bool:
        """Whether the count is a count of handles."""
        return self.counted_words == HANDLE_WORDS

    @property
    def second_part_is_handles(self) -> bool:
        """Whether part B is the handles, which are absent if the count is 0."""
        return self.second_part_words == HANDLE_WORDS


def _category(
    name: str,
    shape: ShapeFunction,
    synonyms: str,
    second_part: str,
    color: Color,
    second_color: Color | None = None,
    accent_color: Color | None = None,
    *,
    counted: str = _HANDLES,
    option: str = "",
    materials: str = "",
    **fields: Any,
) -> Category:
    """Build a category from words separated by spaces; ``materials`` are those besides plain."""
    fields |= {"counted_words": tuple(counted.split()), "option_words": tuple(option.split())}
    fields["materials"] = ("plain", *materials.split())
    words = tuple(synonyms.split()), tuple(second_part.split())
    return Category(name, shape, *words, color, second_color, accent_color, **fields)


# fmt: off
_ALL_CATEGORIES = (
    # vessels
    _category("pitcher", vessels.pitcher, "jug ewer", _HANDLES, _CLAY, counts=(1, 0, 2), materials=_CERAMIC,
        relaxation=0.5),
    _category("mug", vessels.mug, "cup teacup", _HANDLES, _CREAM, counts=(1, 0, 2), option="lid cover",
        materials=f"{_CERAMIC} wooden"),
    _category("vase", vessels.vase, "urn amphora", _HANDLES, (0.55, 0.68, 0.72), counts=(0, 1, 2),
        materials=_CERAMIC),
    _category("bowl", vessels.bowl, "dish basin", _HANDLES, _CREAM, counts=(0, 2),
        materials=f"{_CERAMIC} wooden"),
    _category("bottle", vessels.bottle, "flask", "cap stopper lid cork", (0.2, 0.42, 0.28), WOOD_COLOR,
        materials="glass striped"),
    _category("goblet", vessels.goblet, "chalice", "stem foot base", _GOLD, materials="metal glass wooden"),
    _category("teapot", vessels.teapot, "kettle", "lid cover", _CREAM, counts=(1,), materials=_CERAMIC),
    _category("barrel", vessels.barrel, "cask keg", "bands hoops rings band hoop", WOOD_COLOR, _STEEL,
        materials=_WOODEN),
    _category("pot", vessels.pot, "saucepan cauldron", _HANDLES, _STEEL, counts=(2, 1), option="lid cover",
        materials="metal"),
    _category("bucket", vessels.bucket, "pail", _HANDLES, _STEEL, _DARK, counts=(1,),
        materials="metal wooden striped"),
    # furniture
    _category("table", furniture.table, "desk", "legs leg", WOOD_COLOR, counts=(4, 1), counted=_LEGS,
        materials=f"{_WOODEN} stone glass"),
    _category("chair", furniture.chair, "", "seat cushion", WOOD_COLOR, materials=_WOODEN),
    _category("stool", furniture.stool, "", "seat cushion top", WOOD_COLOR, counts=(3, 4), counted=_LEGS,
        materials=_WOODEN),
    _category("bench", furniture.bench, "pew", "legs leg", WOOD_COLOR, genus=1, materials=f"{_WOODEN} stone"),
    _category("sofa", furniture.sofa, "couch settee", "cushions cushion", (0.5, 0.36, 0.3), materials=_PATTERNS),
    _category("bed", furniture.bed, "cot", "blanket cover quilt", WOOD_COLOR, (0.35, 0.5, 0.72), _WHITE,
        materials=_WOODEN),
    _category("lamp", furniture.lamp, "lampshade", "base stand foot", (0.94, 0.88, 0.68), (0.45, 0.3, 0.18),
        materials=_PATTERNS),
    _category("bookshelf", furniture.bookshelf, "bookcase", "books book", WOOD_COLOR, (0.62, 0.2, 0.18),
        materials=_WOODEN),
    _category("chest", furniture.chest, "coffer strongbox", "straps strap lock bands", (0.5, 0.3, 0.15), _GOLD,
        materials=_WOODEN),
    # plants and food
    _category("mushroom", nature.mushroom, "toadstool", "stem stalk", (0.72, 0.45, 0.26), (0.93, 0.88, 0.76),
        materials="spotted"),
    _category("donut", nature.donut, "doughnut", "dough", (0.4, 0.24, 0.13), (0.85, 0.62, 0.34), genus=1,
        materials="spotted"),
    _category("tree", nature.tree, "fir pine spruce", "trunk", (0.15, 0.48, 0.22), (0.45, 0.29, 0.15)),
    _category("cactus", nature.cactus, "saguaro", "pot planter", (0.28, 0.56, 0.28), _CLAY, counts=(2, 1, 0),
        counted="arm arms branch branches", materials="striped"),
    _category("apple", nature.apple, "", "stem stalk", (0.78, 0.14, 0.14), (0.4, 0.27, 0.14), _LEAF),
    _category("carrot", nature.carrot, "", "leaves leaf greens", (0.94, 0.5, 0.13), _LEAF),
    _category("cake", nature.cake, "gateau", "icing frosting", (0.86, 0.66, 0.4), (0.97, 0.93, 0.88), (0.8, 0.1,
        0.15), counts=(2, 1, 3), counted="tier tiers layer layers", materials="striped"),
    _category("pumpkin", nature.pumpkin, "squash", "stem stalk", (0.92, 0.5, 0.12), (0.35, 0.42, 0.18)),
    _category("icecream", nature.ice_cream, "gelato", "cone wafer", (0.96, 0.72, 0.76), (0.82, 0.58, 0.3),
        counts=(1, 2, 3), counted="scoop scoops ball balls", materials="spotted"),
    # toys
    _category("snowman", toys.snowman, "", "hat", (0.94, 0.95, 0.97), (0.14, 0.14, 0.17), (0.95, 0.45, 0.08)),
    _category("ball", toys.ball, "sphere", "belt ring", _RED, _WHITE, materials=_PATTERNS),
    _category("duck", toys.duck, "duckling", "beak bill", (0.96, 0.82, 0.15), (0.95, 0.5, 0.1), _DARK),
    _category("robot", toys.robot, "android", "head", _STEEL, None, (0.95, 0.8, 0.2), materials="metal striped"),
    # tools and other things for the hand
    _category("hammer", tools.hammer, "mallet", "shaft handle grip", _STEEL, WOOD_COLOR, materials="metal stone"),
    _category("axe", tools.axe, "hatchet ax", "shaft handle grip", _STEEL, WOOD_COLOR, materials="metal stone"),
    _category("sword", tools.sword, "blade", "hilt grip handle", (0.72, 0.75, 0.79), (0.5, 0.32, 0.14),
        materials="metal wooden"),
    _category("shield", tools.shield, "", "cross emblem boss", (0.2, 0.3, 0.65), _GOLD,
        materials="striped checkered wooden metal"),
    _category("key", tools.key, "", "teeth bit", _GOLD, genus=1, materials="metal"),
    _category("anvil", tools.anvil, "", "base foot", (0.3, 0.31, 0.34), materials="metal stone"),
    _category("hat", tools.hat, "tophat", "band ribbon", (0.15, 0.15, 0.18), _RED, materials=_PATTERNS),
    _category("bell", tools.bell, "handbell", "handle grip", _GOLD, (0.4, 0.25, 0.13), materials="metal"),
    _category("candle", tools.candle, "", "holder dish", _CREAM, _GOLD, (0.98, 0.7, 0.15), genus=1,
        materials="striped"),
    _category("gift", tools.gift, "present parcel", "ribbon bow", _RED, _GOLD, materials=_PATTERNS),
    _category("cone", tools.traffic_cone, "pylon", "stripes bands", (0.95, 0.42, 0.08), _WHITE),
    # buildings and vehicles
    _category("rocket", built.rocket, "spaceship", "fins fin nose", (0.9, 0.9, 0.92), (0.83, 0.16, 0.14),
        materials="striped checkered metal"),
    _category("house", built.house, "cottage hut cabin", "roof", (0.9, 0.84, 0.7), (0.68, 0.26, 0.18), (0.35,
        0.22, 0.14), option="chimney", materials="wooden stone"),
    _category("tower", built.tower, "turret", "battlements top roof spire", _STONE, None, (0.25, 0.18, 0.14),
        option="roof spire", materials="stone", relaxation=0.6),
    _category("lighthouse", built.lighthouse, "beacon", "gallery roof", _WHITE, _RED, (0.98, 0.85, 0.4),
        materials="striped stone"),
    _category("tent", built.tent, "marquee", "ridge pole", (0.3, 0.5, 0.34), WOOD_COLOR, (0.16, 0.17, 0.18),
        materials=_PATTERNS),
    _category("car", built.car, "automobile auto", "wheels wheel tyres tires", _RED, _DARK, _GLASS,
        materials="striped checkered"),
    _category("boat", built.boat, "ship dinghy sailboat", "sail sails", WOOD_COLOR, _WHITE, (0.45, 0.3, 0.16),
        option="sail mast sails", option_default=True, materials="wooden striped", relaxation=0.6),
    _category("airplane", built.airplane, "plane aeroplane aircraft", "wings wing", (0.88, 0.9, 0.92), _RED,
        _GLASS, materials="metal striped"),
    _category("ufo", built.ufo, "", "dome cockpit", _STEEL, _GLASS, (0.98, 0.85, 0.3), materials="metal"),
)
# fmt: on
CATEGORIES: dict[str, Category] = {category.name: category for category in _ALL_CATEGORIES}


def format_category_names(categories: Sequence[str] | None = None) -> str:
    """List category names (default: all) in one line, for error messages."""
    return ", ".join(sorted(CATEGORIES if categories is None else categories))
