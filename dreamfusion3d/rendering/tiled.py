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

from dreamfusion3d.cameras.orbit import Cameras
from dreamfusion3d.core.types import Field, Render
from dreamfusion3d.rendering.occupancy_grid import Occupancy
from dreamfusion3d.rendering.ray_march import Samples
from dreamfusion3d.rendering.shading_budget import LitShare
from dreamfusion3d.rendering.volume import (
    Detail,
    Marched,
    Rays,
    RenderSettings,
    Seen,
    detail_of,
    light_up,
    lit_of,
    pictures_of,
    rays_and_samples,
    weigh,
)

_OF_RAYS = ("rgb", "opacity", "depth", "normals", "albedo")


@dataclass(frozen=True)
class Tile:
    """Rays that follow each other, with their samples and with those of them that are lit."""

    rays: slice
    samples: slice
    lit: slice


@dataclass(frozen=True)
class TiledRender:
    """``picture`` and ``detail`` end here: a loss of them leaves its gradient with them, and ``backward``
    hands it on to the field."""

    field: Field
    rays: Rays
    samples: Samples
    settings: RenderSettings
    tiles: list[Tile]
    seen: Seen
    picture: Render
    detail: Detail

    def backward(self) -> None:
        """Adds to the gradients of the field's parameters. Once."""
        for tile in self.tiles:
            rays, samples = self.rays.part(tile.rays.start, tile.rays.stop), self._samples(tile)
            weight, albedo = weigh(self.field, rays, samples)
            lit = self.seen.lit[tile.lit] - tile.samples.start
            again = light_up(self.field, rays, samples, weight, albedo, lit, self.settings)
            roots, grads = [], []
            for value, leaf, rows in (
                *((getattr(again, name), getattr(self.seen, name), tile.rays) for name in _OF_RAYS),
                (again.weights, self.seen.weights, tile.samples),
                (again.lit_normals, self.seen.lit_normals, tile.lit),
            ):
                if leaf.grad is not None and value.requires_grad:
                    roots.append(value)
                    grads.append(leaf.grad[rows])
            if roots:
                torch.autograd.backward(roots, grads)

    def _samples(self, tile: Tile) -> Samples:
        return self.samples.part(tile.rays, tile.samples)


def render_tiled(
    field: Field,
    cameras: Cameras,
    *,
    occupancy: Occupancy | Bool[Tensor, "x y z"],
    generator: torch.Generator,
    tiles: int,
    settings: RenderSettings,
    marched: Marched | None = None,
    share: LitShare | None = None,
) -> TiledRender:
    """As ``render_detailed``, from the same random numbers, in at most ``tiles`` tiles of about as many
    samples. The host waits for where the tiles begin and end."""
    rays, samples = rays_and_samples(cameras, occupancy, settings, generator, marched)
    with torch.no_grad():
        cuts = _cuts(samples, tiles)
        weight = torch.cat([_weights(field, rays, samples, *cut) for cut in cuts])
        lit = lit_of(weight, rays, settings, share)
        parts = [Tile(r, s, slice(*_between(lit, s))) for r, s in cuts]
        seen = _leaves(
            [_seen(field, rays, samples, weight, lit, tile, settings) for tile in parts], weight, lit
        )
    return TiledRender(
        field, rays, samples, settings, parts, seen, pictures_of(seen, cameras, settings),
        detail_of(seen, cameras, rays, samples),
    )


def _weights(field: Field, rays: Rays, samples: Samples, of_rays: slice, of_samples: slice) -> Tensor:
    return weigh(field, rays.part(of_rays.start, of_rays.stop), samples.part(of_rays, of_samples))[0]


def _seen(
    field: Field, rays: Rays, samples: Samples, weight: Tensor, lit: Tensor, tile: Tile,
    settings: RenderSettings,
) -> Seen:
    part, own = rays.part(tile.rays.start, tile.rays.stop), samples.part(tile.rays, tile.samples)
    # asked again: colours of all samples would be most of what is held
    _, albedo = weigh(field, part, own)
    here = lit[tile.lit] - tile.samples.start
    return light_up(field, part, own, weight[tile.samples], albedo, here, settings)


def _leaves(parts: list[Seen], weight: Tensor, lit: Tensor) -> Seen:
    """The tiles in a row, where gradients may be left."""
    whole = {
        name: torch.cat([getattr(part, name) for part in parts]) for name in (*_OF_RAYS, "lit_normals")
    }
    seen = Seen(**whole, weights=weight, lit=lit)
    for field in dataclasses.fields(seen):
        if field.name != "lit":
            getattr(seen, field.name).requires_grad_(True)
    return seen


def _cuts(samples: Samples, tiles: int) -> list[tuple[slice, slice]]:
    """Rays and samples of each tile; a ray is never cut."""
    first, counts = samples.packed_info.unbind(-1)
    rays, total = len(first), int(samples.ray_indices.numel())
    if rays == 0:
        return [(slice(0, 0), slice(0, 0))]
    ends = first + counts
    wanted = torch.arange(1, tiles, device=ends.device) * total // tiles
    inner = torch.searchsorted(ends.contiguous(), wanted).clamp(max=rays - 1) if total else wanted[:0]
    of_rays = sorted({0, *(inner + 1).tolist(), rays})
    last = [0, *ends[torch.tensor(of_rays[1:], device=ends.device) - 1].tolist()]
    return [
        (slice(a, b), slice(c, d))
        for a, b, c, d in zip(of_rays[:-1], of_rays[1:], last[:-1], last[1:], strict=True)
    ]


def _between(lit: Tensor, samples: slice) -> tuple[int, int]:
    """Where in the rising ``lit`` those of ``samples`` lie."""
    bounds = torch.tensor([samples.start, samples.stop], device=lit.device)
    low, high = torch.searchsorted(lit, bounds).tolist()
    return low, high
