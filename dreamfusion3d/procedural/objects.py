"""Procedural objects: specs (what a prompt says) and batches of concrete instances."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dreamfusion3d.core.types import map_tensors
from dreamfusion3d.procedural.categories import CATEGORIES
from dreamfusion3d.procedural.category import Category, Color
from dreamfusion3d.procedural.materials import MATERIALS
from dreamfusion3d.procedural.shapes.base import ShapeParams
from dreamfusion3d.procedural.surfaces import SURFACES, Surface, painted_surface

NUM_VARIATIONS = 6  # shape parameters per instance

COLORS: dict[str, Color] = {  # sRGB
    "red": (0.83, 0.12, 0.12),
    "orange": (0.95, 0.5, 0.08),
    "yellow": (0.95, 0.83, 0.12),
    "green": (0.15, 0.6, 0.2),
    "cyan": (0.15, 0.75, 0.8),
    "blue": (0.13, 0.27, 0.8),
    "purple": (0.5, 0.18, 0.68),
    "pink": (0.96, 0.55, 0.72),
    "brown": (0.48, 0.29, 0.14),
    "black": (0.1, 0.1, 0.11),
    "grey": (0.5, 0.5, 0.52),
    "white": (0.93, 0.93, 0.93),
}
SIZES: dict[str, tuple[float, float]] = {  # word -> (scale of x and z, scale of y)
    "normal": (1.0, 1.0),
    "tall": (0.88, 1.2),
    "short": (1.0, 0.72),
    "wide": (1.14, 0.88),
    "small": (0.7, 0.7),
}
HELD_OUT_EVERY = 12  # 1 in 12 pairs of category and color is excluded from training


# Field of `ObjectSpec` -> its key in committed weights and in cached datasets, which keep older names.
SLOT_KEYS = {
    "category": "kind",
    "color": "colour",
    "second_color": "second_colour",
    "count": "count",
    "size": "size",
    "material": "finish",
    "option": "option",
    "style": "style",
}
SLOTS_BY_KEY = {key: slot for slot, key in SLOT_KEYS.items()}


@dataclass(frozen=True)
class ObjectSpec:
    """Attributes that a prompt specifies. Every field has a value, so paraphrases are equal."""

    category: str
    color: str = "natural"
    second_color: str = "default"  # "default": natural, or painted like part A
    count: int = 0  # of handles, legs or tiers, by category
    size: str = "normal"
    material: str = "plain"
    option: bool = False  # whether the optional part is present
    style: str = ""  # "": any style of the category

    def tokens(self) -> list[str]:
        """Return the tokens that condition the prior; their prefixes are those of committed vocabularies."""
        handles = self.count if CATEGORIES[self.category].counts_handles else 0
        tokens = [
            f"kind:{self.category}",
            f"colour:{self.color}",
            f"second:{self.second_color}",
            f"handles:{handles}",
            f"size:{self.size}",
            f"{self.category}:count:{self.count}",
        ]
        tokens += [f"finish:{self.material}"] * (self.material != "plain")
        tokens += [f"{self.category}:option"] * self.option
        return tokens + [f"{self.category}:style:{self.style}"] * bool(self.style)

    def part_colors(self) -> list[Color]:
        """Return the sRGB colors of part A, part B, the accent, and of A and B inside the material mask."""
        category, material = CATEGORIES[self.category], MATERIALS[self.material]
        first_color = COLORS.get(self.color, material.natural_color or category.natural_color)
        second_color = COLORS.get(self.second_color, category.natural_second_color or first_color)
        return [
            first_color,
            second_color,
            category.accent_color or first_color,
            material.second_color(first_color),
            material.second_color(second_color) if self.material_covers_second_part else second_color,
        ]

    def part_surfaces(self) -> list[Surface]:
        """Return the surface of each entry of `part_colors`.

        The prompt's material replaces the natural surface. A part whose color the prompt names is painted if it would
        be metal, unless the prompt says of it that it is ("a red metal mug", but not the red cap of a metal bottle).
        """
        category, material = CATEGORIES[self.category], MATERIALS[self.material]
        first, second, accent = category.surfaces
        first_is_painted, second_is_painted = self.color in COLORS, self.second_color in COLORS
        if material.surface:
            first, first_is_painted = material.surface, False
            second = material.surface if self.material_covers_second_part else second
        elif category.natural_second_color is None:
            second_is_painted |= first_is_painted  # it has the color of part A
        first_surface = painted_surface(first) if first_is_painted else SURFACES[first]
        second_surface = painted_surface(second) if second_is_painted else SURFACES[second]
        pattern_surface = painted_surface(first) if material.is_pattern else first_surface
        accent_surface = first_surface if category.accent_color is None else SURFACES[accent]
        return [first_surface, second_surface, accent_surface, pattern_surface, second_surface]

    @property
    def material_covers_second_part(self) -> bool:
        """Whether part B has the material too: a glass bottle's cork stays cork, unless the prompt names its color."""
        is_natural = CATEGORIES[self.category].natural_second_color is not None and self.second_color not in COLORS
        return not MATERIALS[self.material].is_pattern and not is_natural

    def is_held_out(self) -> bool:
        """Return whether this pair of category and color is excluded from training, to test generalization."""
        pair = f"{self.category} {self.color}".encode()
        return self.color != "natural" and zlib.crc32(pair) % HELD_OUT_EVERY == 0


