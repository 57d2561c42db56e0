"""Rays to packed samples: equal steps through the box, kept only where the grid is occupied.

Packed means that the samples of all rays lie in one list, those of a ray side by side and
front to back; ``packed_info`` says where each ray's begin.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from dreamfusion3d.core.backends import Backend, fastest_backend

LONGEST_CHORD = 4.0  # the box's diagonal is 3.47


@dataclass(frozen=True)
class Samples:
    """``n`` intervals on ``r`` rays; distances in scene units along the unit directions."""

    ray_indices: Int64[Tensor, " n"]
    t_starts: Float[Tensor, " n"]
    t_ends: Float[Tensor, " n"]
    packed_info: Int64[Tensor, "r 2"]  # first sample and number of samples of each ray

    def midpoints(self) -> Float[Tensor, " n"]:
        return (self.t_starts + self.t_ends) * 0.5

    def positions(
        self, origins: Float[Tensor, "r 3"], directions: Float[Tensor, "r 3"], indices: Tensor | None = None
    ) -> Float[Tensor, "m 3"]:
        """The intervals' middles in world space; of the samples ``chosen`` (indices), or of all."""
        rays, midpoints = self.ray_indices, self.midpoints()
        if indices is not None:
            rays, midpoints = rays.index_select(0, indices), midpoints.index_select(0, indices)
        # index_select: several times faster here than origins[ray_indices]
        origin, direction = (t.index_select(0, rays) for t in (origins, directions))
        return origin + direction * midpoints[:, None]

    def slice_samples(self, samples: slice) -> Samples:
        """Some that follow each other, of the same rays; ``packed_info`` is still that of all."""
        return Samples(self.ray_indices[samples], self.t_starts[samples], self.t_ends[samples], self.packed_info)

    def slice_rays(self, rays: slice, samples: slice) -> Samples:
        """Those of some rays that follow each other, which are then numbered from 0."""
        info = self.packed_info[rays]
        shift = torch.tensor([samples.start, 0], dtype=info.dtype, device=info.device)
        return Samples(
            self.ray_indices[samples] - rays.start, self.t_starts[samples], self.t_ends[samples], info - shift
        )


def ray_aabb_intersect(
    origins: Float[Tensor, "r 3"], directions: Float[Tensor, "r 3"]
) -> tuple[Float[Tensor, " r"], Float[Tensor, " r"]]:
    """Distances at which rays enter and leave [-1, 1]^3; leaving <= entering is a miss."""
    tiny = torch.full_like(directions, 1e-9)
    direction = torch.where(directions.abs() < 1e-9, torch.where(directions < 0, -tiny, tiny), directions)
    to_low, to_high = (-1 - origins) / direction, (1 - origins) / direction
    near = torch.minimum(to_low, to_high).amax(-1).clamp(min=0)
    far = torch.maximum(to_low, to_high).amin(-1)
    return near, far


def march(
    origins: Float[Tensor, "r 3"],
    directions: Float[Tensor, "r 3"],
    occupancy_binary: Bool[Tensor, "x y z"],
    *,
    step_size: float,
    generator: torch.Generator,
    backend: Backend = "auto",
) -> Samples:
    """Samples whose middle lies inside the box and in an occupied cell.

    Interval k of a ray is [near + (k - 1 + jitter) step, near + (k + jitter) step] with one
    uniform jitter a ray: no part of the box is left out, and neighbouring rays do not share
    their steps. All back ends return the same samples, bit for bit.
    """
    return march_async(
        origins, directions, occupancy_binary, step_size=step_size, generator=generator, backend=backend
    )()


@torch.no_grad()
def march_async(
    origins: Float[Tensor, "r 3"],
    directions: Float[Tensor, "r 3"],
    occupancy_binary: Bool[Tensor, "x y z"],
    *,
    step_size: float,
    generator: torch.Generator,
    backend: Backend = "auto",
) -> Callable[[], Samples]:
    """As ``march``; the samples are counted now and listed when what is returned is called. In between a GPU
    may be given other work, for which the host then need not wait."""
    if step_size <= 0:
        raise ValueError(f"step_size must be positive, not {step_size}")
    origins, directions = origins.detach().float(), directions.detach().float()
    near, far = ray_aabb_intersect(origins, directions)
    far = torch.minimum(far, near + LONGEST_CHORD)  # a zero direction must not march for ever
    jitter = torch.rand(near.shape, generator=generator, device=generator.device).to(near.device)
    if backend == "auto":
        backend = fastest_backend(near)
    rays = origins, directions, near, far, jitter
    if backend == "triton":
        from dreamfusion3d.rendering.ray_march_triton import march_triton

        collect = march_triton(*rays, occupancy_binary, step_size)
        return lambda: Samples(*collect())
    if backend == "numba":
        from dreamfusion3d.rendering.ray_march_numba import march_numba

        samples = Samples(*march_numba(*rays, occupancy_binary, step_size))
    else:
        samples = Samples(*_march_torch(*rays, occupancy_binary, step_size))
    return lambda: samples


def _march_torch(origins, directions, near, far, jitter, binary, step_size):
    """All steps of all rays at once, then a mask: slow, simple, on any device."""
    # a Python float would be rounded once per operation, in float64 on some paths
    step = torch.tensor(step_size, dtype=torch.float32, device=near.device)
    longest = (far - near).clamp(min=0).amax() if near.numel() else near.sum()
    # one more than fits, for the jitter; the mask below decides
    count = int(torch.ceil(longest / step)) + 1
    index = torch.arange(count, dtype=torch.float32, device=near.device)
    start = near[:, None] + ((index + jitter[:, None]) - 1) * step
    midpoint = start + step * 0.5
    valid = (midpoint >= near[:, None]) & (midpoint < far[:, None])
    resolution = torch.tensor(binary.shape, device=near.device)
    cells = []
    for axis in range(3):
        position = origins[:, axis : axis + 1] + directions[:, axis : axis + 1] * midpoint
        half = resolution[axis].float() * 0.5
        cell = ((position + 1) * half).nan_to_num().long()
        cells.append(torch.minimum(cell.clamp(min=0), resolution[axis] - 1))
    valid &= binary[cells[0], cells[1], cells[2]]
    rays = torch.nonzero(valid)[:, 0]
    counts = valid.sum(-1)
    packed_info = torch.stack([counts.cumsum(0) - counts, counts], -1)
    start = start[valid]
    return rays, start, start + step, packed_info
