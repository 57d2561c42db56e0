"""One field fitted to posed photos against the clock: ours, and a dense voxel grid in plain torch.

    python -m benchmarks.fit --out out/fit

40 photos of 64 x 64 pixels of a procedural prop under a lamp that stands still, 10 more held out. Both
fields have the same photos, as many random pixels a step, the same loss, and Adam; the seconds are those of
the steps (judging excluded, kernels compiled before). Prints JSON with the PSNR on the photos held out after
4, 8 and 16 seconds, beside what was recorded on two cores on 2026-11-22.

``--clock cpu`` counts processor time of all threads, for a machine that has other work.

The dense grid is what a plain torch program would take: density and colour at 64^3 vertices, read by
``grid_sample`` at 96 even samples of every ray, without an occupancy grid (as the coarse stage of DVGO,
arXiv 2111.11215).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dreamfusion3d.cameras import sample_orbit
from dreamfusion3d.config import FIT_PRESETS, Config, resolve
from dreamfusion3d.field.nerf import NerfField
from dreamfusion3d.files import write_json
from dreamfusion3d.photos import Photos
from dreamfusion3d.procedural.photo_set import take_photos
from dreamfusion3d.procedural.world import meant_instances, usual
from dreamfusion3d.reconstruct import decibels, fit, likeness, true_colours
from dreamfusion3d.render.march import box_interval
from dreamfusion3d.schedules import geometric

SECONDS = (4.0, 8.0, 16.0)
RECORDED = {"hash grid": (27.8, 31.8, 33.5), "dense grid": (22.5, 30.6, 32.9)}  # dB
PHOTOS, HELD, SIZE = 40, 10, 64
RESOLUTION = 64  # vertices of the dense grid along an edge
SAMPLES = 96  # of a ray in the dense grid
Judge = Callable[[], float]  # PSNR on the photos held out
Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}


class DenseGrid(nn.Module):
    """Density and colour at the vertices of one grid."""

    def __init__(self) -> None:
        super().__init__()
        values = torch.zeros(1, 4, RESOLUTION, RESOLUTION, RESOLUTION)
        values[:, 0] = -2.0  # a thin fog to begin with
        self.values = nn.Parameter(values)

    def shoot(self, photos: Photos, pixels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Premultiplied colour (n, 3) and opacity (n, 1)."""
        origins, directions = photos.cameras.rays(pixels)
        near, far = box_interval(origins, directions)
        step = ((far - near).clamp(min=0) / SAMPLES)[:, None]
        jitter = torch.rand(len(pixels), 1, generator=generator)
        t = near[:, None] + (torch.arange(SAMPLES) + jitter) * step
        points = origins[:, None] + t[..., None] * directions[:, None]
        read = F.grid_sample(self.values, points[None, None], align_corners=True)[0, :, 0]  # (4, n, s)
        optical = 10 * F.softplus(read[0]) * step
        before = optical.cumsum(-1) - optical
        weight = torch.exp(-before) * -torch.expm1(-optical)
        return (torch.sigmoid(read[1:]) * weight).sum(-1).T, weight.sum(-1, keepdim=True)


def photo_set(kind: str, seed: int, held: int = HELD) -> tuple[Photos, Photos]:
    generator = torch.Generator().manual_seed(seed)
    meaning = usual(kind)
    props = meant_instances(meaning, 1, generator=generator)
    cameras = sample_orbit(PHOTOS + held, generator=generator, size=SIZE)
    return take_photos(props, 0, meaning, cameras).split(held)


def hash_grid(photos: Photos, held: Photos, config: Config) -> tuple[Iterator[Any], Judge]:
    field = NerfField(config.field, generator=torch.Generator().manual_seed(0))

    def judge() -> float:
        return likeness(field, held, config, generator=torch.Generator().manual_seed(1)).means[0]

    return fit(field, photos, config, generator=torch.Generator().manual_seed(0)), judge


