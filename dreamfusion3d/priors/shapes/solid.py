"""A shape with its colors and surfaces: what a prior knows of one instance of a prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dreamfusion3d.priors.distance_solid import DistanceSolid
from dreamfusion3d.priors.shapes.model import ShapeObject
from dreamfusion3d.procedural.materials import MATERIALS, material_mask
from dreamfusion3d.procedural.objects import ObjectSpec, instance_values
from dreamfusion3d.procedural.renderer import MASKED_LAYER_OFFSET
from dreamfusion3d.procedural.surfaces import Surface


@dataclass(frozen=True)
class ObjectSolid(DistanceSolid):
    """A field whose surface is that of a ``ShapeObject``, in the colors and surfaces of a spec."""

    shape: ShapeObject
    spec: ObjectSpec

    @property
    def instance(self) -> dict[str, Any]:
        """The numbers from which `object_from_instance` draws the same object."""
        return instance_values(self.shape.instance)

    @property
    def height(self) -> None:
        """The usual height of the prompt holds."""
        return None

    def distance(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        """Return the signed distance, negative inside, in scene units."""
        return self.shape.distance(x)

    def appearance(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, "n 5"]:
        """Return color, roughness and metallic of the nearest part, with its pattern or grain.

        Colors of a pattern blend at its borders; materials do not. Reflections are no color.
        """
        part, colors = self.shape.nearest_part(x), x.new_tensor(self.spec.part_colors())
        mask = self._mask(x, part)[:, None]
        masked_part = torch.where(part < 2, part + MASKED_LAYER_OFFSET, part)
        color = (1 - mask) * colors[part] + mask * colors[masked_part]
        surfaces: list[Surface] = self.spec.part_surfaces()
        return torch.cat([color, x.new_tensor(surfaces)[torch.where(mask[:, 0] > 0.5, masked_part, part)]], 1)

    def _mask(self, x: Float[Tensor, "n 3"], part: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Weight of the second color; the accent has none."""
        if MATERIALS[self.spec.material].reflects:
            return torch.zeros_like(x[:, 0])
        local = self.shape.instance.unscaled(x, torch.zeros_like(part))
        return material_mask(self.spec.material, local, torch.zeros_like(x)) * (part < 2)
