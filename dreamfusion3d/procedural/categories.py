"""Object categories: shape, names, colors, counts and materials of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from dreamfusion3d.procedural.shapes import built, furniture, nature, tools, toys, vessels
from dreamfusion3d.procedural.shapes.base import ShapeParams

Color = tuple[float, float, float]  # sRGB

WOOD_COLOR: Color = (0.6, 0.4, 0.22)
_CLAY, _CREAM, _STEEL = (0.76, 0.5, 0.34), (0.93, 0.89, 0.8), (0.62, 0.64, 0.67)
_GOLD, _STONE, _LEAF, _DARK = (0.85, 0.68, 0.25), (0.6, 0.58, 0.54), (0.2, 0.5, 0.2), (0.2, 0.22, 0.26)
_GLASS, _WHITE, _RED = (0.55, 0.75, 0.85), (0.94, 0.94, 0.93), (0.8, 0.16, 0.14)

HANDLE_WORDS = ("handle", "handles", "ear", "ears")
LEG_WORDS = ("leg", "legs")
PATTERN_MATERIALS = ("striped", "spotted", "checkered")
CERAMIC_MATERIALS = ("plain", *PATTERN_MATERIALS, "metal", "glass", "stone")
WOODEN_MATERIALS = ("plain", "wooden", "metal")


@dataclass(frozen=True)
class Category:
    """A category of procedural objects.

    ``part_distances`` returns the signed distances of part A (painted in the first color of a
    prompt), part B (the named second part) and optionally an accent of fixed color.
    """

    name: str
    part_distances: Callable[[Tensor, Tensor, Tensor, ShapeParams], list[Tensor]]
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
        if self.genus is not None:
            return self.genus
        return count if self.counts_handles else 0

    @property
    def counts_handles(self) -> bool:
        """Whether the count is a count of handles."""
        return self.counted_words == HANDLE_WORDS

    @property
    def second_part_is_handles(self) -> bool:
        """Whether part B is the handles, which are absent if the count is 0."""
        return self.second_part_words is HANDLE_WORDS


_UP_TO_TWO = (2, 1, 0)

CATEGORIES: dict[str, Category] = {
    k.name: k
    for k in (
        # vessels
        Category(
            "pitcher",
            vessels.pitcher,
            ("jug", "ewer"),
            HANDLE_WORDS,
            _CLAY,
            counts=(1, 0, 2),
            materials=CERAMIC_MATERIALS,
            relaxation=0.5,
        ),
        Category(
            "mug",
            vessels.mug,
            ("cup", "teacup"),
            HANDLE_WORDS,
            _CREAM,
            counts=(1, 0, 2),
            option_words=("lid", "cover"),
            materials=(*CERAMIC_MATERIALS, "wooden"),
        ),
        Category(
            "vase",
            vessels.vase,
            ("urn", "amphora"),
            HANDLE_WORDS,
            (0.55, 0.68, 0.72),
            counts=(0, 1, 2),
            materials=CERAMIC_MATERIALS,
        ),
        Category(
            "bowl",
            vessels.bowl,
            ("dish", "basin"),
            HANDLE_WORDS,
            _CREAM,
            counts=(0, 2),
            materials=(*CERAMIC_MATERIALS, "wooden"),
        ),
        Category(
            "bottle",
            vessels.bottle,
            ("flask",),
            ("cap", "stopper", "lid", "cork"),
            (0.2, 0.42, 0.28),
            WOOD_COLOR,
            materials=("plain", "glass", "striped"),
        ),
        Category(
            "goblet",
            vessels.goblet,
            ("chalice",),
            ("stem", "foot", "base"),
            _GOLD,
            materials=("plain", "metal", "glass", "wooden"),
        ),
        Category(
            "teapot", vessels.teapot, ("kettle",), ("lid", "cover"), _CREAM, counts=(1,), materials=CERAMIC_MATERIALS
        ),
        Category(
            "barrel",
            vessels.barrel,
            ("cask", "keg"),
            ("bands", "hoops", "rings", "band", "hoop"),
            WOOD_COLOR,
            _STEEL,
            materials=WOODEN_MATERIALS,
        ),
        Category(
            "pot",
            vessels.pot,
            ("saucepan", "cauldron"),
            HANDLE_WORDS,
            _STEEL,
            counts=(2, 1),
            option_words=("lid", "cover"),
            materials=("plain", "metal"),
        ),
        Category(
            "bucket",
            vessels.bucket,
            ("pail",),
            HANDLE_WORDS,
            _STEEL,
            _DARK,
            counts=(1,),
            materials=("plain", "metal", "wooden", "striped"),
        ),
        # furniture
        Category(
            "table",
            furniture.table,
            ("desk",),
            ("legs", "leg"),
            WOOD_COLOR,
            counts=(4, 1),
            counted_words=LEG_WORDS,
            materials=(*WOODEN_MATERIALS, "stone", "glass"),
        ),
        Category("chair", furniture.chair, (), ("seat", "cushion"), WOOD_COLOR, materials=WOODEN_MATERIALS),
        Category(
            "stool",
            furniture.stool,
            (),
            ("seat", "cushion", "top"),
            WOOD_COLOR,
            counts=(3, 4),
            counted_words=LEG_WORDS,
            materials=WOODEN_MATERIALS,
        ),
        Category(
            "bench",
            furniture.bench,
            ("pew",),
            ("legs", "leg"),
            WOOD_COLOR,
            genus=1,
            materials=(*WOODEN_MATERIALS, "stone"),
        ),
        Category(
            "sofa",
            furniture.sofa,
            ("couch", "settee"),
            ("cushions", "cushion"),
            (0.5, 0.36, 0.3),
            materials=("plain", *PATTERN_MATERIALS),
        ),
        Category(
            "bed",
            furniture.bed,
            ("cot",),
            ("blanket", "cover", "quilt"),
            WOOD_COLOR,
            (0.35, 0.5, 0.72),
            _WHITE,
            materials=WOODEN_MATERIALS,
        ),
        Category(
            "lamp",
            furniture.lamp,
            ("lampshade",),
            ("base", "stand", "foot"),
            (0.94, 0.88, 0.68),
            (0.45, 0.3, 0.18),
            materials=("plain", *PATTERN_MATERIALS),
        ),
        Category(
            "bookshelf",
            furniture.bookshelf,
            ("bookcase",),
            ("books", "book"),
            WOOD_COLOR,
            (0.62, 0.2, 0.18),
            materials=WOODEN_MATERIALS,
        ),
        Category(
            "chest",
            furniture.chest,
            ("coffer", "strongbox"),
            ("straps", "strap", "lock", "bands"),
            (0.5, 0.3, 0.15),
            _GOLD,
            materials=WOODEN_MATERIALS,
        ),
        # plants and food
        Category(
            "mushroom",
            nature.mushroom,
            ("toadstool",),
            ("stem", "stalk"),
            (0.72, 0.45, 0.26),
            (0.93, 0.88, 0.76),
            materials=("plain", "spotted"),
        ),
        Category(
            "donut",
            nature.donut,
            ("doughnut",),
            ("dough",),
            (0.4, 0.24, 0.13),
            (0.85, 0.62, 0.34),
            genus=1,
            materials=("plain", "spotted"),
        ),
        Category("tree", nature.tree, ("fir", "pine", "spruce"), ("trunk",), (0.15, 0.48, 0.22), (0.45, 0.29, 0.15)),
        Category(
            "cactus",
            nature.cactus,
            ("saguaro",),
            ("pot", "planter"),
            (0.28, 0.56, 0.28),
            _CLAY,
            counts=_UP_TO_TWO,
            counted_words=("arm", "arms", "branch", "branches"),
            materials=("plain", "striped"),
        ),
        Category("apple", nature.apple, (), ("stem", "stalk"), (0.78, 0.14, 0.14), (0.4, 0.27, 0.14), _LEAF),
        Category("carrot", nature.carrot, (), ("leaves", "leaf", "greens"), (0.94, 0.5, 0.13), _LEAF),
        Category(
            "cake",
            nature.cake,
            ("gateau",),
            ("icing", "frosting"),
            (0.86, 0.66, 0.4),
            (0.97, 0.93, 0.88),
            (0.8, 0.1, 0.15),
            counts=(2, 1, 3),
            counted_words=("tier", "tiers", "layer", "layers"),
            materials=("plain", "striped"),
        ),
        Category("pumpkin", nature.pumpkin, ("squash",), ("stem", "stalk"), (0.92, 0.5, 0.12), (0.35, 0.42, 0.18)),
        Category(
            "icecream",
            nature.ice_cream,
            ("gelato",),
            ("cone", "wafer"),
            (0.96, 0.72, 0.76),
            (0.82, 0.58, 0.3),
            counts=(1, 2, 3),
            counted_words=("scoop", "scoops", "ball", "balls"),
            materials=("plain", "spotted"),
        ),
        # toys
        Category("snowman", toys.snowman, (), ("hat",), (0.94, 0.95, 0.97), (0.14, 0.14, 0.17), (0.95, 0.45, 0.08)),
        Category(
            "ball", toys.ball, ("sphere",), ("belt", "ring"), _RED, _WHITE, materials=("plain", *PATTERN_MATERIALS)
        ),
        Category("duck", toys.duck, ("duckling",), ("beak", "bill"), (0.96, 0.82, 0.15), (0.95, 0.5, 0.1), _DARK),
        Category(
            "robot",
            toys.robot,
            ("android",),
            ("head",),
            _STEEL,
            None,
            (0.95, 0.8, 0.2),
            materials=("plain", "metal", "striped"),
        ),
        # tools and other things for the hand
        Category(
            "hammer",
            tools.hammer,
            ("mallet",),
            ("shaft", "handle", "grip"),
            _STEEL,
            WOOD_COLOR,
            materials=("plain", "metal", "stone"),
        ),
        Category(
            "axe",
            tools.axe,
            ("hatchet", "ax"),
            ("shaft", "handle", "grip"),
            _STEEL,
            WOOD_COLOR,
            materials=("plain", "metal", "stone"),
        ),
        Category(
            "sword",
            tools.sword,
            ("blade",),
            ("hilt", "grip", "handle"),
            (0.72, 0.75, 0.79),
            (0.5, 0.32, 0.14),
            materials=("plain", "metal", "wooden"),
        ),
        Category(
            "shield",
            tools.shield,
            (),
            ("cross", "emblem", "boss"),
            (0.2, 0.3, 0.65),
            _GOLD,
            materials=("plain", "striped", "checkered", "wooden", "metal"),
        ),
        Category("key", tools.key, (), ("teeth", "bit"), _GOLD, genus=1, materials=("plain", "metal")),
        Category("anvil", tools.anvil, (), ("base", "foot"), (0.3, 0.31, 0.34), materials=("plain", "metal", "stone")),
        Category(
            "hat",
            tools.hat,
            ("tophat",),
            ("band", "ribbon"),
            (0.15, 0.15, 0.18),
            _RED,
            materials=("plain", *PATTERN_MATERIALS),
        ),
        Category(
            "bell",
            tools.bell,
            ("handbell",),
            ("handle", "grip"),
            _GOLD,
            (0.4, 0.25, 0.13),
            materials=("plain", "metal"),
        ),
        Category(
            "candle",
            tools.candle,
            (),
            ("holder", "dish"),
            _CREAM,
            _GOLD,
            (0.98, 0.7, 0.15),
            genus=1,
            materials=("plain", "striped"),
        ),
        Category(
            "gift",
            tools.gift,
            ("present", "parcel"),
            ("ribbon", "bow"),
            _RED,
            _GOLD,
            materials=("plain", *PATTERN_MATERIALS),
        ),
        Category("cone", tools.traffic_cone, ("pylon",), ("stripes", "bands"), (0.95, 0.42, 0.08), _WHITE),
        # buildings and vehicles
        Category(
            "rocket",
            built.rocket,
            ("spaceship",),
            ("fins", "fin", "nose"),
            (0.9, 0.9, 0.92),
            (0.83, 0.16, 0.14),
            materials=("plain", "striped", "checkered", "metal"),
        ),
        Category(
            "house",
            built.house,
            ("cottage", "hut", "cabin"),
            ("roof",),
            (0.9, 0.84, 0.7),
            (0.68, 0.26, 0.18),
            (0.35, 0.22, 0.14),
            option_words=("chimney",),
            materials=("plain", "wooden", "stone"),
        ),
        Category(
            "tower",
            built.tower,
            ("turret",),
            ("battlements", "top", "roof", "spire"),
            _STONE,
            None,
            (0.25, 0.18, 0.14),
            option_words=("roof", "spire"),
            materials=("plain", "stone"),
            relaxation=0.6,
        ),
        Category(
            "lighthouse",
            built.lighthouse,
            ("beacon",),
            ("gallery", "roof"),
            _WHITE,
            _RED,
            (0.98, 0.85, 0.4),
            materials=("plain", "striped", "stone"),
        ),
        Category(
            "tent",
            built.tent,
            ("marquee",),
            ("ridge", "pole"),
            (0.3, 0.5, 0.34),
            WOOD_COLOR,
            (0.16, 0.17, 0.18),
            materials=("plain", *PATTERN_MATERIALS),
        ),
        Category(
            "car",
            built.car,
            ("automobile", "auto"),
            ("wheels", "wheel", "tyres", "tires"),
            _RED,
            _DARK,
            _GLASS,
            materials=("plain", "striped", "checkered"),
        ),
        Category(
            "boat",
            built.boat,
            ("ship", "dinghy", "sailboat"),
            ("sail", "sails"),
            WOOD_COLOR,
            _WHITE,
            (0.45, 0.3, 0.16),
            option_words=("sail", "mast", "sails"),
            option_default=True,
            materials=("plain", "wooden", "striped"),
            relaxation=0.6,
        ),
        Category(
            "airplane",
            built.airplane,
            ("plane", "aeroplane", "aircraft"),
            ("wings", "wing"),
            (0.88, 0.9, 0.92),
            _RED,
            _GLASS,
            materials=("plain", "metal", "striped"),
        ),
        Category(
            "ufo", built.ufo, (), ("dome", "cockpit"), _STEEL, _GLASS, (0.98, 0.85, 0.3), materials=("plain", "metal")
        ),
    )
}


def format_category_names(categories: Sequence[str] | None = None) -> str:
    """List category names (default: all) in one line, for error messages."""
    return ", ".join(sorted(CATEGORIES if categories is None else categories))
