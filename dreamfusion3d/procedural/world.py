"""What the procedural world holds: kinds of props, their attributes, and instances of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.procedural import shapes
from dreamfusion3d.procedural.shapes import Style

VARIATIONS = 6  # numbers that set one instance of a kind apart from another

COLOURS: dict[str, tuple[float, float, float]] = {  # sRGB
    "red": (0.83, 0.12, 0.12), "orange": (0.95, 0.5, 0.08), "yellow": (0.95, 0.83, 0.12),
    "green": (0.15, 0.6, 0.2), "cyan": (0.15, 0.75, 0.8), "blue": (0.13, 0.27, 0.8),
    "purple": (0.5, 0.18, 0.68), "pink": (0.96, 0.55, 0.72), "brown": (0.48, 0.29, 0.14),
    "black": (0.1, 0.1, 0.11), "grey": (0.5, 0.5, 0.52), "white": (0.93, 0.93, 0.93),
}
WOOD = (0.6, 0.4, 0.22)
SIZES: dict[str, tuple[float, float]] = {  # word -> (scale of x and z, scale of y)
    "normal": (1.0, 1.0), "tall": (0.88, 1.2), "short": (1.0, 0.72), "wide": (1.14, 0.88),
    "small": (0.7, 0.7),
}
HANDLE_WORDS = ("none", "one", "two")


@dataclass(frozen=True)
class Kind:
    """One kind of prop. ``parts`` returns the distances of part A (which the first colour of a
    prompt paints), part B (the named second part) and perhaps an accent of fixed colour."""

    name: str
    parts: Callable[[Tensor, Tensor, Tensor, Style], list[Tensor]]
    nouns: tuple[str, ...]  # synonyms, the name apart
    second: tuple[str, ...]  # words for part B
    natural: tuple[float, float, float]
    natural_second: tuple[float, float, float] | None = None  # None: painted like part A
    accent: tuple[float, float, float] | None = None
    handles: tuple[int, ...] = (0,)  # counts that exist; the first is meant when none is named
    relaxation: float = 0.8  # safe share of the distance to march at a time
    genus: int | None = None  # of the whole; None: as many as it has handles

    def genus_of(self, handles: int) -> int:
        """Holes through the body of an instance with that many handles."""
        return handles if self.genus is None else self.genus


_CLAY, _CREAM, _STEEL = (0.76, 0.5, 0.34), (0.93, 0.89, 0.8), (0.62, 0.64, 0.67)
_HANDLE = ("handle", "handles", "ear", "ears")

KINDS: dict[str, Kind] = {
    k.name: k
    for k in (
        Kind("pitcher", shapes.pitcher, ("jug", "ewer"), _HANDLE, _CLAY, handles=(1, 0, 2), relaxation=0.5),
        Kind("mug", shapes.mug, ("cup", "teacup"), _HANDLE, _CREAM, handles=(1, 0, 2)),
        Kind("vase", shapes.vase, ("urn", "amphora"), _HANDLE, (0.55, 0.68, 0.72), handles=(0, 1, 2)),
        Kind("bowl", shapes.bowl, ("dish", "basin"), _HANDLE, _CREAM, handles=(0, 2)),
        Kind("bottle", shapes.bottle, ("flask",), ("cap", "stopper", "lid"), (0.2, 0.42, 0.28), WOOD),
        Kind("goblet", shapes.goblet, ("chalice",), ("stem", "foot", "base"), (0.85, 0.68, 0.25)),
        Kind("teapot", shapes.teapot, ("kettle",), ("lid", "cover"), _CREAM, handles=(1,)),
        Kind("barrel", shapes.barrel, ("cask", "keg"), ("bands", "hoops", "rings", "band", "hoop"),
             WOOD, _STEEL),
        Kind("table", shapes.table, ("desk",), ("legs", "leg"), WOOD),
        Kind("chair", shapes.chair, (), ("seat", "cushion"), WOOD),
        Kind("stool", shapes.stool, (), ("seat", "cushion", "top"), WOOD),
        Kind("mushroom", shapes.mushroom, ("toadstool",), ("stem", "stalk"),
             (0.72, 0.45, 0.26), (0.93, 0.88, 0.76)),
        Kind("snowman", shapes.snowman, (), ("hat",),
             (0.94, 0.95, 0.97), (0.14, 0.14, 0.17), (0.95, 0.45, 0.08)),
        Kind("donut", shapes.donut, ("doughnut",), ("dough",),
             (0.4, 0.24, 0.13), (0.85, 0.62, 0.34), genus=1),
        Kind("tree", shapes.tree, ("fir", "pine", "spruce"), ("trunk",),
             (0.15, 0.48, 0.22), (0.45, 0.29, 0.15)),
        Kind("rocket", shapes.rocket, ("spaceship",), ("fins", "fin", "nose"),
             (0.9, 0.9, 0.92), (0.83, 0.16, 0.14)),
    )
}


@dataclass(frozen=True)
class Meaning:
    """What a prompt of this world says; every slot has a value, so paraphrases are equal."""

    kind: str
    colour: str = "natural"
    second_colour: str = "default"  # "default": natural, or painted like part A
    handles: int = 0
    size: str = "normal"

    def tokens(self) -> list[str]:
        return [
            f"kind:{self.kind}", f"colour:{self.colour}", f"second:{self.second_colour}",
            f"handles:{self.handles}", f"size:{self.size}", f"{self.kind}:handles:{self.handles}",
        ]

    def paints(self) -> list[tuple[float, float, float]]:
        """sRGB of part A, part B and the accent."""
        kind = KINDS[self.kind]
        first = kind.natural if self.colour == "natural" else COLOURS[self.colour]
        second = COLOURS.get(self.second_colour, kind.natural_second or first)
        return [first, second, kind.accent or first]


@dataclass(frozen=True)
class Instances:
    """``n`` concrete props of one kind: enough to draw, to mesh and to measure against."""

    kind: Kind
    variation: Float[Tensor, "n v"]  # in [-1, 1]
    handles: Float[Tensor, " n"]
    scale: Float[Tensor, "n 2"]  # of (x and z, y)
    extra: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.variation.shape[0]

    def __getitem__(self, index: Tensor | list[int]) -> Instances:
        return Instances(self.kind, self.variation[index], self.handles[index], self.scale[index])

    def to(self, device: torch.device | str) -> Instances:
        return Instances(self.kind, self.variation.to(device), self.handles.to(device), self.scale.to(device))

    def parts(self, points: Float[Tensor, "*m 3"], index: Tensor) -> Float[Tensor, "p *m"]:
        """Distances of each part at ``points``; ``index`` (*m) tells which instance each point asks.

        Where the size word stretches the axes, the distance is measured sideways: exact on
        upright walls, which outlines and thin walls are made of."""
        scale = self.scale[index]
        s = Style(self.variation[index], self.handles[index])
        sideways, upright = scale[..., 0], scale[..., 1]
        x, y, z = points[..., 0] / sideways, points[..., 1] / upright, points[..., 2] / sideways
        parts = torch.stack(torch.broadcast_tensors(*self.kind.parts(x, y, z, s)))
        return parts * scale[..., 0]

    @property
    def safe_step(self) -> Float[Tensor, " n"]:
        """Share of the distance that a ray may advance without passing through a surface."""
        return self.kind.relaxation * (self.scale[:, 1] / self.scale[:, 0]).clamp(max=1)

    def distance(self, points: Float[Tensor, "*m 3"], index: Tensor) -> Float[Tensor, "*m"]:
        """Distance of the whole prop."""
        return self.parts(points, index).amin(0)


def instances(
    kind: str, handles: int | Tensor, size: str | list[str], count: int, *, generator: torch.Generator
) -> Instances:
    """``count`` random instances of a kind with the given number of handles and size word."""
    device = generator.device
    variation = torch.rand(count, VARIATIONS, generator=generator, device=device) * 2 - 1
    sizes = [size] * count if isinstance(size, str) else size
    scale = torch.tensor([SIZES[s] for s in sizes], device=device)
    counts = torch.as_tensor(handles, device=device, dtype=torch.float32).expand(count)
    return Instances(KINDS[kind], variation, counts, scale)
