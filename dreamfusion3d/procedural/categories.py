"""The kinds of props: what each is called, painted, counted and finished like."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from dreamfusion3d.procedural.shapes import built, furniture, nature, tools, toys, vessels
from dreamfusion3d.procedural.shapes.base import Style

Colour = tuple[float, float, float]  # sRGB

WOOD: Colour = (0.6, 0.4, 0.22)
_CLAY, _CREAM, _STEEL = (0.76, 0.5, 0.34), (0.93, 0.89, 0.8), (0.62, 0.64, 0.67)
_GOLD, _STONE, _LEAF, _DARK = (0.85, 0.68, 0.25), (0.6, 0.58, 0.54), (0.2, 0.5, 0.2), (0.2, 0.22, 0.26)
_GLASS, _WHITE, _RED = (0.55, 0.75, 0.85), (0.94, 0.94, 0.93), (0.8, 0.16, 0.14)

HANDLES = ("handle", "handles", "ear", "ears")
LEGS = ("leg", "legs")
PATTERNS = ("striped", "spotted", "checkered")
CERAMIC = ("plain", *PATTERNS, "metal", "glass", "stone")
WOODEN = ("plain", "wooden", "metal")


@dataclass(frozen=True)
class Kind:
    """One kind of prop. ``parts`` returns the distances of part A (which the first colour of a
    prompt paints), part B (the named second part) and perhaps an accent of fixed colour."""

    name: str
    parts: Callable[[Tensor, Tensor, Tensor, Style], list[Tensor]]
    nouns: tuple[str, ...]  # synonyms, the name apart
    second: tuple[str, ...]  # words for part B
    natural: Colour
    natural_second: Colour | None = None  # None: painted like part A
    accent: Colour | None = None
    counts: tuple[int, ...] = (0,)  # that exist; the first is meant when none is named
    counted: tuple[str, ...] = HANDLES  # words for what is counted, the singular first
    option: tuple[str, ...] = ()  # words for a part that may be there or not
    usually: bool = False  # whether it is, when nothing is said of it
    finishes: tuple[str, ...] = ("plain",)
    relaxation: float = 0.8  # safe share of the distance to march at a time
    genus: int | None = None  # of the whole; None: as many as it has handles

    def forms(self) -> list[tuple[int, bool]]:
        """Every (count, option) that an instance may have."""
        options = (self.usually, not self.usually) if self.option else (False,)
        return [(count, option) for count in self.counts for option in options]

    def genus_of(self, count: int) -> int:
        """Holes through the body of an instance with that many handles (or legs, which make none)."""
        if self.genus is not None:
            return self.genus
        return count if self.counted == HANDLES else 0


_TWO_OR_LESS = (2, 1, 0)

KINDS: dict[str, Kind] = {
    k.name: k
    for k in (
        # vessels
        Kind("pitcher", vessels.pitcher, ("jug", "ewer"), HANDLES, _CLAY, counts=(1, 0, 2),
             finishes=CERAMIC, relaxation=0.5),
        Kind("mug", vessels.mug, ("cup", "teacup"), HANDLES, _CREAM, counts=(1, 0, 2),
             option=("lid", "cover"), finishes=(*CERAMIC, "wooden")),
        Kind("vase", vessels.vase, ("urn", "amphora"), HANDLES, (0.55, 0.68, 0.72), counts=(0, 1, 2),
             finishes=CERAMIC),
        Kind("bowl", vessels.bowl, ("dish", "basin"), HANDLES, _CREAM, counts=(0, 2),
             finishes=(*CERAMIC, "wooden")),
        Kind("bottle", vessels.bottle, ("flask",), ("cap", "stopper", "lid", "cork"), (0.2, 0.42, 0.28),
             WOOD, finishes=("plain", "glass", "striped")),
        Kind("goblet", vessels.goblet, ("chalice",), ("stem", "foot", "base"), _GOLD,
             finishes=("plain", "metal", "glass", "wooden")),
        Kind("teapot", vessels.teapot, ("kettle",), ("lid", "cover"), _CREAM, counts=(1,),
             finishes=CERAMIC),
        Kind("barrel", vessels.barrel, ("cask", "keg"), ("bands", "hoops", "rings", "band", "hoop"), WOOD,
             _STEEL, finishes=WOODEN),
        Kind("pot", vessels.pot, ("saucepan", "cauldron"), HANDLES, _STEEL, counts=(2, 1),
             option=("lid", "cover"), finishes=("plain", "metal")),
        Kind("bucket", vessels.bucket, ("pail",), HANDLES, _STEEL, _DARK, counts=(1,),
             finishes=("plain", "metal", "wooden", "striped")),
        # furniture
        Kind("table", furniture.table, ("desk",), ("legs", "leg"), WOOD, counts=(4, 1), counted=LEGS,
             finishes=(*WOODEN, "stone", "glass")),
        Kind("chair", furniture.chair, (), ("seat", "cushion"), WOOD, finishes=WOODEN),
        Kind("stool", furniture.stool, (), ("seat", "cushion", "top"), WOOD, counts=(3, 4), counted=LEGS,
             finishes=WOODEN),
        Kind("bench", furniture.bench, ("pew",), ("legs", "leg"), WOOD, genus=1,
             finishes=(*WOODEN, "stone")),
        Kind("sofa", furniture.sofa, ("couch", "settee"), ("cushions", "cushion"), (0.5, 0.36, 0.3),
             finishes=("plain", *PATTERNS)),
        Kind("bed", furniture.bed, ("cot",), ("blanket", "cover", "quilt"), WOOD, (0.35, 0.5, 0.72), _WHITE,
             finishes=WOODEN),
        Kind("lamp", furniture.lamp, ("lampshade",), ("base", "stand", "foot"), (0.94, 0.88, 0.68),
             (0.45, 0.3, 0.18), finishes=("plain", *PATTERNS)),
        Kind("bookshelf", furniture.bookshelf, ("bookcase",), ("books", "book"), WOOD, (0.62, 0.2, 0.18),
             finishes=WOODEN),
        Kind("chest", furniture.chest, ("coffer", "strongbox"), ("straps", "strap", "lock", "bands"),
             (0.5, 0.3, 0.15), _GOLD, finishes=WOODEN),
        # plants and food
        Kind("mushroom", nature.mushroom, ("toadstool",), ("stem", "stalk"), (0.72, 0.45, 0.26),
             (0.93, 0.88, 0.76), finishes=("plain", "spotted")),
        Kind("donut", nature.donut, ("doughnut",), ("dough",), (0.4, 0.24, 0.13), (0.85, 0.62, 0.34),
             genus=1, finishes=("plain", "spotted")),
        Kind("tree", nature.tree, ("fir", "pine", "spruce"), ("trunk",), (0.15, 0.48, 0.22),
             (0.45, 0.29, 0.15)),
        Kind("cactus", nature.cactus, ("saguaro",), ("pot", "planter"), (0.28, 0.56, 0.28), _CLAY,
             counts=_TWO_OR_LESS, counted=("arm", "arms", "branch", "branches"),
             finishes=("plain", "striped")),
        Kind("apple", nature.apple, (), ("stem", "stalk"), (0.78, 0.14, 0.14), (0.4, 0.27, 0.14), _LEAF),
        Kind("carrot", nature.carrot, (), ("leaves", "leaf", "greens"), (0.94, 0.5, 0.13), _LEAF),
        Kind("cake", nature.cake, ("gateau",), ("icing", "frosting"), (0.86, 0.66, 0.4), (0.97, 0.93, 0.88),
             (0.8, 0.1, 0.15), counts=(2, 1, 3), counted=("tier", "tiers", "layer", "layers"),
             finishes=("plain", "striped")),
        Kind("pumpkin", nature.pumpkin, ("squash",), ("stem", "stalk"), (0.92, 0.5, 0.12),
             (0.35, 0.42, 0.18)),
        Kind("icecream", nature.ice_cream, ("gelato",), ("cone", "wafer"), (0.96, 0.72, 0.76),
             (0.82, 0.58, 0.3), counts=(1, 2, 3), counted=("scoop", "scoops", "ball", "balls"),
             finishes=("plain", "spotted")),
        # toys
        Kind("snowman", toys.snowman, (), ("hat",), (0.94, 0.95, 0.97), (0.14, 0.14, 0.17),
             (0.95, 0.45, 0.08)),
        Kind("ball", toys.ball, ("sphere",), ("belt", "ring"), _RED, _WHITE, finishes=("plain", *PATTERNS)),
        Kind("duck", toys.duck, ("duckling",), ("beak", "bill"), (0.96, 0.82, 0.15), (0.95, 0.5, 0.1),
             _DARK),
        Kind("robot", toys.robot, ("android",), ("head",), _STEEL, None, (0.95, 0.8, 0.2),
             finishes=("plain", "metal", "striped")),
        # tools and other things for the hand
        Kind("hammer", tools.hammer, ("mallet",), ("shaft", "handle", "grip"), _STEEL, WOOD,
             finishes=("plain", "metal", "stone")),
        Kind("axe", tools.axe, ("hatchet", "ax"), ("shaft", "handle", "grip"), _STEEL, WOOD,
             finishes=("plain", "metal", "stone")),
        Kind("sword", tools.sword, ("blade",), ("hilt", "grip", "handle"), (0.72, 0.75, 0.79),
             (0.5, 0.32, 0.14), finishes=("plain", "metal", "wooden")),
        Kind("shield", tools.shield, (), ("cross", "emblem", "boss"), (0.2, 0.3, 0.65), _GOLD,
             finishes=("plain", "striped", "checkered", "wooden", "metal")),
        Kind("key", tools.key, (), ("teeth", "bit"), _GOLD, genus=1, finishes=("plain", "metal")),
        Kind("anvil", tools.anvil, (), ("base", "foot"), (0.3, 0.31, 0.34),
             finishes=("plain", "metal", "stone")),
        Kind("hat", tools.hat, ("tophat",), ("band", "ribbon"), (0.15, 0.15, 0.18), _RED,
             finishes=("plain", *PATTERNS)),
        Kind("bell", tools.bell, ("handbell",), ("handle", "grip"), _GOLD, (0.4, 0.25, 0.13),
             finishes=("plain", "metal")),
        Kind("candle", tools.candle, (), ("holder", "dish"), _CREAM, _GOLD, (0.98, 0.7, 0.15), genus=1,
             finishes=("plain", "striped")),
        Kind("gift", tools.gift, ("present", "parcel"), ("ribbon", "bow"), _RED, _GOLD,
             finishes=("plain", *PATTERNS)),
        Kind("cone", tools.traffic_cone, ("pylon",), ("stripes", "bands"), (0.95, 0.42, 0.08), _WHITE),
        # buildings and vehicles
        Kind("rocket", built.rocket, ("spaceship",), ("fins", "fin", "nose"), (0.9, 0.9, 0.92),
             (0.83, 0.16, 0.14), finishes=("plain", "striped", "checkered", "metal")),
        Kind("house", built.house, ("cottage", "hut", "cabin"), ("roof",), (0.9, 0.84, 0.7),
             (0.68, 0.26, 0.18), (0.35, 0.22, 0.14), option=("chimney",),
             finishes=("plain", "wooden", "stone")),
        Kind("tower", built.tower, ("turret",), ("battlements", "top", "roof", "spire"), _STONE, None,
             (0.25, 0.18, 0.14), option=("roof", "spire"), finishes=("plain", "stone"), relaxation=0.6),
        Kind("lighthouse", built.lighthouse, ("beacon",), ("gallery", "roof"), _WHITE, _RED,
             (0.98, 0.85, 0.4), finishes=("plain", "striped", "stone")),
        Kind("tent", built.tent, ("marquee",), ("ridge", "pole"), (0.3, 0.5, 0.34), WOOD,
             (0.16, 0.17, 0.18), finishes=("plain", *PATTERNS)),
        Kind("car", built.car, ("automobile", "auto"), ("wheels", "wheel", "tyres", "tires"), _RED, _DARK,
             _GLASS, finishes=("plain", "striped", "checkered")),
        Kind("boat", built.boat, ("ship", "dinghy", "sailboat"), ("sail", "sails"), WOOD, _WHITE,
             (0.45, 0.3, 0.16), option=("sail", "mast", "sails"), usually=True,
             finishes=("plain", "wooden", "striped"), relaxation=0.6),
        Kind("airplane", built.airplane, ("plane", "aeroplane", "aircraft"), ("wings", "wing"),
             (0.88, 0.9, 0.92), _RED, _GLASS, finishes=("plain", "metal", "striped")),
        Kind("ufo", built.ufo, (), ("dome", "cockpit"), _STEEL, _GLASS, (0.98, 0.85, 0.3),
             finishes=("plain", "metal")),
    )
}


def world_summary(kinds: Sequence[str] | None = None) -> str:
    """One line for error messages: every kind."""
    return ", ".join(sorted(KINDS if kinds is None else kinds))
