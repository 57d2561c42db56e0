"""``dreamfusion3d batch``: a manifest in, a folder of assets out."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .batch_report import print_end_event, print_plan, print_rejected, print_result
from .report import stdout_to_stderr

if TYPE_CHECKING:
    from dreamfusion3d.batch.run import PriorHashes
    from dreamfusion3d.batch.state import BatchRun
    from dreamfusion3d.batch.supervisor import Limits
    from dreamfusion3d.batch.workers import LocalPool, WorkerPool


def batch(
    manifest: Annotated[Path, typer.Argument(help="CSV, JSONL or YAML file with one prompt per row.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Output folder; each asset gets its own subfolder.")],
    seeds: Annotated[
        int | None, typer.Option(metavar="N", help="Seeds per row, counting up from the row's seed.", show_default="1")
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Default for rows that do not set KEY; repeatable."),
    ] = None,
    keep: Annotated[
        str, typer.Option(help="all, or best: per row, only the seed with the fewest failed checks.")
    ] = "all",
    workers: Annotated[
        int | None, typer.Option(metavar="N", help="Worker processes.", show_default="one per device")
    ] = None,
    devices: Annotated[
        str, typer.Option(metavar="LIST", help="auto (all GPUs, or the CPU), or e.g. cuda:0,cuda:1.")
    ] = "auto",
    shard: Annotated[str | None, typer.Option(metavar="K/N", help="Run only every N-th row, from the K-th.")] = None,
    ray: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Run on a Ray cluster: local, auto or HOST:PORT.")
    ] = None,
    cpus: Annotated[int, typer.Option(metavar="N", help="CPUs per asset on the Ray cluster.")] = 1,
    gpus: Annotated[
        float, typer.Option(metavar="N", help="GPUs per asset on the Ray cluster; with 0.5, two share one.")
    ] = 0.0,
    timeout: Annotated[
        float, typer.Option(metavar="S", help="Seconds without progress after which a worker counts as hung.")
    ] = 1800.0,
    max_attempts: Annotated[int, typer.Option(metavar="N", help="Attempts per row before it fails.")] = 3,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace assets made with other settings or weights.")
    ] = False,
    retry_rejected: Annotated[
        bool, typer.Option("--retry-rejected", help="Only generate rejected assets again, with new seeds.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and its estimated cost.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print events as JSON, one per line.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print errors only.")] = False,
) -> int:
    """Generate all assets of a manifest, with supervised workers, retries and resume.

    The same command resumes an interrupted batch and skips finished assets.
    Prints the path of contact_sheet.html.
    Exits with code 1 if any row failed.
    """
    from dreamfusion3d.batch.manifest import ManifestError
    from dreamfusion3d.batch.state import STATE_FOLDER
    from dreamfusion3d.batch.supervisor import Limits
    from dreamfusion3d.core.errors import InputError

    _check_options(seeds, keep, workers, timeout, max_attempts)
    if retry_rejected and not (out / STATE_FOLDER).is_dir():
        raise InputError(f"--retry-rejected: {out} is not the folder of a batch; pass the batch's folder to --out")
    try:
        batch_run, prior_hashes, warnings = _load_batch(manifest, out, seeds, sets or [], shard, dry_run)
    except ManifestError as error:
        for problem in error.problems:
            print(f"error: {' '.join(problem.split())}", file=sys.stderr)
        return 2
    for warning in warnings if not quiet else ():
        print(f"warning: {warning}", file=sys.stderr)
    limits = Limits(timeout=timeout, max_attempts=max_attempts)
    with _worker_pool(batch_run.out, workers, devices, ray, cpus, gpus) as pool:
        if retry_rejected:
            return _retry_rejected(batch_run, pool, limits, dry_run, as_json, quiet)
        if dry_run:
            num_devices = len(pool.devices) if ray else len(set(pool.devices))
            print_plan(batch_run, prior_hashes, num_devices, as_json, overwrite)
            return 0
        return _run_batch(batch_run, pool, prior_hashes, limits, keep == "best", overwrite, as_json, quiet)


def _check_options(seeds: int | None, keep: str, workers: int | None, timeout: float, max_attempts: int) -> None:
    from dreamfusion3d.batch.plan import MAX_SEEDS_PER_ROW
    from dreamfusion3d.core.errors import InputError

    if seeds is not None and not 1 <= seeds <= MAX_SEEDS_PER_ROW:
        raise InputError(f"--seeds {seeds} is not between 1 and {MAX_SEEDS_PER_ROW}")
    if keep not in ("all", "best"):
        raise InputError(f"--keep {keep!r} is not one of all, best")
    if workers is not None and not 1 <= workers <= 256:
        raise InputError(f"--workers {workers} is not between 1 and 256")
    if not 1 <= timeout < float("inf"):
        raise InputError(f"--timeout {timeout:g} is not a finite number of seconds of at least 1")
    if not 1 <= max_attempts <= 100:
        raise InputError(f"--max-attempts {max_attempts} is not between 1 and 100")


def _load_batch(
    manifest: Path, out: Path, seeds: int | None, sets: list[str], shard: str | None, dry_run: bool
) -> tuple[BatchRun, PriorHashes, list[str]]:
    """Read and check the manifest; raise one ManifestError with the problems of all rows."""
    from dreamfusion3d.batch import manifest as manifests, plan, rejected, reviews, run, state
    from dreamfusion3d.core.folders import check_free_space

    if shard is not None:
        plan.parse_shard(shard)
    problems: list[str] = []
    try:
        rows = manifests.read_manifest(manifest, sets)
    except manifests.ManifestError as error:
        problems, rows = error.problems, error.rows
    try:
        items = plan.expand_rows(manifest, rows, seeds)
    except manifests.ManifestError as error:
        problems += error.problems
        items = [  # one row at a time, so that clashing names do not hide problems of the prompts
            dataclasses.replace(item, row=number)
            for number, row in enumerate(rows)
            for item in plan.expand_rows(manifest, [row], seeds)
        ]
    with stdout_to_stderr():
        try:
            prior_hashes, warnings = run.check_prompts(manifest, items)
        except manifests.ManifestError as error:
            problems += error.problems
    if problems:
        raise manifests.ManifestError(plan.sort_by_line(problems))
    items = rejected.apply_replacement_seeds(items, reviews.read_reviews(out))
    if not dry_run:
        check_free_space(out)
    shard_items = items if shard is None else plan.select_shard(items, shard)
    return state.BatchRun(manifest, out, shard_items, shard, all_items=items), prior_hashes, warnings


@contextlib.contextmanager
def _worker_pool(
    out: Path, workers: int | None, devices: str, ray: str | None, cpus: int, gpus: float
) -> Iterator[WorkerPool]:
    """Worker processes on this machine, or actors on the Ray cluster at ``ray``."""
    from dreamfusion3d.core.errors import InputError

    if ray is None:
        if (cpus, gpus) != (1, 0.0):
            raise InputError("--cpus and --gpus apply to a Ray cluster only: add --ray, or leave them out")
        yield _local_pool(workers, devices)
        return
    if devices != "auto":
        raise InputError("--devices cannot be combined with --ray: use --gpus instead")
    if not (1 <= cpus <= 1024 and 0 <= gpus <= 64):
        raise InputError(f"--cpus {cpus} --gpus {gpus:g}: must be 1 to 1024 CPUs and 0 to 64 GPUs")
    from dreamfusion3d.batch import ray_workers

    with contextlib.ExitStack() as stack:
        with stdout_to_stderr():
            stack.enter_context(ray_workers.ray_connection(ray))
        num_slots = ray_workers.count_worker_slots(cpus, gpus)
        yield ray_workers.RayPool(out, workers or num_slots, cpus, gpus)


def _local_pool(workers: int | None, devices: str) -> LocalPool:
    """Assign devices to workers round-robin; workers on the CPU split its cores."""
    import os

    from dreamfusion3d.batch.workers import LocalPool
    from dreamfusion3d.core.backends import available_cores, choose_device
    from dreamfusion3d.core.errors import InputError

    names = [name.strip() for name in devices.split(",") if name.strip()]
    if not names:
        raise InputError("--devices is empty: give auto, cpu or e.g. cuda:0,cuda:1")
    if names == ["auto"]:
        import torch

        names = [f"cuda:{i}" for i in range(torch.cuda.device_count())] or ["cpu"]
    for name in names:
        choose_device(name)
    worker_devices = [names[i % len(names)] for i in range(workers or len(names))]
    num_on_cpu = worker_devices.count("cpu")
    threads = None
    if num_on_cpu > 1 and "OMP_NUM_THREADS" not in os.environ:
        threads = max(1, available_cores() // num_on_cpu)
    return LocalPool(worker_devices, threads)


def _retry_rejected(
    batch_run: BatchRun, pool: WorkerPool, limits: Limits, dry_run: bool, as_json: bool, quiet: bool
) -> int:
    from dreamfusion3d.batch import live_table, rejected, reviews, run

    if not dry_run:
        rejected.complete_interrupted_swaps(batch_run.out, batch_run.items, reviews.read_reviews(batch_run.out))
    review = reviews.read_reviews(batch_run.out)
    names = {item.name for item in batch_run.items}
    replacements = [
        item for item in rejected.reseed_rejected(batch_run.out, batch_run.all_items, review) if item.name in names
    ]
    if dry_run:
        print_rejected(replacements, batch_run.out, len(pool.devices), as_json, quiet)
        return 0
    if not replacements:
        if not quiet:
            print("0 rejected", file=sys.stderr)
        if as_json:
            print_end_event(batch_run, {}, stopped=False)
        return 0
    reporter = live_table.choose_batch_reporter(len(replacements), as_json=as_json, quiet=quiet)
    outcomes, stopped = run.retry_rejected(batch_run, replacements, pool, reporter, limits=limits)
    return print_result(batch_run, as_json, quiet, outcomes, stopped)


def _run_batch(
    batch_run: BatchRun,
    pool: WorkerPool,
    prior_hashes: PriorHashes,
    limits: Limits,
    keep_best: bool,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    from dreamfusion3d.batch import live_table, run

    batch_run = dataclasses.replace(batch_run, extra={"devices": list(pool.devices), "workers": len(pool.devices)})
    reporter = live_table.choose_batch_reporter(len(batch_run.items), as_json=as_json, quiet=quiet)
    outcomes, stopped = run.run_batch(
        batch_run, pool, reporter, prior_hashes=prior_hashes, limits=limits, overwrite=overwrite, keep_best=keep_best
    )
    return print_result(batch_run, as_json, quiet, outcomes, stopped)
