"""Where the time of an optimisation step goes: rendering, the prior, the backward pass, the rest.

    python -m benchmarks.step --steps 100

Steps are spread over a whole run (vague fields at the start are slower to render than the thin
surface at the end), so the shares are those of a run. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import torch

from dreamfusion3d import distill, optimize
from dreamfusion3d.config import resolve
from dreamfusion3d.field.nerf import NerfField
from dreamfusion3d.prior import load_prior

PARTS = ("render", "prior", "backward")


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


def shares(prompt: str, config: Any, prior_name: str, device: torch.device) -> dict[str, Any]:
    """One whole run of ``config``, its steps' time divided."""
    clock = Clock(device)
    prior = load_prior(prior_name, device=device)
    text = prior.encode_text([prompt, ""])
    generator = torch.Generator(device).manual_seed(0)
    field = NerfField(config.field, generator=generator)
    with (
        mock.patch.object(optimize, "render_detailed", clock.wrap("render", optimize.render_detailed)),
        mock.patch.object(distill, "guided", clock.wrap("prior", distill.guided)),
        mock.patch.object(torch.Tensor, "backward", clock.wrap("backward", torch.Tensor.backward)),
    ):
        run = optimize.optimize(field, prior, text, config, generator=generator)
        next(run)  # compiles and loads
        clock.seconds = dict.fromkeys(PARTS, 0.0)
        begun = clock.now()
        taken = sum(1 for _ in run)
        total = clock.now() - begun
    parts = clock.seconds | {"rest": total - sum(clock.seconds.values())}
    return {
        "benchmark": "step", "device": str(device), "threads": torch.get_num_threads(), "prompt": prompt,
        "steps": taken, "seconds_a_step": round(total / taken, 4),
        "share": {name: round(seconds / total, 3) for name, seconds in parts.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompt", default="a pitcher with one handle")
    parser.add_argument("--prior", default="embedded")
    parser.add_argument("--steps", type=int, default=100, help="length of the run")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--set", action="append", default=[], dest="sets")
    arguments = parser.parse_args()
    config = resolve("standard", None, [f"optim.steps={arguments.steps}", *arguments.sets])
    report = shares(arguments.prompt, config, arguments.prior, torch.device(arguments.device))
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
