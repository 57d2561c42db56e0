"""The mesh that a prop of the procedural world really has: what a reconstruction is held against."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float

from dreamfusion3d.mesh.clean import solid_mesh
from dreamfusion3d.mesh.extract import sample_grid
from dreamfusion3d.procedural.world import Instances
from dreamfusion3d.types import Mesh

BOUND = 0.88  # of the grid: beyond every prop


def ground_truth_grid(props: Instances, index: int, resolution: int = 128) -> Float[np.ndarray, "r r r"]:
    """Depth below the surface of instance ``index`` over [-BOUND, BOUND]^3, negative outside."""
    prop = props[[index]].to("cpu")

    @torch.no_grad()
    def depth(points: np.ndarray) -> np.ndarray:
        where = torch.from_numpy(points)
        return -prop.distance(where, torch.zeros(len(where), dtype=torch.int64)).numpy()

    return sample_grid(depth, resolution, BOUND)


def ground_truth_mesh(props: Instances, index: int, resolution: int = 128) -> Mesh:
    """The surface of instance ``index``: closed, wound outwards, one body."""
    return solid_mesh(ground_truth_grid(props, index, resolution), 0.0, BOUND)
