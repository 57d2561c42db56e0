"""A field fitted to posed photos against the clock: with its hash grid, and with dense grids in plain torch.

    python -m benchmarks.fit --out out/fit
    python -m benchmarks.fit --out out/fit --peers PEERS

40 photos of 64 x 64 pixels of a procedural prop under a lamp that stands still, 10 more held out. Both
fields have the same photos, pixels, renderer, loss and optimiser; the seconds are those of the steps (judging
excluded, kernels compiled before). Prints JSON with the PSNR on the photos held out after 4, 8 and 16
seconds, beside what was recorded on two cores on 2026-11-22.

``--clock cpu`` counts processor time of all threads, for a machine that has other work.

The dense grid is what was recorded beside it: three grids of 16, 32 and 64 cells along an edge with four
features a vertex, read by torch's ``grid_sample`` in place of the hash grid, all else the same.

``--peers`` (``peers.py``) adds stable-dreamfusion's ``-O2``: its network, its renderer and its Adam, the same
photos, the same loss over the same random ground.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import peers
from dreamfusion3d.cameras.capture import Photos
from dreamfusion3d.cameras.orbit import sample_orbit_cameras
from dreamfusion3d.cameras.pinhole import PinholeCameras
from dreamfusion3d.core.config import RECONSTRUCTION_QUALITY_PRESETS, Config, override_config, resolve_config
from dreamfusion3d.core.files import write_json
from dreamfusion3d.core.image_metrics import psnr
from dreamfusion3d.fields.nerf import NerfField
from dreamfusion3d.procedural.objects import default_spec, sample_objects_for_spec
from dreamfusion3d.procedural.posed_photos import render_photos
from dreamfusion3d.training.photometric import estimate_background, evaluate_views, fit_photos, photo_colors

SECONDS = (4.0, 8.0, 16.0)
RECORDED = {"hash grid": (27.8, 31.8, 33.5), "dense grid": (22.5, 30.6, 32.9)}  # dB
PHOTOS, HELD, SIZE = 40, 10, 64
DENSE = {  # 16, 32 and 64 cells along an edge, 4 features each, no collisions
    "field.num_levels": 3,
    "field.features_per_level": 4,
    "field.base_resolution": 16,
    "field.max_resolution": 64,
    "field.log2_table_size": 19,
}
# Of 64 to 1024 rays a step and rates of .001 (its own) to .01, what its figures are best with after 16 s.
PEER_RAYS, PEER_RATE = 128, 1e-2
Judge = Callable[[], float]  # PSNR on the photos held out
Clock = Callable[[], float]
Begin = Callable[[Config], tuple[Iterator[Any], Judge]]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}


class DenseField(NerfField):
    """The same field with its features read by torch alone, from grids that have a row for every vertex."""

    def features(self, x: Tensor) -> Tensor:
        found = []
        for level, cells in enumerate(self.layout.resolutions):
            rows = self.table[self.layout.offsets[level] : self.layout.offsets[level + 1]]
            # row i + (N + 1) (j + (N + 1) k) is vertex (i, j, k): axes k, j, i
            grid = rows.view(1, cells + 1, cells + 1, cells + 1, -1).permute(0, 4, 1, 2, 3)
            read = F.grid_sample(grid, x[None, None, None], padding_mode="border", align_corners=True)
            found.append(read[0, :, 0, 0].T)
        return torch.cat(found, 1)


def photo_set(kind: str, seed: int, held: int = HELD) -> tuple[Photos, Photos]:
    generator = torch.Generator().manual_seed(seed)
    meaning = default_spec(kind)
    props = sample_objects_for_spec(meaning, 1, generator=generator)
    cameras = sample_orbit_cameras(PHOTOS + held, generator=generator, size=SIZE)
    return render_photos(props, 0, meaning, cameras).split(held)


def begin(name: str, photos: Photos, held: Photos, config: Config) -> tuple[Iterator[Any], Judge]:
    """The steps of one of FIELDS, and what judges it meanwhile."""
    config, kind = config_of(name, config), FIELDS[name]
    field = kind(config.field, generator=torch.Generator().manual_seed(0))

    def judge() -> float:
        return evaluate_views(field, held, config, generator=torch.Generator().manual_seed(1)).means[0]

    return fit_photos(field, photos, config, generator=torch.Generator().manual_seed(0)), judge


def begin_peer(clone: Path, photos: Photos, held: Photos, config: Config) -> tuple[Iterator[Any], Judge]:
    """As ``begin``: vanilla backbone, uniform and importance sampling, its rate falling to a tenth."""
    network, ground = peers.vanilla_nerf(clone, torch.device("cpu")), estimate_background(photos)
    adam = torch.optim.Adam(network.get_params(PEER_RATE), betas=(0.9, 0.99), eps=1e-15)  # its own
    lots = torch.Generator().manual_seed(0)

    def shot(cameras: PinholeCameras, pixels: Tensor, behind: Tensor) -> Tensor:
        origins, directions = cameras.rays_through(pixels)
        seen: Tensor = network.run(
            origins[None], directions[None], shading="albedo", bg_color=behind, perturb=network.training
        )["image"]
        return seen[0]

    def steps() -> Iterator[int]:
        total = photos.rgba[..., 0].numel()
        for step in range(config.optim.steps):
            adam.param_groups[0]["lr"] = PEER_RATE * 0.1 ** (step / config.optim.steps)
            pixels = torch.randint(total, (PEER_RAYS,), generator=lots)
            behind = torch.rand(PEER_RAYS, 3, generator=lots)
            error = (shot(photos.cameras, pixels, behind) - photo_colors(photos, pixels, behind)).square()
            adam.zero_grad(set_to_none=True)
            error.mean().backward()
            adam.step()
            yield step

    @torch.no_grad()
    def judge() -> float:
        network.eval()
        white = torch.tensor(ground.color)
        pixels = torch.arange(held.rgba[..., 0].numel())
        seen = torch.cat([shot(held.cameras, part, white.expand(len(part), 3)) for part in pixels.split(1 << 12)])
        network.train()
        truth = photo_colors(held, pixels, white.expand(len(pixels), 3))
        errors = (seen.clamp(0, 1) - truth).square().view(len(held), -1).mean(1)
        return statistics.fmean(map(psnr, errors.tolist()))

    return steps(), judge


def config_of(name: str, config: Config) -> Config:
    return config if name == "hash grid" else override_config(config, DENSE)


FIELDS: dict[str, type[NerfField]] = {"hash grid": NerfField, "dense grid": DenseField}


def race(name: str, begin: Begin, marks: tuple[float, ...], config: Config, clock: Clock) -> dict[str, Any]:
    """PSNR at each of ``marks`` (seconds of steps). The rates' course is laid for the last of them."""
    warm, warm_judge = begin(_long(config, 3))
    for _ in warm:  # compiles the kernels
        pass
    warm_judge()
    total = _steps_in(marks[-1], begin(_long(config, 1_000_000))[0], clock)
    steps, judge = begin(_long(config, max(total, len(marks))))
    spent, done, rows, left = 0.0, 0, [], list(marks)
    while left:
        begun = clock()
        over = next(steps, None) is None
        spent += clock() - begun
        done += not over
        while left and (over or spent >= left[0]):
            left.pop(0)
            rows.append({"seconds": round(spent, 2), "steps": done, "psnr": round(judge(), 2)})
    return {"field": name, "marks": rows, "recorded_psnr": RECORDED.get(name)}


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
    parser.add_argument("--peers", type=Path, default=Path("absent"), help="a folder with their clones")
    parser.add_argument("--out", type=Path, default=Path("out/fit"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    config = resolve_config("standard", sets=arguments.sets, quality_presets=RECONSTRUCTION_QUALITY_PRESETS)
    photos, held = photo_set(arguments.kind, arguments.seed)
    fields = {name: functools.partial(begin, name, photos, held) for name in FIELDS}
    if peers.commit(clone := arguments.peers / peers.STABLE_DREAMFUSION):
        fields[f"{peers.STABLE_DREAMFUSION} -O2"] = functools.partial(begin_peer, clone, photos, held)
    marks = tuple(arguments.seconds * m / SECONDS[-1] for m in SECONDS)
    report = {
        "benchmark": "fit",
        "kind": arguments.kind,
        "photos": PHOTOS,
        "held_out": HELD,
        "size": SIZE,
        "threads": arguments.threads,
        "clock": arguments.clock,
        "fields": [race(name, begin, marks, config, CLOCKS[arguments.clock]) for name, begin in fields.items()],
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_json(arguments.out / "fit.json", report)
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
