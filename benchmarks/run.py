"""Every figure of speed beside its peers, in one run: one command for the CPU, one for a GPU.

    python -m benchmarks.run --device cpu --out out/speed --peers PEERS
    python -m benchmarks.run --device cuda --out out/speed --peers PEERS

``--peers`` is a folder with clones of other people's work (``peers.py`` says of whose); without it ours is
compared with the torch reference alone. OUT/run.json is written after every section, OUT/run.png at
the end. A section that fails says so, and no section begins after ``--minutes``. The sections:

    encoding     hash grid, forward and backward: torch reference, nerfstudio's torch HashEncoding,
                 tiny-cuda-nn where it is installed
    field_step   render and backward, no prior: stable-dreamfusion's -O2 on the same rays
    step         parts of a distillation step with the embedded prior (``step.py``)
    hashgrid     on CUDA: every size, with the roofline (``hashgrid.py``)
    packed       on CUDA: marching and weights beside nerfacc's, where it builds
    sds          on CUDA: steps with published models (``sds.py``)
    memory       peaks against time (``memory.py``)
"""

from __future__ import annotations

import argparse
import json
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks import charts, hashgrid, memory, peers, sds, step
from dreamfusion3d.cameras.orbit import sample_orbit_cameras
from dreamfusion3d.core.config import resolve_config
from dreamfusion3d.core.runtime import configure_process
from dreamfusion3d.fields.hashgrid.layout import HashGridLayout
from dreamfusion3d.fields.initialization import FieldInit
from dreamfusion3d.pipelines.context import predict_field_init
from dreamfusion3d.priors.loading import load_prior
from dreamfusion3d.rendering.compositing import compositing_weights
from dreamfusion3d.rendering.ray_march import march

PROMPT = step.PROMPT
INSTANT_NGP = hashgrid.CUDA_LAYOUT
Report = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    device: torch.device
    peers: Path
    short: bool  # smallest sizes, to see that all works

    @property
    def cuda(self) -> bool:
        return self.device.type == "cuda"

    @property
    def repeats(self) -> int:
        return 1 if self.short else 20 if self.cuda else 7

    def fog(self) -> FieldInit | None:
        return predict_field_init(load_prior("embedded", device=self.device), PROMPT, self.device)


def encoding(bench: Bench) -> Report:
    sizes = [1 << k for k in range(18, 22)] if bench.cuda else [1 << 14, 1 << 17]
    cases = [(n, layout) for layout in (HashGridLayout(), INSTANT_NGP) for n in sizes]
    if bench.short:
        cases = [(1 << 10, HashGridLayout())]
    return {
        "rows": [
            peers.encoding(
                n, layout, bench.peers, min(bench.repeats, 3) if n > 1 << 16 else bench.repeats, bench.device
            )
            for n, layout in cases
        ]
    }


def field_step(bench: Bench) -> Report:
    sizes = [(1, 64), (1, 256), (1, 512)] if bench.cuda else [(1, 32), (1, 64)]
    config, start = resolve_config(), bench.fog()
    rows = []
    for views, size in [(1, 8)] if bench.short else sizes:
        # the peer keeps every sample of every layer: more rays than these do not fit
        there = bench.peers if views * size**2 <= 1 << 16 else Path("absent")
        rows.append(peers.field_step(views, size, config, there, min(bench.repeats, 3), bench.device, start))
    return {"rows": rows}


def one_step(bench: Bench) -> Report:
    steps = 8 if bench.short else 100
    config = resolve_config("standard", None, [f"optim.steps={steps}"])
    return {
        name: step.shares(PROMPT, config, "embedded", bench.device, start)
        for name, start in (("from_blob", "blob"), ("from_fog", "prior"))
    }


def hash_grid(bench: Bench) -> Report:
    if not bench.cuda:
        return {"skipped": "it is the section encoding on a CPU"}
    rate = hashgrid.bandwidth(bench.device)
    return {
        "copy_gb_per_second": round(rate / 1e9),
        "rows": [
            hashgrid.measure_cuda(1 << k, 20, INSTANT_NGP, bench.device, dtype, rate)
            for dtype in (torch.float32, torch.float16)
            for k in range(18, 22)
        ],
    }


