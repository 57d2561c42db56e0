"""Materials and patterns: masks that blend a second color into the surface.

Masks depend on position and normal only, never on the camera: a view-dependent highlight could
not be baked into a texture, nor be represented by a view-independent field.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.procedural.category import WOOD_COLOR, Color

MaskFunction = Callable[[Tensor, Tensor], Tensor]  # (points, normals), both (n, 3) -> (n,) in [0, 1]
LIGHT_LUMA_THRESHOLD = 0.72  # patterns are dark on lighter colors
_LIGHT_PATTERN_COLOR, _DARK_PATTERN_COLOR = (0.95, 0.95, 0.94), (0.16, 0.17, 0.22)


@dataclass(frozen=True)
class Material:
    """A material, whose second color is a shade of the first, or a pattern, whose second color contrasts."""

    mask: MaskFunction
    natural_color: Color | None = None  # if the prompt names no color
    shift: float | None = None  # towards white (positive) or black, in [-1, 1]; None: a pattern
    surface: str | None = None  # in `SURFACES`, in place of the natural one

    @property
    def reflects(self) -> bool:
        """Whether the mask shows a reflection, which is part of the shading and not of the base color."""
        return self.mask in (_sky_reflection, _window_reflections)

    @property
    def is_pattern(self) -> bool:
        return self.shift is None

    def second_color(self, base: Color) -> Color:
        """Color inside the mask, on a part of color ``base``."""
        if self.shift is None:
            luma = 0.3 * base[0] + 0.59 * base[1] + 0.11 * base[2]
            return _DARK_PATTERN_COLOR if luma > LIGHT_LUMA_THRESHOLD else _LIGHT_PATTERN_COLOR
        target, fraction = (1.0 if self.shift > 0 else 0.0), abs(self.shift)
        r, g, b = (c + fraction * (target - c) for c in base)
        return r, g, b


def _stripes(p: Tensor, n: Tensor) -> Tensor:
    """Horizontal bands, four pixels high in an image of 64."""
    return (0.5 + 3 * torch.sin(p[:, 1] * (2 * torch.pi / 0.26))).clamp(0, 1)


def _spots(p: Tensor, n: Tensor) -> Tensor:
    """Spheres on a body-centered lattice, which the surface cuts into round spots."""
    q = p / 0.34 + 0.25
    squared_distance = torch.minimum((q - q.round()).square().sum(-1), (q + 0.5 - (q + 0.5).round()).square().sum(-1))
    return ((0.34 - squared_distance.sqrt()) / 0.06 + 0.5).clamp(0, 1)


def _checkers(p: Tensor, n: Tensor) -> Tensor:
    """Cubes of alternating color, offset so that no symmetry plane of the object coincides with a face."""
    waves = torch.sin((p + 0.043) * (torch.pi / 0.17))
    return (0.5 + 4 * waves.prod(-1)).clamp(0, 1)


def _grain(p: Tensor, n: Tensor) -> Tensor:
    """Wavy vertical wood grain."""
    across = 0.8 * p[:, 0] + 0.6 * p[:, 2] + 0.05 * torch.sin(6 * p[:, 1] + 9 * p[:, 2])
    return (0.5 + 0.8 * torch.sin(across * (2 * torch.pi / 0.15))).clamp(0, 1)


def _sky_reflection(p: Tensor, n: Tensor) -> Tensor:
    """Sky reflected in polished metal: bright where the normal points slightly upwards, dark below."""
    return (1 - (n[:, 1] - 0.3).abs() / 0.3).clamp(0, 1) + 0.5 * (n[:, 1] > 0.9).to(n.dtype)


def _speckle(p: Tensor, n: Tensor) -> Tensor:
    """Sines of incommensurable wavelengths: blotches without a visible period."""
    coarse = torch.sin(p * p.new_tensor([19.0, 23.3, 21.1]) + p[:, [1, 2, 0]] * 7.7).sum(-1)
    fine = torch.sin(p * p.new_tensor([41.3, 37.7, 44.9]) + 1.3).sum(-1)
    return (0.45 + 0.35 * coarse + 0.2 * fine).clamp(0, 1)


def _window_reflections(p: Tensor, n: Tensor) -> Tensor:
    """Reflections of four tall windows, 90 degrees apart."""
    side = torch.maximum((n[:, 0] + n[:, 2]).abs(), (n[:, 0] - n[:, 2]).abs()) / 2**0.5
    return ((side - 0.93) / 0.04).clamp(0, 1)


MATERIALS: dict[str, Material] = {
    "plain": Material(lambda p, n: torch.zeros_like(p[:, 0]), shift=0.0),
    "striped": Material(_stripes),
    "spotted": Material(_spots),
    "checkered": Material(_checkers),
    "wooden": Material(_grain, WOOD_COLOR, -0.3, "wood"),
    "metal": Material(_sky_reflection, (0.55, 0.57, 0.6), 0.7, "steel"),
    "stone": Material(_speckle, (0.58, 0.56, 0.52), -0.38, "stone"),
    "glass": Material(_window_reflections, (0.58, 0.8, 0.82), 0.75, "glass"),
}


def material_mask(material: str, points: Float[Tensor, "n 3"], normals: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
    """Weight of the second color at each point, in [0, 1]."""
    return MATERIALS[material].mask(points, normals).clamp(0, 1)
