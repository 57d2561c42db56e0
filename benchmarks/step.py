"""Where the time of an optimisation step goes: rendering, the prior, the backward pass, the rest.

    python -m benchmarks.step --steps 100
    python -m benchmarks.step --against ../before --start blob

Steps are spread over a whole run (vague fields at the start are slower to render than the thin
surface at the end), so the shares are those of a run. ``--against`` names another checkout of this
repository, whose whole step is timed in turn with this one's, in processes of their own. Prints JSON.
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
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from dreamfusion3d.core.config import resolve_config
from dreamfusion3d.fields.nerf import NerfField
from dreamfusion3d.pipelines.context import predict_field_init
from dreamfusion3d.priors.loading import load_prior
from dreamfusion3d.training import distillation, guidance_loss

PROMPT = "a pitcher with one handle"
PARTS = ("render", "prior", "backward")
ROOT = Path(__file__).parent.parent


class Clock:
    """Adds up the seconds spent inside the functions that it wraps."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds = dict.fromkeys(PARTS, 0.0)

    def wrap(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            begun = self.now()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[part] += self.now() - begun

        return timed

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def shares(prompt: str, config: Any, prior_name: str, device: torch.device, start: str = "prior") -> dict[str, Any]:
    """One whole run of ``config``, its steps' time divided; from the prior's fog, or from the blob."""
    clock = Clock(device)
    prior = load_prior(prior_name, device=device)
    text = prior.encode_text([prompt, ""])
    generator = torch.Generator(device).manual_seed(0)
    begin = predict_field_init(prior, prompt, device) if start == "prior" else None
    field = NerfField(config.field, generator=generator, init=begin)
    with (
        mock.patch.object(
            distillation, "render_field_with_aux", clock.wrap("render", distillation.render_field_with_aux)
        ),
        mock.patch.object(guidance_loss, "cfg_denoise", clock.wrap("prior", guidance_loss.cfg_denoise)),
        mock.patch.object(torch.Tensor, "backward", clock.wrap("backward", torch.Tensor.backward)),
    ):
        run = distillation.distill_field(field, prior, text, config, generator=generator)
        next(run)  # compiles and loads
        clock.seconds = dict.fromkeys(PARTS, 0.0)
        begun = clock.now()
        taken = sum(1 for _ in run)
        total = clock.now() - begun
    parts = clock.seconds | {"rest": total - sum(clock.seconds.values())}
    return {
        "benchmark": "step",
        "device": str(device),
        "threads": torch.get_num_threads(),
        "prompt": prompt,
        "start": start,
        "steps": taken,
        "seconds_a_step": round(total / taken, 4),
        "share": {name: round(seconds / total, 3) for name, seconds in parts.items()},
    }


# Run in each checkout, so it uses nothing that was not there before.
_STEPS = """
import hashlib, json, sys, time
import torch
from dreamfusion3d import optimize, pipeline
from dreamfusion3d.core.config import resolve_config
from dreamfusion3d.fields.nerf import NerfField
from dreamfusion3d.priors.loading import load_prior
prompt, start, steps, sets = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]
config, device = resolve_config("standard", None, ["optim.steps=" + steps, *sets]), torch.device("cpu")
prior = load_prior("embedded", device=device)
generator = torch.Generator().manual_seed(0)
begin = pipeline.fog_of(prior, prompt, device) if start == "prior" else None
field = NerfField(config.field, generator=generator, start=begin)
run = optimize.optimize(field, prior, prior.encode_text([prompt, ""]), config, generator=generator)
next(run)
seconds = [step.seconds for step in run]
digest = hashlib.sha256()
for p in field.parameters():
    digest.update(p.detach().numpy().tobytes())
print(json.dumps({"seconds": seconds, "field": digest.hexdigest()[:16]}))
"""


def against(other: Path, prompt: str, start: str, steps: int, rounds: int, sets: list[str]) -> dict[str, Any]:
    """Whole runs on the CPU of this checkout and of ``other``, in turn. ``same_field``: whether the fields
    that come out have the same bits; ``ratio``: the mean step of the other over that of this one, each
    step at its fastest."""
    runs: dict[str, list[dict[str, Any]]] = {"other": [], "this": []}
    for _ in range(rounds):
        for name, root in (("other", other), ("this", ROOT)):
            made = subprocess.run(
                [sys.executable, "-c", _STEPS, prompt, start, str(steps), *sets],
                cwd=root,
                check=True,
                env=os.environ | {"PYTHONPATH": str(root.resolve())},
                capture_output=True,
                text=True,
            )
            runs[name].append(json.loads(made.stdout.splitlines()[-1]))
    # the least of a step's times in all rounds is what it takes when nothing disturbs it
    mean = {
        name: statistics.fmean(map(min, zip(*(r["seconds"] for r in found), strict=True)))
        for name, found in runs.items()
    }
    fields = {r["field"] for found in runs.values() for r in found}
    return {
        "benchmark": "step against another checkout",
        "threads": torch.get_num_threads(),
        "start": start,
        "steps": steps,
        "rounds": rounds,
        "same_field": len(fields) == 1,
        "seconds_a_step": {name: round(value, 4) for name, value in mean.items()},
        "ratio": round(mean["other"] / mean["this"], 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompt", default=PROMPT)
    parser.add_argument("--prior", default="embedded")
    parser.add_argument("--steps", type=int, default=100, help="length of the run")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--start", choices=("prior", "blob"), default="prior", help="of the field")
    parser.add_argument("--against", type=Path, help="another checkout, timed in turn with this one")
    parser.add_argument("--rounds", type=int, default=2, help="of each checkout")
    parser.add_argument("--set", action="append", default=[], dest="sets")
    arguments = parser.parse_args()
    if arguments.against:
        report = against(
            arguments.against, arguments.prompt, arguments.start, arguments.steps, arguments.rounds, arguments.sets
        )
        print(json.dumps(report, indent=2))
        return
    config = resolve_config("standard", None, [f"optim.steps={arguments.steps}", *arguments.sets])
    report = shares(arguments.prompt, config, arguments.prior, torch.device(arguments.device), arguments.start)
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