def packed(bench: Bench) -> Report:
    """A march through a half-full grid and the samples' weights, forward and backward, ours and nerfacc's."""
    if not bench.cuda:
        return {"skipped": "nerfacc's packed functions are for CUDA alone"}
    import nerfacc

    device, rows = bench.device, []
    generator = torch.Generator(device).manual_seed(0)
    estimator = nerfacc.OccGridEstimator([-1.0] * 3 + [1.0] * 3, 48, levels=1).to(device)
    estimator.binaries.copy_(torch.rand(estimator.binaries.shape, generator=generator, device=device) < 0.5)
    for size in (64, 256, 512):
        cameras = sample_orbit_cameras(1, generator=generator, size=size)
        origins, directions = (t.reshape(-1, 3).contiguous() for t in cameras.rays())

        def ours(origins: torch.Tensor = origins, directions: torch.Tensor = directions) -> None:
            samples = march(origins, directions, estimator.binaries[0], step_size=0.02, generator=generator)
            density = torch.ones_like(samples.t_starts, requires_grad=True)
            compositing_weights(density, samples).sum().backward()

        def theirs(origins: torch.Tensor = origins, directions: torch.Tensor = directions) -> None:
            rays, starts, ends = estimator.sampling(
                origins, directions, render_step_size=0.02, stratified=True, near_plane=0.0
            )
            density = torch.ones_like(starts, requires_grad=True)
            found, _, _ = nerfacc.render_weight_from_density(
                starts, ends, density, ray_indices=rays, n_rays=len(origins)
            )
            found.sum().backward()

        found = peers.median_ms({"ours": ours}, bench.repeats, device)
        try:
            found = peers.median_ms({"ours": ours, "nerfacc": theirs}, bench.repeats, device)
        except Exception as error:  # its extension is built when it is first called
            rows.append({"nerfacc": f"{type(error).__name__}: {error}"[:300]})
        rows.append({"size": size, "ms": found, "ratio": peers.ratios(found)})
    return {"rows": rows}


def published(bench: Bench) -> Report:
    if not bench.cuda:
        return {"skipped": "networks of published size are for a GPU"}
    inner, found = sds.Bench(bench.device, bench.short), {}
    for name, case in sds.CASES.items():
        inner.forget()
        try:
            found[name] = case(inner)
        except Exception as error:
            traceback.print_exc()
            found[name] = {"error": f"{type(error).__name__}: {error}"[:600]}
    return found


def memory_curves(bench: Bench) -> Report:
    props, points = (2, 1) if bench.short else (4, 4)
    return {"train": memory.curve(props, points, bench.device), "sds": memory.sds_curve(points, bench.device)}


# in the order of their importance
SECTIONS: dict[str, Callable[[Bench], Report]] = {
    "encoding": encoding,
    "field_step": field_step,
    "step": one_step,
    "hashgrid": hash_grid,
    "packed": packed,
    "sds": published,
    "memory": memory_curves,
}


def chart(report: Report, path: Path) -> None:
    """Milliseconds of all that was compared."""
    groups: dict[str, dict[str, float]] = {}
    sections = report["sections"]
    for row in sections.get("encoding", {}).get("rows", []):
        groups[f"encoding, {row['samples']:,} samples, {row['levels']} levels"] = row["ms"]
    for row in sections.get("field_step", {}).get("rows", []):
        groups[f"field step, {row['rays']:,} rays"] = row["ms"]
    for row in sections.get("packed", {}).get("rows", []):
        if "ms" in row:
            groups[f"march and weights, {row['size']}^2 rays"] = row["ms"]
    for name, row in sections.get("step", {}).items():
        if isinstance(row, dict):
            groups[f"step with the embedded prior, {name}"] = {"ours": 1000 * row["seconds_a_step"]}
    for name, row in sections.get("sds", {}).items():
        if isinstance(row, dict) and "ms_a_step" in row:
            groups[f"step with {name}"] = {"ours": row["ms_a_step"], "outside": row["ms_outside_of_prior"]}
    if groups:
        charts.bars(groups, path, unit="ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--peers", type=Path, default=Path("absent"), help="a folder with their clones")
    parser.add_argument("--sections", default=",".join(SECTIONS), help="separated by commas")
    parser.add_argument("--minutes", type=float, default=6.5, help="after which no section begins")
    parser.add_argument("--short", action="store_true", help="smallest sizes, to see that all works")
    parser.add_argument("--out", type=Path, default=Path("out/speed"))
    arguments = parser.parse_args()
    if unknown := set(arguments.sections.split(",")) - set(SECTIONS):
        parser.error(f"there is no section {', '.join(sorted(unknown))}; there are: {', '.join(SECTIONS)}")
    bench = Bench(torch.device(arguments.device), arguments.peers, arguments.short)
    names = (peers.NERFSTUDIO, peers.STABLE_DREAMFUSION)
    report: Report = {
        "benchmark": "run",
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(bench.device) if bench.cuda else "cpu",
        "short": bench.short,
        "peers": {name: peers.commit(bench.peers / name) for name in names},
        "sections": {},
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    if not bench.cuda:
        configure_process(retain_freed_memory=True)  # as a run has it, and for all alike
    started = time.perf_counter()
    for name in arguments.sections.split(","):
        begun = time.perf_counter()
        if begun - started > 60 * arguments.minutes:
            report["sections"][name] = {"skipped": "the minutes were over"}
            continue
        try:
            result = SECTIONS[name](bench)
        except Exception as error:  # the next section may do
            traceback.print_exc()
            result = {"error": f"{type(error).__name__}: {error}"[:600]}
        report["sections"][name] = {"wall_seconds": round(time.perf_counter() - begun, 1)} | result
        (arguments.out / "run.json").write_text(json.dumps(report, indent=2) + "\n")
    chart(report, arguments.out / "run.png")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
