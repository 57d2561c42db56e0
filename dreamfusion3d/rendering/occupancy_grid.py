"""Occupancy grid over [-1, 1]^3, which lets the ray marcher skip empty space.

The grid is stored in a ``nerfacc.OccGridEstimator``, so that ``OccupancyGrid.estimator`` can be passed to nerfacc's
CUDA sampler. The update is implemented here, because nerfacc's draws from the global generator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from dreamfusion3d.core.config import Config
from dreamfusion3d.core.types import Field

WARM_UP_STEPS = 256  # steps in which every cell is sampled (instant-ngp, arXiv 2201.05989, appendix C)
OCCUPANCY_DECAY = 0.8  # nerfacc's is 0.95, for runs ten times as long
UNIFORM_CELLS_DIVISOR = 4  # after the warm-up one cell in four is sampled, and every occupied one
DENSITY_QUERY_CHUNK = 1 << 16  # points per call of the field

DensityFunction: TypeAlias = Callable[[Float[Tensor, "n 3"]], Float[Tensor, " n"]]


class OccupancyGrid:
    """Decayed maxima of the density in ``resolution``^3 cells; all cells start occupied.

    A cell is occupied where its maximum exceeds ``threshold``, or the mean of all cells if that is lower, so that
    a new, faint field keeps its cells. The threshold is a density per scene unit: 0.3 gives an opacity of 1 % over
    the renderer's default step of 0.027.

    Example:
        >>> occupancy = OccupancyGrid.from_field(field.density, 16, torch.Generator().manual_seed(0))
        >>> occupancy.binary.shape
        torch.Size([16, 16, 16])
    """

    def __init__(self, resolution: int = 48, device: torch.device | str = "cpu", *, threshold: float = 0.3) -> None:
        # imported here, because only this class needs nerfacc
        from nerfacc import OccGridEstimator

        self.resolution = resolution
        self.threshold = threshold
        self.estimator = OccGridEstimator([-1.0, -1.0, -1.0, 1.0, 1.0, 1.0], resolution, levels=1).to(device)
        self.estimator.binaries.fill_(True)

    @classmethod
    def from_field(
        cls, density_fn: DensityFunction, resolution: int, generator: torch.Generator, sweeps: int = 4
    ) -> OccupancyGrid:
        """Build the grid of a finished field from ``sweeps`` random points per cell."""
        grid = cls(resolution, generator.device)
        for sweep in range(sweeps):
            grid.update(density_fn, generator=generator, step=sweep)
        return grid

    @property
    def binary(self) -> Bool[Tensor, "r r r"]:
        """Occupied cells, indexed [x, y, z]."""
        return self.estimator.binaries[0]

    @torch.no_grad()
    def update(self, density_fn: DensityFunction, *, generator: torch.Generator, step: int) -> None:
        """Sample the density at one random point of each cell; of some cells after the warm-up."""
        values = self.estimator.occs
        device = values.device
        if step < WARM_UP_STEPS:
            cells = torch.arange(values.numel(), device=device)
        else:
            draw = torch.rand(values.numel(), generator=generator, device=generator.device).to(device)
            cells = torch.nonzero((draw < 1 / UNIFORM_CELLS_DIVISOR) | self.binary.flatten())[:, 0]
        jitter = torch.rand(cells.numel(), 3, generator=generator, device=generator.device).to(device)
        points = (self.cell_corners(cells) + jitter) * (2 / self.resolution) - 1
        density = torch.cat([density_fn(chunk) for chunk in points.split(DENSITY_QUERY_CHUNK)])
        values[cells] = torch.maximum(values[cells] * OCCUPANCY_DECAY, density.to(values.dtype))
        threshold = values.mean().clamp(max=self.threshold)
        self.estimator.binaries.copy_((values > threshold).view_as(self.estimator.binaries))

    def cell_corners(self, cells: Tensor) -> Float[Tensor, "n 3"]:
        """Return integer grid coordinates of flat cell indices, as floats."""
        r = self.resolution
        return torch.stack([cells // (r * r), cells // r % r, cells % r], -1).float()

    def state_dict(self) -> dict[str, Tensor]:
        """Return decayed maxima and occupied cells, for checkpoints."""
        return {"values": self.estimator.occs.clone(), "binary": self.binary.clone()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore a `state_dict`. Raises ValueError for another resolution."""
        saved, expected = tuple(state["binary"].shape), tuple(self.binary.shape)
        if saved != expected:
            raise ValueError(f"the saved occupancy grid has shape {saved}, this one {expected}: use its resolution")
        self.estimator.occs.copy_(state["values"])
        self.estimator.binaries.copy_(state["binary"][None])


@torch.no_grad()
def occupied_cells(field: Field, config: Config, generator: torch.Generator) -> Bool[Tensor, "x y z"]:
    """Return the cells where a finished field has density, and their neighbors.

    The neighbors make up for thin walls that a few random points per cell miss.
    """
    resolution = config.render.occupancy_grid_resolution
    return dilate_cells(OccupancyGrid.from_field(field.density, resolution, generator).binary)


def dilate_cells(cells: Bool[Tensor, "x y z"]) -> Bool[Tensor, "x y z"]:
    """Return the cells and their 26 neighbors."""
    return F.max_pool3d(cells[None, None].float(), 3, 1, 1)[0, 0] > 0
