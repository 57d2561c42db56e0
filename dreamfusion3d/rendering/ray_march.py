"""Ray marching: equal steps through the box, kept where the occupancy grid is occupied.

Samples are packed as in nerfacc: those of all rays in one list, those of a ray consecutive and front to back;
``packed_info`` holds where each ray's samples begin.
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
    """``n`` intervals on ``r`` rays; distances along the unit directions, in scene units."""

    ray_indices: Int64[Tensor, " n"]
    t_starts: Float[Tensor, " n"]
    t_ends: Float[Tensor, " n"]
    packed_info: Int64[Tensor, "r 2"]  # first sample and number of samples of each ray

    def midpoints(self) -> Float[Tensor, " n"]:
        """Return the distances of the intervals' midpoints."""
        return (self.t_starts + self.t_ends) * 0.5

    def positions(
        self, origins: Float[Tensor, "r 3"], directions: Float[Tensor, "r 3"], indices: Tensor | None = None
    ) -> Float[Tensor, "m 3"]:
        """Return the midpoints in world space: of the samples ``indices``, or of all."""
        rays, midpoints = self.ray_indices, self.midpoints()
        if indices is not None:
            rays, midpoints = rays.index_select(0, indices), midpoints.index_select(0, indices)
        # index_select is several times faster here than origins[ray_indices]
        origin, direction = (t.index_select(0, rays) for t in (origins, directions))
        return origin + direction * midpoints[:, None]

    def slice_samples(self, samples: slice) -> Samples:
        """Return consecutive samples of the same rays; ``packed_info`` remains that of all samples."""
        return Samples(self.ray_indices[samples], self.t_starts[samples], self.t_ends[samples], self.packed_info)

    def slice_rays(self, rays: slice, samples: slice) -> Samples:
        """Return the samples of consecutive rays, which are then numbered from 0."""
        info = self.packed_info[rays]
        shift = torch.tensor([samples.start, 0], dtype=info.dtype, device=info.device)
        starts, ends = self.t_starts[samples], self.t_ends[samples]
        return Samples(self.ray_indices[samples] - rays.start, starts, ends, info - shift)


def ray_aabb_intersect(
    origins: Float[Tensor, "r 3"], directions: Float[Tensor, "r 3"]
) -> tuple[Float[Tensor, " r"], Float[Tensor, " r"]]:
    """Return the distances at which rays enter and leave [-1, 1]^3; a ray misses if far <= near."""
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
    """Return the samples whose midpoint lies inside the box and in an occupied cell.

    Interval k of a ray is [near + (k - 1 + jitter) step, near + (k + jitter) step] with one uniform jitter per ray:
    no part of the box is left out, and neighboring rays do not share their steps. All back ends return the same
    samples, bit for bit; "auto" is the fastest one for the rays' device.

    Directions are unit vectors, lengths are in scene units, and ``occupancy_binary`` holds the occupied cells over
    [-1, 1]^3, indexed [x, y, z]. Raises ValueError if ``step_size`` is not positive.
    """
    rays = origins, directions
    return march_async(*rays, occupancy_binary, step_size=step_size, generator=generator, backend=backend)()


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
    """Start `march`: count the samples now, and return a function that writes them.

    GPU work queued in between does not delay that function.
    """
    if step_size <= 0:
        raise ValueError(f"step_size must be positive, not {step_size}")
    origins, directions = origins.detach().float(), directions.detach().float()
    near, far = ray_aabb_intersect(origins, directions)
    far = torch.minimum(far, near + LONGEST_CHORD)  # a zero direction must not march forever
    jitter = torch.rand(near.shape, generator=generator, device=generator.device).to(near.device)
    backend = fastest_backend(near) if backend == "auto" else backend
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


def _march_torch(
    origins: Float[Tensor, "r 3"],
    directions: Float[Tensor, "r 3"],
    near: Float[Tensor, " r"],
    far: Float[Tensor, " r"],
    jitter: Float[Tensor, " r"],
    binary: Bool[Tensor, "x y z"],
    step_size: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Take all steps of all rays at once, then mask them: slow and simple, on any device."""
    # a Python float would be rounded once per operation, in float64 on some paths
    step = torch.tensor(step_size, dtype=torch.float32, device=near.device)
    longest = (far - near).clamp(min=0).amax() if near.numel() else near.sum()
    # one more than fits, for the jitter; the mask below drops it if need be
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
