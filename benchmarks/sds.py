"""What a step of score distillation costs with published models on a GPU, and what of it is ours.

    python -m benchmarks.sds --device cuda --out sds.json
    python -m benchmarks.sds --tiny                          # every case, shrunk, on a CPU

The networks have their published sizes and random weights (``models.py``): nothing is downloaded.
Prints JSON; ``--out`` is written anew after every case, so that a run that is killed keeps its
results. A case that fails says so and the next one goes on. The cases:

    sd21, sd21-tiny-vae, if-m, sdxl   a step of a preset: render, encode, network, backward, Adam
    sd21-bfloat16                     sd21 with prior.dtype=bfloat16: its VAE leaves float32
    sd21-graph, embedded-graph        with prior.cuda_graph=true: the network as a CUDA graph
    asset         text_to_mesh with the embedded prior, twice: the second run compiles nothing
    render        the preset's field alone, forward and backward, as the run begins
    syncs         where a step makes the host wait for the GPU, and how often
"""

from __future__ import annotations

import argparse
import collections
import gc
import itertools
import json
import statistics
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch

import dreamfusion3d
from benchmarks.models import MODELS, random_prior, shrunk
from benchmarks.step import Clock, patch_render
from dreamfusion3d.cameras.orbit import sample_orbit_cameras
from dreamfusion3d.core.config import Config, resolve_config
from dreamfusion3d.fields.nerf import NerfField
from dreamfusion3d.pipelines.text_to_mesh import text_to_mesh
from dreamfusion3d.priors.cfg import CFGDenoiser
from dreamfusion3d.priors.loading import load_prior
from dreamfusion3d.priors.protocol import Prior
from dreamfusion3d.priors.view_prompts import encode_prompts
from dreamfusion3d.rendering.occupancy_grid import OccupancyGrid
from dreamfusion3d.rendering.volume import RenderSettings, render_field_with_aux
from dreamfusion3d.training.distillation import distill_field
from dreamfusion3d.training.loop import Step

PROMPT = "a pitcher with one handle"
WARM_UP, REPEATS, PARTED = 5, 20, 5  # steps: not counted, timed as they run, timed part by part
LIMIT = 25.0  # seconds after which a case takes no more steps
SIZES = ((64, 1), (64, 4), (256, 1), (512, 1))  # pixels along a side, views
PACKAGE = Path(dreamfusion3d.__file__).parent
PRIOR_PARTS = ("encode", "network", "encode_backward")
Report = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """Where the cases run, and whether they are shrunk."""

    device: torch.device
    tiny: bool

    @property
    def cuda(self) -> bool:
        return self.device.type == "cuda"

    def config(self, preset: str | None, *sets: str) -> Config:
        small = ("field.log2_table_size=12", "field.num_levels=4", "render.resolution=16", "mesh.grid_resolution=32")
        return resolve_config("standard", None, [*(small if self.tiny else ()), *sets], preset=preset)

    def generator(self) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(0)

    def forget(self) -> None:
        gc.collect()
        if self.cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    def peak(self) -> Report:
        if not self.cuda:
            return {}
        return {"peak_mib": round(torch.cuda.max_memory_allocated(self.device) / 2**20)}


def distilled(bench: Bench, name: str, *sets: str) -> Report:
    """A step with the model called ``name``, and what all steps of its preset would take."""
    begun = time.perf_counter()
    model = shrunk(MODELS[name]) if bench.tiny else MODELS[name]
    config = bench.config(model.preset, *sets)
    prior = random_prior(model, config.prior, bench.device)
    text = encode_prompts(prior, PROMPT, config.prompts)
    built = time.perf_counter() - begun
    field = NerfField(config.field, generator=bench.generator())
    run = distill_field(field, prior, text, config, generator=bench.generator())
    milliseconds, norm = [], 0.0
    for number, step in enumerate(itertools.islice(run, WARM_UP + REPEATS)):
        if number >= WARM_UP:
            milliseconds.append(1000 * step.seconds)
        norm = step.gradient_norm
        if time.perf_counter() - begun > LIMIT and milliseconds:
            break
    median = statistics.median(milliseconds)
    return {
        "preset": model.preset,
        "pixels": getattr(prior.render_encoder, "pixel_encoder", prior.render_encoder).size,
        "dtype": str(prior.dtype),
        "views": config.optim.num_views,
        "render_size": config.render.resolution,
        "build_seconds": round(built, 2),
        "steps_timed": len(milliseconds),
        "gradient_norm": norm,
        "ms_a_step": round(median, 2),
        "ms_fastest": round(min(milliseconds), 2),
        "ms_slowest": round(max(milliseconds), 2),
        "steps_a_second": round(1000 / median, 2),
        **bench.peak(),
        **parts(run, prior, bench),
        "optim_steps": config.optim.steps,
        "projected_seconds_of_all_steps": round(config.optim.steps * median / 1000, 1),
    }


