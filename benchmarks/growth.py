"""How the cost of a step grows with its rays, its samples, the table and the resolution of the field.

    python -m benchmarks.growth --out out/growth
    python -m benchmarks.growth --device cuda --out out/growth

A step renders a field as it begins, goes back through it and updates it; without a prior, whose cost depends
on none of these. One number is changed at a time, the others are the defaults. All steps of a curve are
taken in turn, and the median counts. OUT/growth.json and OUT/growth.png (both axes logarithmic).
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks import charts, peers
from dreamfusion3d.cameras.orbit import sample_orbit_cameras
from dreamfusion3d.core.config import resolve_config
from dreamfusion3d.fields.hashgrid.layout import HashGridLayout

Row = dict[str, Any]
# of each curve: the values of its setting, on a CPU and on a GPU
CURVES: dict[str, tuple[str, tuple[float, ...], tuple[float, ...]]] = {
    "rays": ("render.resolution", (16, 32, 64, 128), (64, 128, 256, 512)),
    "samples": ("render.step_size", (0.08, 0.04, 0.02, 0.01), (0.04, 0.02, 0.01, 0.005)),
    "table": ("field.log2_table_size", (12, 14, 16, 18, 20), (14, 16, 18, 20, 22)),
    "resolution": ("field.max_resolution", (30, 60, 120, 240, 480), (60, 240, 960, 3840)),
}
ACROSS = {
    "rays": "rays",
    "samples": "samples on all rays",
    "table": "rows of the table, all levels",
    "resolution": "cells along an edge of the finest level",
}


def curve(name: str, device: torch.device, repeats: int, size: int, views: int) -> list[Row]:
    """Milliseconds of a step at each value of the curve's setting."""
    setting, on_cpu, on_gpu = CURVES[name]
    # a coarse field has no use for a large table
    also = ("field.max_resolution=480", "field.num_levels=8") if name == "table" else ()
    steps: dict[str, Callable[[], object]] = {}
    rows: list[Row] = []
    for value in on_gpu if device.type == "cuda" else on_cpu:
        config = resolve_config("standard", None, [f"render.resolution={size}", *also, f"{setting}={value}"])
        generator = torch.Generator(device).manual_seed(0)
        cameras = sample_orbit_cameras(views, generator=generator, size=config.render.resolution)
        shape = (views, config.render.resolution, config.render.resolution, 3)
        pull = torch.randn(shape, generator=generator, device=device) / config.render.resolution**2
        steps[str(value)], samples = peers.our_step(cameras, config, None, pull, update=True)
        field = config.field
        layout = HashGridLayout(
            field.num_levels,
            field.features_per_level,
            field.log2_table_size,
            field.base_resolution,
            field.max_resolution,
        )
        rays = views * config.render.resolution**2
        across = {"rays": rays, "samples": samples, "table": layout.num_rows, "resolution": field.max_resolution}
        rows.append(
            {setting: value, "across": across[name], "rays": rays, "samples": samples, "table_rows": layout.num_rows}
        )
    found = peers.median_ms(steps, repeats, device)
    return [row | {"ms": ms} for row, ms in zip(rows, found.values(), strict=True)]


def slope(rows: list[Row]) -> float:
    """The power of the number across with which the time grows between the two last points."""
    one, two = rows[-2:]
    return round(math.log(two["ms"] / one["ms"]) / math.log(two["across"] / one["across"]), 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--size", type=int, default=64, help="pixels along a side of a picture")
    parser.add_argument("--views", type=int, default=4, help="pictures of a step")
    parser.add_argument("--curves", default=",".join(CURVES), help="separated by commas")
    parser.add_argument("--out", type=Path, default=Path("out/growth"))
    arguments = parser.parse_args()
    if unknown := set(arguments.curves.split(",")) - set(CURVES):
        parser.error(f"there is no curve {', '.join(sorted(unknown))}; there are: {', '.join(CURVES)}")
    device = torch.device(arguments.device)
    report: dict[str, Any] = {
        "benchmark": "growth",
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "curves": {},
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.curves.split(","):
        rows = curve(name, device, arguments.repeats, arguments.size, arguments.views)
        report["curves"][name] = {"power_at_the_end": slope(rows), "rows": rows}
        (arguments.out / "growth.json").write_text(json.dumps(report, indent=2) + "\n")
    charts.curves(
        [
            charts.Chart(
                name,
                ACROSS[name],
                "milliseconds of a step",
                {setting: [(row["across"], row["ms"]) for row in found["rows"]]},
            )
            for name, found in report["curves"].items()
            for setting in [CURVES[name][0]]
        ],
        arguments.out / "growth.png",
    )
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
