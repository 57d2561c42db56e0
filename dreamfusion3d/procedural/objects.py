"""What the procedural world holds: kinds of props, their attributes, and instances of them."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.procedural.categories import HANDLES, KINDS, Colour, Kind
from dreamfusion3d.procedural.materials import FINISHES
from dreamfusion3d.procedural.shapes.base import Style

VARIATIONS = 6  # numbers that set one instance of a kind apart from another

COLOURS: dict[str, Colour] = {  # sRGB
    "red": (0.83, 0.12, 0.12), "orange": (0.95, 0.5, 0.08), "yellow": (0.95, 0.83, 0.12),
    "green": (0.15, 0.6, 0.2), "cyan": (0.15, 0.75, 0.8), "blue": (0.13, 0.27, 0.8),
    "purple": (0.5, 0.18, 0.68), "pink": (0.96, 0.55, 0.72), "brown": (0.48, 0.29, 0.14),
    "black": (0.1, 0.1, 0.11), "grey": (0.5, 0.5, 0.52), "white": (0.93, 0.93, 0.93),
}
SIZES: dict[str, tuple[float, float]] = {  # word -> (scale of x and z, scale of y)
    "normal": (1.0, 1.0), "tall": (0.88, 1.2), "short": (1.0, 0.72), "wide": (1.14, 0.88),
    "small": (0.7, 0.7),
}
HELD_OUT = 12  # one pair of kind and colour in so many is never shown in training


@dataclass(frozen=True)
class Meaning:
    """What a prompt of this world says; every slot has a value, so paraphrases are equal."""

    kind: str
    colour: str = "natural"
    second_colour: str = "default"  # "default": natural, or painted like part A
    count: int = 0  # of what the kind counts: handles, legs, tiers
    size: str = "normal"
    finish: str = "plain"
    option: bool = False  # whether the kind's optional part is there

    def tokens(self) -> list[str]:
        """What a prior is told; see ``Conditioner``."""
        handles = self.count if KINDS[self.kind].counted == HANDLES else 0
        tokens = [
            f"kind:{self.kind}", f"colour:{self.colour}", f"second:{self.second_colour}",
            f"handles:{handles}", f"size:{self.size}", f"{self.kind}:count:{self.count}",
        ]
        if self.finish != "plain":
            tokens.append(f"finish:{self.finish}")
        if self.option:
            tokens.append(f"{self.kind}:option")
        return tokens

    def paints(self) -> list[Colour]:
        """sRGB of part A, part B, the accent, and of parts A and B inside the finish's mask."""
        kind, finish = KINDS[self.kind], FINISHES[self.finish]
        first = COLOURS.get(self.colour, finish.natural or kind.natural)
        second = COLOURS.get(self.second_colour, kind.natural_second or first)
        material = finish.shift is not None
        # a cork stays a cork on a bottle of whatever make
        covered = material and (kind.natural_second is None or self.second_colour in COLOURS)
        return [
            first, second, kind.accent or first, finish.second(first),
            finish.second(second) if covered else second,
        ]

    def held_out(self) -> bool:
        """Whether training never shows this pair of kind and colour, so that it can be asked for unseen."""
        if self.colour == "natural":
            return False
        return zlib.crc32(f"{self.kind} {self.colour}".encode()) % HELD_OUT == 0


def usual(kind: str) -> Meaning:
    """What the bare noun means."""
    return Meaning(kind, count=KINDS[kind].counts[0], option=KINDS[kind].usually)


@dataclass(frozen=True)
class Instances:
    """``n`` concrete props of one kind: enough to draw, to mesh and to measure against."""

    kind: Kind
    variation: Float[Tensor, "n v"]  # in [-1, 1]
    count: Float[Tensor, " n"]
    option: Float[Tensor, " n"]  # 1 or 0
    scale: Float[Tensor, "n 2"]  # of (x and z, y)

    def __len__(self) -> int:
        return self.variation.shape[0]

    def __getitem__(self, index: Tensor | list[int]) -> Instances:
        return Instances(
            self.kind, self.variation[index], self.count[index], self.option[index], self.scale[index]
        )

    def to(self, device: torch.device | str) -> Instances:
        return Instances(
            self.kind, self.variation.to(device), self.count.to(device), self.option.to(device),
            self.scale.to(device),
        )

    def parts(self, points: Float[Tensor, "*m 3"], index: Tensor) -> Float[Tensor, "p *m"]:
        """Distances of each part at ``points``; ``index`` (*m) tells which instance each point asks.

        Where the size word stretches the axes, the distance is measured sideways: exact on
        upright walls, which outlines and thin walls are made of."""
        scale = self.scale[index]
        s = Style(self.variation[index], self.count[index], self.option[index])
        x, y, z = self.unscaled(points, index).unbind(-1)
        parts = torch.stack(torch.broadcast_tensors(*self.kind.parts(x, y, z, s)))
        return parts * scale[..., 0]

    def unscaled(self, points: Float[Tensor, "*m 3"], index: Tensor) -> Float[Tensor, "*m 3"]:
        """The points in the frame of the shape functions, before the size word."""
        return points / self.scale[index][..., [0, 1, 0]]

    @property
    def safe_step(self) -> Float[Tensor, " n"]:
        """Share of the distance that a ray may advance without passing through a surface."""
        return self.kind.relaxation * (self.scale[:, 1] / self.scale[:, 0]).clamp(max=1)

    def distance(self, points: Float[Tensor, "*m 3"], index: Tensor) -> Float[Tensor, "*m"]:
        """Distance of the whole prop."""
        return self.parts(points, index).amin(0)


def instances(
    kind: str, count: int | Tensor, size: str | list[str], number: int, *, option: bool | None = None,
    generator: torch.Generator,
) -> Instances:
    """``number`` random instances of a kind with the given count (of handles, legs, tiers) and size
    word; ``option`` None: as it usually is."""
    device = generator.device
    variation = torch.rand(number, VARIATIONS, generator=generator, device=device) * 2 - 1
    sizes = [size] * number if isinstance(size, str) else size
    scale = torch.tensor([SIZES[s] for s in sizes], device=device)
    counts = torch.as_tensor(count, device=device, dtype=torch.float32).expand(number)
    there = KINDS[kind].usually if option is None else option
    options = torch.full((number,), float(there), device=device)
    return Instances(KINDS[kind], variation, counts, options, scale)


def meant_instances(meaning: Meaning, number: int, *, generator: torch.Generator) -> Instances:
    """``number`` random instances of what a prompt means."""
    return instances(
        meaning.kind, meaning.count, meaning.size, number, option=meaning.option, generator=generator
    )