def parts(run: Iterator[Step], prior: Prior, bench: Bench) -> Report:
    """Milliseconds of a step's parts; the host waits between them, so they add up to more than a step."""
    clock = Clock(bench.device)
    clock.seconds = dict.fromkeys(("render", *PRIOR_PARTS, "backward"), 0.0)
    marks: list[float] = []
    encode = clock.wrap("encode", prior.encode)

    def watched(render: Any, *, generator: torch.Generator) -> Any:
        x = encode(render, generator=generator)
        # the backward pass of the encoder lies between these two gradients
        x.register_hook(lambda grad: marks.append(clock.now()))
        render.rgb.register_hook(lambda grad: marks.append(clock.now()))
        return x

    with (
        mock.patch.object(prior, "encode", watched),
        patch_render(clock),
        mock.patch.object(CFGDenoiser, "__call__", clock.wrap("network", CFGDenoiser.__call__)),
        mock.patch.object(torch.Tensor, "backward", clock.wrap("backward", torch.Tensor.backward)),
    ):
        begun = clock.now()
        taken = sum(1 for _ in itertools.islice(run, PARTED))
        total = clock.now() - begun
    clock.seconds["encode_backward"] = sum(marks[1::2]) - sum(marks[::2])
    clock.seconds["backward"] -= clock.seconds["encode_backward"]
    of_prior = sum(clock.seconds[part] for part in PRIOR_PARTS)
    clock.seconds["rest"] = total - sum(clock.seconds.values())
    return {
        "ms_of_parts": {name: round(1000 * s / taken, 2) for name, s in clock.seconds.items()},
        "ms_outside_of_prior": round(1000 * (total - of_prior) / taken, 2),
        "prior_share": round(of_prior / total, 3),
    }


def asset(bench: Bench, *sets: str) -> Report:
    """The whole of ``text_to_mesh`` with the embedded prior, twice."""
    small = ("optim.steps=12", "mesh.max_faces=1000", "mesh.texture_size=128") if bench.tiny else ()
    config, runs = bench.config(None, *small, *sets), []
    with tempfile.TemporaryDirectory() as out:
        for number in range(2):
            begun = time.perf_counter()
            made = text_to_mesh(PROMPT, out=Path(out) / str(number), config=config, device=str(bench.device))
            runs.append(
                {
                    "seconds": round(time.perf_counter() - begun, 2),
                    "stages": {name: round(s, 2) for name, s in made.record.seconds.items()},
                    "checks_passed": made.passed,
                }
            )
    return {"runs": runs, **bench.peak()}


