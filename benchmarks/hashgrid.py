"""Forward + backward of the hash grid, numba against the torch reference, side by side.

    python -m benchmarks.hashgrid

The two are timed in turn within one run, so that the ratio survives a busy machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import torch

from dreamfusion3d.field.hashgrid import HashGridLayout, hashgrid


def step(x: torch.Tensor, table: torch.Tensor, layout: HashGridLayout, backend: str) -> float:
    """Seconds of one forward and backward pass."""
    table.grad = None
    start = time.perf_counter()
    hashgrid(x, table, layout, backend).square().sum().backward()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=16384)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    layout = HashGridLayout()
    x = torch.rand(arguments.samples, 3, generator=generator)
    table = torch.randn(layout.rows, layout.features, generator=generator).requires_grad_()
    times: dict[str, list[float]] = {"numba": [], "torch": []}
    for repeat in range(arguments.repeats + 1):
        for backend, seconds in times.items():
            elapsed = step(x, table, layout, backend)
            if repeat:  # the first one compiles
                seconds.append(elapsed)
    medians = {backend: statistics.median(seconds) for backend, seconds in times.items()}
    report = {
        "samples": arguments.samples,
        "threads": torch.get_num_threads(),
        "repeats": arguments.repeats,
        **{f"{backend}_ms": round(1000 * seconds, 3) for backend, seconds in medians.items()},
        "ratio": round(medians["torch"] / medians["numba"], 2),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
