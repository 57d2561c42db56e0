"""What the pictures of a step take, bytes and seconds, in one piece and in tiles: measured as far as there is
room, and read off a line elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dreamfusion3d.cameras.orbit import Cameras
from dreamfusion3d.memory import budget
from dreamfusion3d.memory.checkpoint_plan import Chain
from dreamfusion3d.memory.profiler import Line, as_found, measured, metered, scaled, seconds_of
from dreamfusion3d.training.render_workload import Pictures, Shown

TILES = (2, 4, 8, 16, 32, 64)
# tiles of the two runs at full size: the rest lies on the line through them. The second is the first of these
# that fits
RUN, SECOND = 32, (4, 8, 16)
SHARES = (4, 8)  # the larger small picture's part of all rays: the first that fits


@dataclass(frozen=True)
class Rendered:
    """Making a step's pictures and handing their gradient on. Bytes in the order of a step: the peak of
    making them, what is left of that for the guidance, what the other losses add to that and leave of it,
    the pictures' gradients, and the peak of the backward pass with these."""

    tiles: int
    making: int
    kept: int
    losses: int
    graph: int
    gradients: int
    backward: int
    seconds: float
    of_losses: float  # the share of those losses in that


class Renders:
    """Trials of a step's pictures that should take no more than ``room`` bytes."""

    def __init__(self, pictures: Pictures, device: torch.device, room: float | int) -> None:
        self.pictures, self.device, self.room = pictures, device, room
        side = max(pictures.cameras.height // 4, 4)
        self.small = pictures.cameras.resized(side, side)

    def every(self) -> Iterator[Rendered]:
        """In one piece, as small pictures say; and in tiles, as runs at full size do."""
        rays, small = self.pictures.rays, self._shown(RUN)
        graph, sizes = self._graphs()
        whole = scaled(graph[0], graph[1], sizes, rays).costs[0]
        held = whole.backward_peak + small.gradients
        once = whole.forward + whole.backward + small.of_losses
        yield Rendered(
            1, whole.full_peak, whole.kept, small.losses, small.graph, small.gradients, held, once,
            small.of_losses,
        )
        if not self.pictures.tiled:
            return
        most, large = self._second(graph, sizes, small)
        ends = (rays // RUN, rays // most)
        making, backward = (
            Line(ends, (float(getattr(small, name)), float(getattr(large, name))))
            for name in ("making", "backward")
        )
        slope = max(small.seconds - large.seconds, 0.0) / (RUN - most)
        for tiles in TILES:
            size = -(-rays // tiles)
            yield replace(
                small, tiles=tiles, making=int(making.at(size)), backward=int(backward.at(size)),
                seconds=1.001 * max(large.seconds + slope * (tiles - most), once),
            )

    def _graphs(self) -> tuple[list[Chain], tuple[int, int]]:
        """Two small pictures' with their graph, and their rays: a quarter of all at most, or what fits."""
        for share in SHARES:
            side = self.pictures.cameras.height * 2 / share
            trials = [self.pictures.cameras.resized(s, s) for s in (max(int(side / 2), 4), max(int(side), 8))]
            low, high = (len(c) * c.height * c.width for c in trials)
            found: list[Chain] = []
            with self._if_it_fits(share == SHARES[-1]):
                for cameras in trials:
                    foreseen = found[0].costs[0].backward_peak * high / low if found else 0
                    if foreseen > self.room and share < SHARES[-1]:
                        break
                    found.append(measured(
                        [self.pictures.block(cameras)], {}, self.device, self.pictures.parameters
                    ))
            if len(found) == 2:
                return found, (low, high)
        raise AssertionError("the last is taken, or has raised")

    def _second(self, graph: list[Chain], sizes: tuple[int, int], small: Rendered) -> tuple[int, Rendered]:
        """How many tiles, and what they take."""
        for tiles in SECOND:
            part = scaled(graph[0], graph[1], sizes, -(-self.pictures.rays // tiles)).costs[0]
            if small.kept + part.backward_peak > self.room and tiles < SECOND[-1]:
                continue
            with self._if_it_fits(tiles == SECOND[-1]):
                return tiles, self._shown(tiles)
        raise AssertionError("the last is taken, or has raised")

    @contextlib.contextmanager
    def _if_it_fits(self, last: bool) -> Iterator[None]:
        """Passes over a trial that memory runs out in, but not the ``last``."""
        try:
            yield
        except Exception as error:
            if last or not budget.ran_out(error):
                raise
        else:
            return
        budget.give_back(self.device)

    def _shown(self, tiles: int) -> Rendered:
        """A step at full size but for the guidance, whose gradient of the pictures is as large as any."""
        cameras, pictures = self.pictures.cameras, self.pictures

        def all_losses(cameras: Cameras, shown: Shown) -> Tensor:
            return pictures.losses(cameras, shown) + shown.picture.rgb.sum() + shown.picture.opacity.sum()

        def run(cameras: Cameras) -> None:
            shown = pictures.shown(cameras, tiles)
            all_losses(cameras, shown).backward()
            shown.backward()

        with as_found(pictures.parameters) as there, metered(self.device, there) as meter:
            def since(start: int) -> tuple[int, int]:
                found = meter.peak() - start, meter.live() - start
                meter.reset()
                return found

            run(self.small)  # what it finds there counts no more
            start = meter.live()
            meter.reset()
            shown = pictures.shown(cameras, tiles)
            making, kept = since(start)
            loss = all_losses(cameras, shown)
            losses, graph = since(start + kept)
            loss.backward()
            del loss
            _, gradients = since(start + kept)
            shown.backward()
            backward, _ = since(start)
        with as_found(pictures.parameters):  # apart, for a meter takes time
            made: list[Shown] = []
            seconds = seconds_of(self.device, lambda: made.append(pictures.shown(cameras, tiles)), 1)
            of_losses = seconds_of(self.device, lambda: all_losses(cameras, made[0]).backward(), 1)
            seconds += of_losses + seconds_of(self.device, made[0].backward, 1)
        return Rendered(tiles, making, kept, losses, graph, gradients, backward, seconds, of_losses)
