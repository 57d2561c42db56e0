"""Profile the rendering of a step, whole and in tiles: measured where memory allows, extrapolated elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dreamfusion3d.cameras.orbit import OrbitCameras
from dreamfusion3d.memory import budget
from dreamfusion3d.memory.checkpoint_plan import CostChain
from dreamfusion3d.memory.profiler import (
    LinearFit,
    extrapolate_chain,
    measure_memory,
    profile_chain,
    time_call,
    zeroed_grads,
)
from dreamfusion3d.training.planning.render_workload import DetachedRender, RenderWorkload

TILE_COUNTS = (2, 4, 8, 16, 32, 64)
# tilings of the two runs at full size; the others are interpolated. COARSE_TILES: the first that fits
FINE_TILES, COARSE_TILES = 32, (4, 8, 16)
RAY_DIVISORS = (4, 8)  # fraction of the rays in the larger small render: the first that fits


@dataclass(frozen=True)
class RenderCost:
    """Cost of rendering a step and passing its gradient on, in bytes and in the order of the step.

    In turn: peak of the forward pass, what it saves for the guidance, peak and savings of the other losses, gradients
    of the images, and peak of the backward pass on top of these.
    """

    tiles: int
    forward_peak: int
    saved: int
    losses_peak: int
    losses_saved: int
    image_grads: int
    backward_peak: int
    seconds: float
    losses_seconds: float  # part of ``seconds``


class RenderProfiler:
    """Profiler of the renders of a step that stays below ``free_bytes`` where it can."""

    def __init__(self, workload: RenderWorkload, device: torch.device, free_bytes: float | int) -> None:
        self.workload, self.device, self.free_bytes = workload, device, free_bytes
        size = max(workload.cameras.height // 4, 4)
        self.small_cameras = workload.cameras.resized(size, size)

    def costs(self) -> Iterator[RenderCost]:
        """Yield the cost of the whole render, from small renders, and of tilings, from renders at full size."""
        num_rays, fine = self.workload.num_rays, self._profile_tiled(FINE_TILES)
        small_costs, sizes = self._profile_small_renders()
        untiled = extrapolate_chain(small_costs[0], small_costs[1], sizes, num_rays).costs[0]
        backward_peak = untiled.backward_peak + fine.image_grads
        untiled_seconds = untiled.forward + untiled.backward + fine.losses_seconds
        yield RenderCost(
            1,
            untiled.forward_peak,
            untiled.saved,
            fine.losses_peak,
            fine.losses_saved,
            fine.image_grads,
            backward_peak,
            untiled_seconds,
            fine.losses_seconds,
        )
        if not self.workload.tiled:
            return
        coarse_tiles, coarse = self._profile_coarse_tiling(small_costs, sizes, fine)
        ends = (num_rays // FINE_TILES, num_rays // coarse_tiles)
        forward_peak, backward_fit = (
            LinearFit(ends, (float(getattr(fine, name)), float(getattr(coarse, name))))
            for name in ("forward_peak", "backward_peak")
        )
        slope = max(fine.seconds - coarse.seconds, 0.0) / (FINE_TILES - coarse_tiles)
        for tiles in TILE_COUNTS:
            tile_rays = -(-num_rays // tiles)
            yield replace(
                fine,
                tiles=tiles,
                forward_peak=int(forward_peak.at(tile_rays)),
                backward_peak=int(backward_fit.at(tile_rays)),
                seconds=1.001 * max(coarse.seconds + slope * (tiles - coarse_tiles), untiled_seconds),
            )

    def _profile_small_renders(self) -> tuple[list[CostChain], tuple[int, int]]:
        """Profile two small renders with their graph; return their costs and ray counts."""
        for divisor in RAY_DIVISORS:
            size = self.workload.cameras.height * 2 / divisor
            cameras_by_size = [self.workload.cameras.resized(s, s) for s in (max(int(size / 2), 4), max(int(size), 8))]
            low, high = (len(c) * c.height * c.width for c in cameras_by_size)
            costs: list[CostChain] = []
            with self._skip_if_out_of_memory(divisor == RAY_DIVISORS[-1]):
                for cameras in cameras_by_size:
                    predicted_peak = costs[0].costs[0].backward_peak * high / low if costs else 0
                    if predicted_peak > self.free_bytes and divisor < RAY_DIVISORS[-1]:
                        break
                    costs.append(
                        profile_chain([self.workload.make_block(cameras)], {}, self.device, self.workload.parameters)
                    )
            if len(costs) == 2:
                return costs, (low, high)
        raise AssertionError("the last attempt succeeds or raises")

    def _profile_coarse_tiling(
        self, small_costs: list[CostChain], sizes: tuple[int, int], fine: RenderCost
    ) -> tuple[int, RenderCost]:
        """Profile the coarsest tiling that fits; return its number of tiles and its cost."""
        for tiles in COARSE_TILES:
            tile_cost = extrapolate_chain(
                small_costs[0], small_costs[1], sizes, -(-self.workload.num_rays // tiles)
            ).costs[0]
            if fine.saved + tile_cost.backward_peak > self.free_bytes and tiles < COARSE_TILES[-1]:
                continue
            with self._skip_if_out_of_memory(tiles == COARSE_TILES[-1]):
                return tiles, self._profile_tiled(tiles)
        raise AssertionError("the last attempt succeeds or raises")

    @contextlib.contextmanager
    def _skip_if_out_of_memory(self, last: bool) -> Iterator[None]:
        """Ignore an out-of-memory error, unless this is the ``last`` attempt."""
        try:
            yield
        except Exception as error:
            if last or not budget.is_out_of_memory(error):
                raise
        else:
            return
        budget.release_memory(self.device)

    def _profile_tiled(self, tiles: int) -> RenderCost:
        """Profile a full-size step; a stand-in for the guidance leaves gradients of the same size."""
        cameras, workload = self.workload.cameras, self.workload

        def all_losses(cameras: OrbitCameras, detached: DetachedRender) -> Tensor:
            return workload.losses(cameras, detached) + detached.render.rgb.sum() + detached.render.opacity.sum()

        def warm_up(cameras: OrbitCameras) -> None:
            detached = workload.render_detached(cameras, tiles)
            all_losses(cameras, detached).backward()
            detached.backward()

        with zeroed_grads(workload.parameters) as ignored, measure_memory(self.device, ignored) as meter:

            def read_meter(start: int) -> tuple[int, int]:
                peak_and_live = meter.peak_bytes() - start, meter.live_bytes() - start
                meter.reset()
                return peak_and_live

            warm_up(self.small_cameras)  # existing tensors do not count
            start = meter.live_bytes()
            meter.reset()
            detached = workload.render_detached(cameras, tiles)
            forward_peak, saved = read_meter(start)
            loss = all_losses(cameras, detached)
            losses_peak, losses_saved = read_meter(start + saved)
            loss.backward()
            del loss
            _, image_grads = read_meter(start + saved)
            detached.backward()
            backward_peak, _ = read_meter(start)
        with zeroed_grads(workload.parameters):  # apart: a meter takes time
            results: list[DetachedRender] = []
            seconds = time_call(self.device, lambda: results.append(workload.render_detached(cameras, tiles)), 1)
            losses_seconds = time_call(self.device, lambda: all_losses(cameras, results[0]).backward(), 1)
            seconds += losses_seconds + time_call(self.device, results[0].backward, 1)
        return RenderCost(
            tiles, forward_peak, saved, losses_peak, losses_saved, image_grads, backward_peak, seconds, losses_seconds
        )