def default_spec(category: str) -> ObjectSpec:
    """Return the spec of the bare noun."""
    return ObjectSpec(category, count=CATEGORIES[category].counts[0], option=CATEGORIES[category].option_default)


@dataclass(frozen=True)
class ObjectBatch:
    """A batch of ``n`` concrete objects of one category."""

    category: Category
    variation: Float[Tensor, "n v"]  # in [-1, 1]
    count: Float[Tensor, " n"]
    option: Float[Tensor, " n"]  # 1 or 0
    scale: Float[Tensor, "n 2"]  # of (x and z, y)
    style: Int[Tensor, " n"]  # index into the styles of the category

    def __len__(self) -> int:
        return self.variation.shape[0]

    def __getitem__(self, index: Tensor | list[int]) -> ObjectBatch:
        return self._map(lambda t: t[index])

    def to(self, device: torch.device | str) -> ObjectBatch:
        return self._map(lambda t: t.to(device))

    def _map(self, function: Callable[[Tensor], Tensor]) -> ObjectBatch:
        return map_tensors(self, function)

    @classmethod
    def cat(cls, batches: Sequence[ObjectBatch]) -> ObjectBatch:
        """Concatenate batches of one category."""
        columns = zip(*((b.variation, b.count, b.option, b.scale, b.style) for b in batches), strict=True)
        return cls(batches[0].category, *map(torch.cat, columns))

    def part_distances(self, points: Float[Tensor, "*m 3"], index: Tensor) -> Float[Tensor, "p *m"]:
        """Signed distance of each part at ``points``.

        Where the size word stretches the axes, distances are scaled like the horizontal axes:
        exact on upright walls, which dominate outlines and thin walls.

        Args:
            index: Object that each point queries, (*m).
        """
        scale = self.scale[index]
        params = ShapeParams(self.variation[index], self.count[index], self.option[index], self.style[index])
        x, y, z = self.unscaled(points, index).unbind(-1)
        parts = torch.stack(torch.broadcast_tensors(*self.category.part_distances(x, y, z, params)))
        return parts * scale[..., 0]

    def unscaled(self, points: Float[Tensor, "*m 3"], index: Tensor) -> Float[Tensor, "*m 3"]:
        """Transform points into the frame of the shape functions, before size scaling."""
        return points / self.scale[index][..., [0, 1, 0]]

    @property
    def step_scale(self) -> Float[Tensor, " n"]:
        """Fraction of the distance that a ray may advance without passing through a surface."""
        return self.category.relaxation * (self.scale[:, 1] / self.scale[:, 0]).clamp(max=1)

    def distance(self, points: Float[Tensor, "*m 3"], index: Tensor) -> Float[Tensor, "*m"]:
        """Signed distance of the whole object."""
        return self.part_distances(points, index).amin(0)


def sample_objects(
    category: str,
    count: int | Tensor,
    size: str | list[str],
    num_objects: int,
    *,
    option: bool | None = None,
    style: str = "",
    generator: torch.Generator,
) -> ObjectBatch:
    """Sample random objects of a category.

    Args:
        count: Number of handles, legs or tiers.
        size: Size word, for all objects or for each.
        option: Whether the optional part is present; None: the default of the category.
        style: Name of the style; "": random styles.
    """
    device = generator.device
    variation = torch.rand(num_objects, NUM_VARIATIONS, generator=generator, device=device) * 2 - 1
    sizes = [size] * num_objects if isinstance(size, str) else size
    scale = torch.tensor([SIZES[s] for s in sizes], device=device)
    counts = torch.as_tensor(count, device=device, dtype=torch.float32).expand(num_objects)
    has_option = CATEGORIES[category].option_default if option is None else option
    options = torch.full((num_objects,), float(has_option), device=device)
    styles = torch.zeros(num_objects, dtype=torch.int64, device=device)
    if style:
        styles += CATEGORIES[category].style_index(style)
    elif CATEGORIES[category].num_styles > 1:
        styles = torch.randint(CATEGORIES[category].num_styles, (num_objects,), generator=generator, device=device)
    return ObjectBatch(CATEGORIES[category], variation, counts, options, scale, styles)


def instance_values(objects: ObjectBatch) -> dict[str, Any]:
    """Return what a batch of one object adds to its spec, as plain values."""
    return {"variation": objects.variation[0].tolist(), "style": objects.category.style_names[int(objects.style[0])]}


def object_from_instance(spec: ObjectSpec, instance: Mapping[str, Any]) -> ObjectBatch:
    """Invert `instance_values`. Raises KeyError, ValueError or TypeError if the values do not fit the spec."""
    named = replace(spec, style=instance["style"])
    objects = sample_objects_for_spec(named, 1, generator=torch.Generator())
    variation = torch.tensor([instance["variation"]], dtype=torch.float32)
    if variation.shape != objects.variation.shape:
        raise ValueError(f"an instance has {NUM_VARIATIONS} numbers, not {variation.shape[1]}")
    return replace(objects, variation=variation)


def sample_objects_for_spec(spec: ObjectSpec, num_objects: int, *, generator: torch.Generator) -> ObjectBatch:
    """Sample random objects that match a spec."""
    return sample_objects(
        spec.category, spec.count, spec.size, num_objects, option=spec.option, style=spec.style, generator=generator
    )