def rendered(bench: Bench) -> Report:
    """The field of the presets for large priors, as it begins: forward and backward, no prior."""
    config = bench.config("dreamfusion-sd")
    generator = bench.generator()
    field = NerfField(config.field, generator=generator)
    occupancy = OccupancyGrid(config.render.occupancy_grid_resolution, bench.device)
    for step in range(4):
        occupancy.update(field.density, generator=generator, step=step)
    settings = RenderSettings(step_size=config.render.step_size)
    clock, rows = Clock(bench.device), []
    for size, views in SIZES:
        bench.forget()
        times, counts = [], []
        for _ in range(2 + (2 if bench.tiny else 10)):
            cameras = sample_orbit_cameras(views, generator=generator, size=size // 4 if bench.tiny else size)
            begun = clock.now()
            picture, detail = render_field_with_aux(
                field, cameras, occupancy=occupancy, generator=generator, settings=settings
            )
            drawn = clock.now()
            (picture.rgb.square().mean() + picture.opacity.mean()).backward()
            times.append((drawn - begun, clock.now() - drawn))
            counts.append((len(detail.weights), len(detail.shaded)))
            field.zero_grad(set_to_none=True)
        forward, backward = (1000 * statistics.median(part) for part in zip(*times[2:], strict=True))
        rows.append(
            {
                "pixels": cameras.width,
                "views": views,
                "ms_forward": round(forward, 2),
                "ms_backward": round(backward, 2),
                "samples": counts[-1][0],
                "lit": counts[-1][1],
                **bench.peak(),
            }
        )
    return {"rows": rows}


def synchronisations(bench: Bench) -> Report:
    """Of the embedded prior and of a latent one, whose size does not matter here."""
    if not bench.cuda:
        return {"skipped": "there is nothing to wait for on a CPU"}
    embedded, latent = bench.config(None), bench.config("dreamfusion-sd")
    cases = {
        "embedded": (load_prior(embedded.prior, device=bench.device), embedded),
        "latent": (random_prior(shrunk(MODELS["sd21"]), latent.prior, bench.device), latent),
    }
    return {name: waits(prior, config, bench) for name, (prior, config) in cases.items()}


def waits(prior: Prior, config: Config, bench: Bench) -> Report:
    """The lines of this package at which the host waits, with times a step; one of the steps updates
    the occupancy. Torch does not see all: its own synchronize() and Triton's are not counted."""
    text = encode_prompts(prior, PROMPT, config.prompts)
    field = NerfField(config.field, generator=bench.generator())
    run = distill_field(field, prior, text, config, generator=bench.generator())
    steps = config.optim.occupancy_update_interval
    sum(1 for _ in itertools.islice(run, steps))  # compiles and loads
    places: collections.Counter[str] = collections.Counter()

    def note(message: Any, *_: Any, **__: Any) -> None:
        if "called a synchronizing" in str(message):
            places[_line()] += 1

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = note
        torch.cuda.set_sync_debug_mode("warn")
        try:
            sum(1 for _ in itertools.islice(run, steps))
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return {
        "steps": steps,
        "a_step": round(places.total() / steps, 2),
        "lines": {place: round(count / steps, 3) for place, count in places.most_common()},
    }


def _line() -> str:
    """The innermost line of this package that is being run."""
    ours = [frame for frame in traceback.extract_stack() if PACKAGE in Path(frame.filename).parents]
    if not ours:
        return "elsewhere"
    return f"{Path(ours[-1].filename).relative_to(PACKAGE)}:{ours[-1].lineno} {ours[-1].line}"


# in the order of their importance
CASES: dict[str, Callable[[Bench], Report]] = {
    "sd21": lambda bench: distilled(bench, "sd21"),
    "sd21-tiny-vae": lambda bench: distilled(bench, "sd21-tiny-vae"),
    "asset": asset,
    "if-m": lambda bench: distilled(bench, "if-m"),
    "sdxl": lambda bench: distilled(bench, "sdxl"),
    "render": rendered,
    "syncs": synchronisations,
    "sd21-bfloat16": lambda bench: distilled(bench, "sd21", "prior.dtype=bfloat16"),
    "sd21-graph": lambda bench: distilled(bench, "sd21", "prior.cuda_graph=true"),
    "embedded-graph": lambda bench: asset(bench, "prior.cuda_graph=true"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cases", default=",".join(CASES), help="separated by commas")
    parser.add_argument("--tiny", action="store_true", help="small networks and pictures")
    parser.add_argument("--out", type=Path, help="a file that is written after every case")
    arguments = parser.parse_args()
    bench = Bench(torch.device(arguments.device), arguments.tiny)
    report: Report = {
        "benchmark": "sds",
        "tiny": bench.tiny,
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(bench.device) if bench.cuda else "cpu",
        "cases": {},
    }
    for name in arguments.cases.split(","):
        bench.forget()
        begun = time.perf_counter()
        try:
            result = CASES[name](bench)
        except Exception as error:  # the next case may do
            traceback.print_exc()
            result = {"error": f"{type(error).__name__}: {error}"[:600]}
        report["cases"][name] = {"wall_seconds": round(time.perf_counter() - begun, 1)} | result
        if arguments.out:
            arguments.out.write_text(json.dumps(report, indent=2))
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
