"""Time of an optimization step by part: rendering, the prior, the backward pass, the rest.

    python -m benchmarks.step --steps 100
    python -m benchmarks.step --against ../before --init blob

The steps are those of a whole run, because diffuse fields at the start are slower to render than the thin surface at
the end. ``--against`` names another checkout of this repository with the same API; whole steps of both are timed
alternately, in separate processes. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from dreamfusion3d.core.config import resolve_config
from dreamfusion3d.fields.nerf import NerfField
from dreamfusion3d.pipelines.context import predict_field_init
from dreamfusion3d.priors.cfg import CFGDenoiser
from dreamfusion3d.priors.loading import load_prior
from dreamfusion3d.training.distillation import distill_field
from dreamfusion3d.training.planning import render_workload

PROMPT = "a pitcher with one handle"
PARTS = ("render", "prior", "backward")
ROOT = Path(__file__).parent.parent


class Clock:
    """Sums the seconds spent inside the functions that it wraps."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds = dict.fromkeys(PARTS, 0.0)

    def wrap(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = self.now()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[part] += self.now() - start

        return timed

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def patch_render(clock: Clock) -> AbstractContextManager[Any]:
    """Time the rendering of a step under the part "render"."""
    render = clock.wrap("render", render_workload.render_field_with_aux)
    return mock.patch.object(render_workload, "render_field_with_aux", render)


def time_parts(prompt: str, config: Any, prior_name: str, device: torch.device, init: str = "prior") -> dict[str, Any]:
    """Time the parts of the steps of one whole run, from the prior's initial volume or from the blob."""
    clock = Clock(device)
    prior = load_prior(prior_name, device=device)
    prompts = prior.encode_text([prompt, ""])
    generator = torch.Generator(device).manual_seed(0)
    field_init = predict_field_init(prior, prompt, device) if init == "prior" else None
    field = NerfField(config.field, generator=generator, init=field_init)
    with (
        patch_render(clock),
        mock.patch.object(CFGDenoiser, "__call__", clock.wrap("prior", CFGDenoiser.__call__)),
        mock.patch.object(torch.Tensor, "backward", clock.wrap("backward", torch.Tensor.backward)),
    ):
        steps = distill_field(field, prior, prompts, config, generator=generator)
        next(steps)  # compiles and loads
        clock.seconds = dict.fromkeys(PARTS, 0.0)
        start = clock.now()
        count = sum(1 for _ in steps)
        total = clock.now() - start
    parts = clock.seconds | {"rest": total - sum(clock.seconds.values())}
    return {
        "benchmark": "step",
        "device": str(device),
        "threads": torch.get_num_threads(),
        "prompt": prompt,
        "init": init,
        "steps": count,
        "seconds_per_step": round(total / count, 4),
        "fraction": {name: round(seconds / total, 3) for name, seconds in parts.items()},
    }


_STEPS = """
import hashlib, json, sys
import torch
from dreamfusion3d.core.config import resolve_config
from dreamfusion3d.fields.nerf import NerfField
from dreamfusion3d.pipelines.context import predict_field_init
from dreamfusion3d.priors.loading import load_prior
from dreamfusion3d.training.distillation import distill_field
prompt, init, steps, settings = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]
config, device = resolve_config("standard", None, ["optim.steps=" + steps, *settings]), torch.device("cpu")
prior = load_prior("embedded", device=device)
generator = torch.Generator().manual_seed(0)
field_init = predict_field_init(prior, prompt, device) if init == "prior" else None
field = NerfField(config.field, generator=generator, init=field_init)
run = distill_field(field, prior, prior.encode_text([prompt, ""]), config, generator=generator)
next(run)
seconds = [step.seconds for step in run]
digest = hashlib.sha256()
for p in field.parameters():
    digest.update(p.detach().numpy().tobytes())
print(json.dumps({"seconds": seconds, "field": digest.hexdigest()[:16]}))
"""


def compare_checkouts(
    other: Path, prompt: str, init: str, steps: int, rounds: int, settings: list[str]
) -> dict[str, Any]:
    """Time whole runs on the CPU of this checkout and of ``other`` alternately.

    ``same_field`` tells if the resulting fields have the same bits; ``ratio`` is the mean step of the other over that
    of this one, each step at its fastest.
    """
    runs: dict[str, list[dict[str, Any]]] = {"other": [], "this": []}
    for _ in range(rounds):
        for name, root in (("other", other), ("this", ROOT)):
            result = subprocess.run(
                [sys.executable, "-c", _STEPS, prompt, init, str(steps), *settings],
                cwd=root,
                check=True,
                env=os.environ | {"PYTHONPATH": str(root.resolve())},
                capture_output=True,
                text=True,
            )
            runs[name].append(json.loads(result.stdout.splitlines()[-1]))
    # the minimum over the rounds is what a step takes undisturbed
    mean = {
        name: statistics.fmean(map(min, zip(*(r["seconds"] for r in results), strict=True)))
        for name, results in runs.items()
    }
    fields = {r["field"] for results in runs.values() for r in results}
    return {
        "benchmark": "step against another checkout",
        "threads": torch.get_num_threads(),
        "init": init,
        "steps": steps,
        "rounds": rounds,
        "same_field": len(fields) == 1,
        "seconds_per_step": {name: round(value, 4) for name, value in mean.items()},
        "ratio": round(mean["other"] / mean["this"], 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompt", default=PROMPT)
    parser.add_argument("--prior", default="embedded")
    parser.add_argument("--steps", type=int, default=100, help="length of the run")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--init", choices=("prior", "blob"), default="prior", help="initialization of the field")
    parser.add_argument("--against", type=Path, help="another checkout, timed alternately with this one")
    parser.add_argument("--rounds", type=int, default=2, help="of each checkout")
    parser.add_argument("--set", action="append", default=[], dest="sets")
    arguments = parser.parse_args()
    if arguments.against:
        report = compare_checkouts(
            arguments.against, arguments.prompt, arguments.init, arguments.steps, arguments.rounds, arguments.sets
        )
        print(json.dumps(report, indent=2))
        return
    config = resolve_config("standard", None, [f"optim.steps={arguments.steps}", *arguments.sets])
    report = time_parts(arguments.prompt, config, arguments.prior, torch.device(arguments.device), arguments.init)
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
