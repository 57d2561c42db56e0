"""Forward + backward of the hash grid, the fast back end against the torch reference, side by side.

    python -m benchmarks.hashgrid
    python -m benchmarks.hashgrid --device cuda

On the CPU: numba, 16,384 samples of the default layout, in turn with the reference, so that the
ratio survives a busy machine. On CUDA: Triton, 2^18 to 2^21 samples of instant-ngp's layout (16
levels of 2 features, 2^19 rows), tables of floats and of halves, timed by the device's own clock,
beside the time that the bytes alone would take; ``both_half_precision_grads_ms``: with
``field.half_precision_grads``. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch

from dreamfusion3d.core.backends import Backend
from dreamfusion3d.fields.hashgrid import hashgrid
from dreamfusion3d.fields.hashgrid.layout import HashGridLayout

CUDA_LAYOUT = HashGridLayout(16, 2, 19, 16, 2048)


def bytes_moved(samples: int, layout: HashGridLayout, size: int) -> int:
    """The least that forward and backward move through the device's memory: coordinates twice, results
    and their gradients once, and of each level that is hashed (the dense ones stay in the cache) a
    sector of 32 bytes for every corner, read once, then read and written; and the table's gradient."""
    hashed = sum(not dense for dense in layout.dense)
    corners = samples * hashed * 8 * 32 * 3
    return corners + samples * (2 * 12 + 2 * 4 * layout.output_dim) + layout.num_rows * layout.features * (4 + size)


def bandwidth(device: torch.device) -> float:
    """Bytes a second of a large copy, read and written."""
    one = torch.empty(1 << 30, dtype=torch.uint8, device=device).random_()
    other = torch.empty_like(one)
    return 2 * one.numel() / (events(lambda: other.copy_(one), 10) / 1000)


def events(run: Callable[[], object], repeats: int) -> float:
    """Median milliseconds of ``run`` by the device's clock, queued without waiting."""
    for _ in range(5):
        run()
    pairs = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repeats)]
    for begin, end in pairs:
        begin.record()
        run()
        end.record()
    torch.cuda.synchronize()
    return statistics.median(begin.elapsed_time(end) for begin, end in pairs)


def measure_cuda(
    samples: int, repeats: int, layout: HashGridLayout, device: torch.device, dtype: torch.dtype, rate: float
) -> dict[str, object]:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(samples, 3, generator=generator).to(device)
    table = torch.randn(layout.num_rows, layout.features, generator=generator).to(device, dtype).requires_grad_()
    pull = torch.randn(samples, layout.output_dim, generator=generator).to(device)

    def both(backend: Backend, half_precision_grads: bool = False) -> None:
        table.grad = None
        hashgrid(x, table, layout, backend, half_precision_grads=half_precision_grads).backward(pull)

    with torch.no_grad():
        forward = events(lambda: hashgrid(x, table, layout, "triton"), repeats)
    whole, slow = events(lambda: both("triton"), repeats), events(lambda: both("torch"), 3)
    halves = events(lambda: both("triton", half_precision_grads=True), repeats)
    least = bytes_moved(samples, layout, table.element_size()) / rate * 1000
    return {
        "samples": samples,
        "table": str(dtype).removeprefix("torch."),
        "forward_ms": round(forward, 3),
        "both_ms": round(whole, 3),
        "both_half_precision_grads_ms": round(halves, 3),
        "torch_ms": round(slow, 3),
        "samples_per_second": round(1000 * samples / whole),
        "ratio": round(slow / whole, 2),
        "least_ms": round(least, 3),
        "share_of_least": round(least / whole, 3),
    }


def step(x: torch.Tensor, table: torch.Tensor, layout: HashGridLayout, backend: Backend) -> float:
    """Seconds of one forward and backward pass."""
    table.grad = None
    start = time.perf_counter()
    hashgrid(x, table, layout, backend).square().sum().backward()
    return time.perf_counter() - start


def measure(samples: int, repeats: int, layout: HashGridLayout) -> dict[str, object]:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(samples, 3, generator=generator)
    table = torch.randn(layout.num_rows, layout.features, generator=generator).requires_grad_()
    times: dict[Backend, list[float]] = {"numba": [], "torch": []}
    for repeat in range(repeats + 1):
        for backend, seconds in times.items():
            elapsed = step(x, table, layout, backend)
            if repeat:  # the first one compiles
                seconds.append(elapsed)
    medians = {backend: statistics.median(seconds) for backend, seconds in times.items()}
    return {
        "samples": samples,
        **{f"{backend}_ms": round(1000 * seconds, 3) for backend, seconds in medians.items()},
        "samples_per_second": round(samples / medians["numba"]),
        "ratio": round(medians["torch"] / medians["numba"], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--samples", type=int, action="append", help="may be repeated")
    parser.add_argument("--repeats", type=int, help="7, or 50 on CUDA")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    report: dict[str, object] = {"benchmark": "hashgrid"}
    if device.type == "cuda":
        rate, repeats = bandwidth(device), arguments.repeats or 50
        sizes = arguments.samples or [1 << k for k in range(18, 22)]
        report |= {"device": torch.cuda.get_device_name(device), "copy_gb_per_second": round(rate / 1e9)}
        report["rows"] = [
            measure_cuda(samples, repeats, CUDA_LAYOUT, device, dtype, rate)
            for dtype in (torch.float32, torch.float16)
            for samples in sizes
        ]
    else:
        repeats = arguments.repeats or 7
        report |= {"device": "cpu", "threads": torch.get_num_threads(), "repeats": repeats}
        report["rows"] = [measure(n, repeats, HashGridLayout()) for n in arguments.samples or [16384]]
    print(json.dumps(report))


if __name__ == "__main__":
    main()
