"""Where the field has any density: a grid of cells over [-1, 1]^3 that the marcher skips through.

The grid lives in a nerfacc.OccGridEstimator, so that nerfacc's own CUDA sampler can be handed
``Occupancy.estimator``. The update is this module's: nerfacc's draws from the global generator.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from dreamfusion3d.core.config import Config
from dreamfusion3d.core.types import Field

WARM_UP_STEPS = 256  # every cell is looked at until then, as in instant-ngp, appendix C
OCCUPANCY_DECAY = 0.8  # nerfacc decays by 0.95, over runs ten times as long as ours
UNIFORM_CELLS_DIVISOR = 4  # after the warm-up one cell in FRESH_SHARE, besides those occupied
DENSITY_QUERY_CHUNK = 1 << 16  # points in one call of the field


class OccupancyGrid:
    """Decayed maxima of the density in ``resolution``^3 cells; all cells start occupied.

    ``threshold`` is a density (per scene unit): 0.3 is an opacity of 1 % over the renderer's
    default step of 0.027. A grid whose mean lies below it is judged by its mean instead, so
    that a field that has just begun is not thrown away.
    """

    def __init__(self, resolution: int = 48, device: torch.device | str = "cpu", *, threshold: float = 0.3) -> None:
        # imported here: nerfacc belongs to this class alone
        from nerfacc import OccGridEstimator

        self.resolution = resolution
        self.threshold = threshold
        self.estimator = OccGridEstimator([-1.0, -1.0, -1.0, 1.0, 1.0, 1.0], resolution, levels=1).to(device)
        self.estimator.binaries.fill_(True)

    @property
    def binary(self) -> Bool[Tensor, "r r r"]:
        """Occupied cells, indexed [x, y, z]."""
        return self.estimator.binaries[0]

    @torch.no_grad()
    def update(
        self,
        density_fn: Callable[[Float[Tensor, "n 3"]], Float[Tensor, " n"]],
        *,
        generator: torch.Generator,
        step: int,
    ) -> None:
        """Look at the density at one random point of each cell (some cells, after the warm-up)."""
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
        """Integer grid coordinates of flat cell numbers, as floats."""
        r = self.resolution
        return torch.stack([cells // (r * r), cells // r % r, cells % r], -1).float()

    def state_dict(self) -> dict[str, Tensor]:
        return {"values": self.estimator.occs.clone(), "binary": self.binary.clone()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        saved, expected = tuple(state["binary"].shape), tuple(self.binary.shape)
        if saved != expected:
            raise ValueError(f"this occupancy grid is {expected}, the saved one {saved}")
        self.estimator.occs.copy_(state["values"])
        self.estimator.binaries.copy_(state["binary"][None])


OCCUPIED_CELL_UPDATES = 4  # looks at random points of every cell of a new occupancy grid


@torch.no_grad()
def occupied_cells(field: Field, config: Config, generator: torch.Generator) -> Bool[Tensor, "x y z"]:
    """Cells where a field that is no longer fitted has density, with their neighbours: a few looks at
    random points may miss a thin wall."""
    occupancy = OccupancyGrid(config.render.occupancy_grid_resolution, generator.device)
    for sweep in range(OCCUPIED_CELL_UPDATES):
        occupancy.update(field.density, generator=generator, step=sweep)
    return dilate_cells(occupancy.binary)


def dilate_cells(cells: Bool[Tensor, "x y z"]) -> Bool[Tensor, "x y z"]:
    """The cells and their 26 neighbours."""
    return F.max_pool3d(cells[None, None].float(), 3, 1, 1)[0, 0] > 0
