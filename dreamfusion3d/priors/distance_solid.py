"""What every solid that is given by a signed distance has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor

_DENSITY_SCALE = 500.0  # density per scene unit of depth


class DistanceSolid(ABC):
    """Complete a ``SolidField`` from its ``distance`` and ``appearance``."""

    @abstractmethod
    def distance(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        """Return the signed distance, negative inside, in scene units."""

    @abstractmethod
    def appearance(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, "n 5"]:
        """Return base color, roughness and metallic."""

    def density(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        """Return the extinction per scene unit: it grows with the depth below the surface."""
        return (-_DENSITY_SCALE * self.distance(x)).clamp(min=0)

    def albedo(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Return the base color."""
        return self.appearance(x)[:, :3]

    def material(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, "n 2"]:
        """Return roughness and metallic."""
        return self.appearance(x)[:, 3:]
