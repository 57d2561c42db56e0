"""Pictures of a field in tiles of rays, with the gradient of rendering all of them at once.

The pictures are made without a graph. When the gradient with respect to them is known, tile after tile is
rendered again, with one, and passes its part on to the field; so no more than a tile's graph is ever
held. The samples, and which of them are lit, are those of the first time.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from dreamfusion3d.cameras.orbit import OrbitCameras
from dreamfusion3d.core.types import Field, Render
from dreamfusion3d.rendering.occupancy_grid import OccupancyGrid
from dreamfusion3d.rendering.ray_march import Samples
from dreamfusion3d.rendering.shading_budget import ShadedFraction
from dreamfusion3d.rendering.volume import (
    PendingSamples,
    RayOutputs,
    Rays,
    RenderSettings,
    SampleAux,
    assemble_aux,
    assemble_render,
    sample_camera_rays,
    shade_and_composite,
    shaded_sample_indices,
    weights_and_albedo,
)

_PER_RAY = ("rgb", "opacity", "depth", "normals", "albedo")


@dataclass(frozen=True)
class Tile:
    """Rays that follow each other, with their samples and with those of them that are lit."""

    rays: slice
    samples: slice
    shaded: slice


@dataclass(frozen=True)
class TiledRender:
    """``picture`` and ``detail`` end here: a loss of them leaves its gradient with them, and ``backward``
    hands it on to the field."""

    field: Field
    rays: Rays
    samples: Samples
    settings: RenderSettings
    tiles: list[Tile]
    outputs: RayOutputs
    render: Render
    aux: SampleAux

    def backward(self) -> None:
        """Adds to the gradients of the field's parameters. Once."""
        for tile in self.tiles:
            rays, samples = self.rays.slice(tile.rays.start, tile.rays.stop), self._tile_samples(tile)
            weight, albedo = weights_and_albedo(self.field, rays, samples)
            shaded = self.outputs.shaded[tile.shaded] - tile.samples.start
            recomputed = shade_and_composite(self.field, rays, samples, weight, albedo, shaded, self.settings)
            roots, grads = [], []
            for value, leaf, rows in (
                *((getattr(recomputed, name), getattr(self.outputs, name), tile.rays) for name in _PER_RAY),
                (recomputed.weights, self.outputs.weights, tile.samples),
                (recomputed.shaded_normals, self.outputs.shaded_normals, tile.shaded),
            ):
                if leaf.grad is not None and value.requires_grad:
                    roots.append(value)
                    grads.append(leaf.grad[rows])
            if roots:
                torch.autograd.backward(roots, grads)

    def _tile_samples(self, tile: Tile) -> Samples:
        return self.samples.slice_rays(tile.rays, tile.samples)


def render_field_tiled(
    field: Field,
    cameras: OrbitCameras,
    *,
    occupancy: OccupancyGrid | Bool[Tensor, "x y z"],
    generator: torch.Generator,
    tiles: int,
    settings: RenderSettings,
    pending: PendingSamples | None = None,
    shaded_fraction: ShadedFraction | None = None,
) -> TiledRender:
    """As ``render_detailed``, from the same random numbers, in at most ``tiles`` tiles of about as many
    samples. The host waits for where the tiles begin and end."""
    rays, samples = sample_camera_rays(cameras, occupancy, settings, generator, pending)
    with torch.no_grad():
        bounds = _tile_bounds(samples, tiles)
        weight = torch.cat([_tile_weights(field, rays, samples, *bound) for bound in bounds])
        shaded = shaded_sample_indices(weight, rays, settings, shaded_fraction)
        tile_list = [Tile(r, s, slice(*_index_range(shaded, s))) for r, s in bounds]
        outputs = _concat_as_leaves(
            [_tile_outputs(field, rays, samples, weight, shaded, tile, settings) for tile in tile_list], weight, shaded
        )
    return TiledRender(
        field,
        rays,
        samples,
        settings,
        tile_list,
        outputs,
        assemble_render(outputs, cameras, settings),
        assemble_aux(outputs, cameras, rays, samples),
    )


def _tile_weights(field: Field, rays: Rays, samples: Samples, ray_slice: slice, sample_slice: slice) -> Tensor:
    return weights_and_albedo(
        field, rays.slice(ray_slice.start, ray_slice.stop), samples.slice_rays(ray_slice, sample_slice)
    )[0]


def _tile_outputs(
    field: Field, rays: Rays, samples: Samples, weight: Tensor, shaded: Tensor, tile: Tile, settings: RenderSettings
) -> RayOutputs:
    tile_rays, tile_samples = (rays.slice(tile.rays.start, tile.rays.stop), samples.slice_rays(tile.rays, tile.samples))
    # asked again: colours of all samples would be most of what is held
    _, albedo = weights_and_albedo(field, tile_rays, tile_samples)
    tile_shaded = shaded[tile.shaded] - tile.samples.start
    return shade_and_composite(field, tile_rays, tile_samples, weight[tile.samples], albedo, tile_shaded, settings)


def _concat_as_leaves(parts: list[RayOutputs], weight: Tensor, shaded: Tensor) -> RayOutputs:
    """The tiles in a row, where gradients may be left."""
    concatenated = {name: torch.cat([getattr(part, name) for part in parts]) for name in (*_PER_RAY, "shaded_normals")}
    outputs = RayOutputs(**concatenated, weights=weight, shaded=shaded)
    for field in dataclasses.fields(outputs):
        if field.name != "shaded":
            getattr(outputs, field.name).requires_grad_(True)
    return outputs


def _tile_bounds(samples: Samples, num_tiles: int) -> list[tuple[slice, slice]]:
    """Rays and samples of each tile; a ray is never cut."""
    first, counts = samples.packed_info.unbind(-1)
    rays, total = len(first), int(samples.ray_indices.numel())
    if rays == 0:
        return [(slice(0, 0), slice(0, 0))]
    ends = first + counts
    targets = torch.arange(1, num_tiles, device=ends.device) * total // num_tiles
    last_rays = torch.searchsorted(ends.contiguous(), targets).clamp(max=rays - 1) if total else targets[:0]
    ray_bounds = sorted({0, *(last_rays + 1).tolist(), rays})
    sample_bounds = [0, *ends[torch.tensor(ray_bounds[1:], device=ends.device) - 1].tolist()]
    return [
        (slice(a, b), slice(c, d))
        for a, b, c, d in zip(ray_bounds[:-1], ray_bounds[1:], sample_bounds[:-1], sample_bounds[1:], strict=True)
    ]


def _index_range(shaded: Tensor, samples: slice) -> tuple[int, int]:
    """Where in the rising ``lit`` those of ``samples`` lie."""
    bounds = torch.tensor([samples.start, samples.stop], device=shaded.device)
    low, high = torch.searchsorted(shaded, bounds).tolist()
    return low, high
