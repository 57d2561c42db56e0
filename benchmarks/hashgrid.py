"""Forward + backward of the hash grid, the fast back end against the torch reference, side by side.

    python -m benchmarks.hashgrid
    python -m benchmarks.hashgrid --device cuda

On the CPU: numba, 16,384 samples of the default layout. On CUDA: Triton, 2^18 to 2^21 samples of
instant-ngp's layout (16 levels of 2 features, 2^19 rows). The two are timed in turn within one run,
so that the ratio survives a busy machine. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import torch

from dreamfusion3d.backends import Backend
from dreamfusion3d.field.hashgrid import HashGridLayout, hashgrid

CUDA_LAYOUT = HashGridLayout(16, 2, 19, 16, 2048)


def step(x: torch.Tensor, table: torch.Tensor, layout: HashGridLayout, backend: Backend) -> float:
    """Seconds of one forward and backward pass."""
    table.grad = None
    _wait(x.device)
    start = time.perf_counter()
    hashgrid(x, table, layout, backend).square().sum().backward()
    _wait(x.device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(samples: int, repeats: int, layout: HashGridLayout, device: torch.device) -> dict[str, object]:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(samples, 3, generator=generator).to(device)
    table = torch.randn(layout.rows, layout.features, generator=generator).to(device).requires_grad_()
    fast: Backend = "triton" if device.type == "cuda" else "numba"
    times: dict[Backend, list[float]] = {fast: [], "torch": []}
    for repeat in range(repeats + 1):
        for backend, seconds in times.items():
            elapsed = step(x, table, layout, backend)
            if repeat:  # the first one compiles
                seconds.append(elapsed)
    medians = {backend: statistics.median(seconds) for backend, seconds in times.items()}
    return {
        "samples": samples,
        **{f"{backend}_ms": round(1000 * seconds, 3) for backend, seconds in medians.items()},
        "samples_per_second": round(samples / medians[fast]),
        "ratio": round(medians["torch"] / medians[fast], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--samples", type=int, action="append", help="may be repeated")
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    cuda = device.type == "cuda"
    layout = CUDA_LAYOUT if cuda else HashGridLayout()
    sizes = arguments.samples or ([1 << k for k in range(18, 22)] if cuda else [16384])
    print(json.dumps({
        "benchmark": "hashgrid",
        "device": torch.cuda.get_device_name(device) if cuda else "cpu",
        "threads": torch.get_num_threads(),
        "repeats": arguments.repeats,
        "rows": [measure(samples, arguments.repeats, layout, device) for samples in sizes],
    }))


if __name__ == "__main__":
    main()