def dense_grid(photos: Photos, held: Photos, config: Config) -> tuple[Iterator[Any], Judge]:
    grid, lot = DenseGrid(), torch.Generator().manual_seed(0)
    adam = torch.optim.Adam(grid.parameters(), lr=0.1, betas=(0.9, 0.99))
    pixels_there = photos.rgba[..., 0].numel()

    def steps() -> Iterator[int]:
        for index in range(config.optim.steps):
            share = geometric(index / config.optim.steps, 1.0, config.optim.final_rate)
            adam.param_groups[0]["lr"] = 0.1 * share
            pixels = torch.randint(pixels_there, (config.fit.rays,), generator=lot)
            behind = torch.rand(len(pixels), 3, generator=lot)
            rgb, opacity = grid.shoot(photos, pixels, lot)
            error = rgb + (1 - opacity) * behind - true_colours(photos, pixels, behind)
            adam.zero_grad(set_to_none=True)
            error.square().mean().backward()
            adam.step()
            yield index

    @torch.no_grad()
    def judge() -> float:
        pixels = torch.arange(held.rgba[..., 0].numel())
        white = torch.ones(len(pixels), 3)
        parts = [grid.shoot(held, part, torch.Generator().manual_seed(1)) for part in pixels.split(4096)]
        rgb, opacity = (torch.cat(part) for part in zip(*parts, strict=True))
        error = ((rgb + 1 - opacity).clamp(0, 1) - true_colours(held, pixels, white)).square()
        return sum(map(decibels, error.view(len(held), -1).mean(1).tolist())) / len(held)

    return steps(), judge


METHODS = {"hash grid": hash_grid, "dense grid": dense_grid}


def race(
    name: str, photos: Photos, held: Photos, marks: tuple[float, ...], config: Config, clock: Clock
) -> dict[str, Any]:
    """PSNR at each of ``marks`` (seconds of steps). The rates' course is laid for the last of them."""
    warm, warm_judge = METHODS[name](photos, held, _long(config, 3))
    for _ in warm:  # compiles the kernels
        pass
    warm_judge()
    total = _steps_in(marks[-1], METHODS[name](photos, held, _long(config, 1_000_000))[0], clock)
    steps, judge = METHODS[name](photos, held, _long(config, max(total, len(marks))))
    spent, done, rows, left = 0.0, 0, [], list(marks)
    while left:
        begun = clock()
        over = next(steps, None) is None
        spent += clock() - begun
        done += not over
        while left and (over or spent >= left[0]):
            left.pop(0)
            rows.append({"seconds": round(spent, 2), "steps": done, "psnr": round(judge(), 2)})
    return {"field": name, "marks": rows, "recorded_psnr": RECORDED[name]}


def _steps_in(seconds: float, steps: Iterator[Any], clock: Clock) -> int:
    """About how many of ``steps`` fit into ``seconds``: by half of them, whose second half is the faster."""
    begun, times = clock(), []
    while not times or times[-1] < seconds / 2:
        next(steps)
        times.append(clock() - begun)
    late = sum(t > seconds / 4 for t in times)
    return len(times) + 2 * late


def _long(config: Config, steps: int) -> Config:
    return dataclasses.replace(config, optim=dataclasses.replace(config.optim, steps=steps))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", default="pitcher")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=SECONDS[-1], help="of the last mark")
    parser.add_argument("--clock", choices=tuple(CLOCKS), default="wall")
    parser.add_argument("--set", action="append", default=[], dest="sets")
    parser.add_argument("--out", type=Path, default=Path("out/fit"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    config = resolve("standard", sets=arguments.sets, qualities=FIT_PRESETS)
    photos, held = photo_set(arguments.kind, arguments.seed)
    marks = tuple(arguments.seconds * m / SECONDS[-1] for m in SECONDS)
    report = {
        "benchmark": "fit", "kind": arguments.kind, "photos": PHOTOS, "held_out": HELD, "size": SIZE,
        "threads": arguments.threads, "clock": arguments.clock,
        "fields": [
            race(name, photos, held, marks, config, CLOCKS[arguments.clock]) for name in METHODS
        ],
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_json(arguments.out / "fit.json", report)
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
