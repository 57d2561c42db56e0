"""A shape with its colors and surfaces: what a prior knows of one instance of a prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dreamfusion3d.priors.shapes.model import ShapeObject
from dreamfusion3d.procedural.materials import MATERIALS, material_mask
from dreamfusion3d.procedural.objects import ObjectSpec, instance_values
from dreamfusion3d.procedural.renderer import MASKED_LAYER_OFFSET
from dreamfusion3d.procedural.surfaces import Surface

_DENSITY_SCALE = 500.0  # density per scene unit of depth


@dataclass(frozen=True)
class ObjectSolid:
    """A field whose surface is that of a ``ShapeObject``, in the colors and surfaces of a spec."""

    shape: ShapeObject
    spec: ObjectSpec

    @property
    def instance(self) -> dict[str, Any]:
        """The numbers from which `object_from_instance` draws the same object."""
        return instance_values(self.shape.instance)

    def distance(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        """Return the signed distance, negative inside, in scene units."""
        return self.shape.distance(x)

    def density(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        """Return the extinction per scene unit: it grows with the depth below the surface."""
        return (-_DENSITY_SCALE * self.distance(x)).clamp(min=0)

    def albedo(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Return the color of the nearest part, with its pattern or grain; reflections are no color."""
        part, colors = self.shape.nearest_part(x), x.new_tensor(self.spec.part_colors())
        mask = self._mask(x, part)[:, None]
        return (1 - mask) * colors[part] + mask * colors[torch.where(part < 2, part + MASKED_LAYER_OFFSET, part)]

    def material(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, "n 2"]:
        """Return roughness and metallic of the nearest part."""
        part = self.shape.nearest_part(x)
        masked = (self._mask(x, part) > 0.5) & (part < 2)
        surfaces: list[Surface] = self.spec.part_surfaces()
        return x.new_tensor(surfaces)[torch.where(masked, part + MASKED_LAYER_OFFSET, part)]

    def _mask(self, x: Float[Tensor, "n 3"], part: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Weight of the second color; the accent has none."""
        if MATERIALS[self.spec.material].reflects:
            return torch.zeros_like(x[:, 0])
        local = self.shape.instance.unscaled(x, torch.zeros_like(part))
        return material_mask(self.spec.material, local, torch.zeros_like(x)) * (part < 2)
