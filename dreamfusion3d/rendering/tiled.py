"""Volume rendering in tiles of rays, with the gradient of rendering all rays at once.

The images are rendered without a graph. Once the gradient with respect to them is known, each tile is rendered
again with a graph and passes its part of the gradient on to the field, so that only one tile's graph is ever
held. Samples, and the choice of those that are shaded, are kept from the first pass.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from dreamfusion3d.cameras.protocol import RayCameras
from dreamfusion3d.core.types import Field, Render
from dreamfusion3d.rendering.ray_march import Samples
from dreamfusion3d.rendering.shading_budget import ShadedFraction
from dreamfusion3d.rendering.volume import (
    OccupancyLike,
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
    """Consecutive rays, their samples, and the range of these in the list of shaded samples."""

    rays: slice
    samples: slice
    shaded: slice


@dataclass(frozen=True)
class TiledRender:
    """A detached render: losses leave their gradients in ``render`` and ``aux``; `backward` passes them on."""

    field: Field
    rays: Rays
    samples: Samples
    settings: RenderSettings
    tiles: list[Tile]
    outputs: RayOutputs
    render: Render
    aux: SampleAux

    def backward(self) -> None:
        """Add to the gradients of the field's parameters. Call once."""
        for tile in self.tiles:
            rays, samples = self.rays[tile.rays], self.samples.slice_rays(tile.rays, tile.samples)
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


def render_field_tiled(
    field: Field,
    cameras: RayCameras,
    *,
    occupancy: OccupancyLike,
    generator: torch.Generator,
    tiles: int,
    settings: RenderSettings,
    pending: PendingSamples | None = None,
    shaded_fraction: ShadedFraction | None = None,
) -> TiledRender:
    """Render as `render_field_with_aux` does, from the same random numbers, in tiles.

    There are at most ``tiles`` of them, with about the same number of samples. The host waits for their bounds.
    """
    rays, samples = sample_camera_rays(cameras, occupancy, settings, generator, pending)
    with torch.no_grad():
        bounds = _tile_bounds(samples, tiles)
        weight = torch.cat([weights_and_albedo(field, rays[r], samples.slice_rays(r, s))[0] for r, s in bounds])
        shaded = shaded_sample_indices(weight, rays, settings, shaded_fraction)
        tile_list = [Tile(r, s, _index_range(shaded, s)) for r, s in bounds]
        parts = [_tile_outputs(field, rays, samples, weight, shaded, tile, settings) for tile in tile_list]
        outputs = _concat_as_leaves(parts, weight, shaded)
    render, aux = assemble_render(outputs, cameras, settings), assemble_aux(outputs, cameras, rays, samples)
    return TiledRender(field, rays, samples, settings, tile_list, outputs, render, aux)


def _tile_outputs(
    field: Field, rays: Rays, samples: Samples, weight: Tensor, shaded: Tensor, tile: Tile, settings: RenderSettings
) -> RayOutputs:
    tile_rays, tile_samples = rays[tile.rays], samples.slice_rays(tile.rays, tile.samples)
    # queried again: keeping the albedo of all samples would take most of the memory
    _, albedo = weights_and_albedo(field, tile_rays, tile_samples)
    tile_shaded = shaded[tile.shaded] - tile.samples.start
    return shade_and_composite(field, tile_rays, tile_samples, weight[tile.samples], albedo, tile_shaded, settings)


def _concat_as_leaves(parts: list[RayOutputs], weight: Tensor, shaded: Tensor) -> RayOutputs:
    """Concatenate the tiles to leaves, which can hold gradients."""
    concatenated = {name: torch.cat([getattr(part, name) for part in parts]) for name in (*_PER_RAY, "shaded_normals")}
    outputs = RayOutputs(**concatenated, weights=weight, shaded=shaded)
    for field in dataclasses.fields(outputs):
        if field.name != "shaded":
            getattr(outputs, field.name).requires_grad_(True)
    return outputs


def _tile_bounds(samples: Samples, num_tiles: int) -> list[tuple[slice, slice]]:
    """Return the rays and the samples of each tile; no ray is split."""
    first, counts = samples.packed_info.unbind(-1)
    rays, total = len(first), int(samples.ray_indices.numel())
    if rays == 0:
        return [(slice(0, 0), slice(0, 0))]
    ends = first + counts
    targets = torch.arange(1, num_tiles, device=ends.device) * total // num_tiles
    last_rays = torch.searchsorted(ends.contiguous(), targets).clamp(max=rays - 1) if total else targets[:0]
    ray_bounds = sorted({0, *(last_rays + 1).tolist(), rays})
    sample_bounds = [0, *ends[torch.tensor(ray_bounds[1:], device=ends.device) - 1].tolist()]
    ray_slices, sample_slices = (map(slice, bounds[:-1], bounds[1:]) for bounds in (ray_bounds, sample_bounds))
    return list(zip(ray_slices, sample_slices, strict=True))


def _index_range(shaded: Tensor, samples: slice) -> slice:
    """Return the range of the ascending ``shaded`` that falls within ``samples``."""
    bounds = torch.tensor([samples.start, samples.stop], device=shaded.device)
    return slice(*torch.searchsorted(shaded, bounds).tolist())
