"""Cache of ``train-prior``: shards of rendered objects, made once."""

from __future__ import annotations

import hashlib
import math
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.progress import Progress
from dreamfusion3d.procedural import dataset

OBJECTS_PER_SHARD = 1600  # enough for several peers of every object
VIEWS_PER_OBJECT = 6
_num_rendered: Any = None  # in a worker process: the shared count of rendered objects


def load_or_render_dataset(
    cache_dir: Path,
    num_objects: int,
    seed: int,
    progress: Progress,
    *,
    objects_per_shard: int = OBJECTS_PER_SHARD,
    views_per_object: int = VIEWS_PER_OBJECT,
    workers: int | None = None,
) -> dataset.ObjectDataset:
    """Load the cached dataset, rendering missing shards first.

    Rendering runs in ``workers`` processes (default: one per core), which are faster at it than a GPU. A cache of
    other shards than these is loaded as it is. Raises InputError if the cache cannot be read.
    """
    num_shards = max(1, round(num_objects / objects_per_shard))
    shards = [cache_dir / f"props_{seed:03d}_{k + 1:03d}of{num_shards:03d}.safetensors" for k in range(num_shards)]
    missing = [path for path in shards if not path.exists()]
    if missing and set(dataset.list_shards(cache_dir)) <= set(shards):
        progress.stage("draw", 1, 2)
        cache_dir.mkdir(parents=True, exist_ok=True)
        per_shard = math.ceil(num_objects / num_shards)
        for done in _render_shards(missing, per_shard, views_per_object, seed, workers or os.cpu_count() or 1):
            progress.step(per_shard * (num_shards - len(missing)) + done, per_shard * num_shards)
    try:
        return dataset.load_dataset(cache_dir)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"the cache {cache_dir} cannot be read ({error}); delete it to render it again") from None


def _render_shards(paths: list[Path], num_objects: int, views: int, seed: int, workers: int) -> Iterator[int]:
    """Render ``num_objects`` objects into each of ``paths``, yielding the number of objects so far."""
    seeds = [int(hashlib.sha256(f"{seed} {path.name}".encode()).hexdigest()[:12], 16) for path in paths]
    workers = min(len(paths), workers)
    if workers == 1:
        for number, (path, shard_seed) in enumerate(zip(paths, seeds, strict=True)):
            for done in render_shard(path, num_objects, views, shard_seed):
                yield number * num_objects + done
        return
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    num_rendered = context.Value("q", 0)
    pool = ProcessPoolExecutor(workers, context, _init_worker, (num_rendered,))
    try:
        shards = zip(paths, seeds, strict=True)
        jobs = {pool.submit(_render_shard_in_worker, path, num_objects, views, s) for path, s in shards}
        while jobs:
            finished, jobs = wait(jobs, timeout=0.5)
            for job in finished:
                job.result()
            yield num_rendered.value
    finally:
        pool.shutdown(cancel_futures=True)


def render_shard(path: Path, num_objects: int, views: int, seed: int) -> Iterator[int]:
    """Render ``views`` images of each object into one shard, yielding the number of objects so far."""
    generator = torch.Generator().manual_seed(seed)
    for done, shard in dataset.render_dataset(num_objects, views, generator=generator):
        if shard is not None:
            shard.save(path)
        yield done


def _init_worker(num_rendered: Any) -> None:
    global _num_rendered
    _num_rendered = num_rendered
    torch.set_num_threads(1)


def _render_shard_in_worker(path: Path, num_objects: int, views: int, seed: int) -> None:
    before = 0
    for done in render_shard(path, num_objects, views, seed):
        with _num_rendered.get_lock():
            _num_rendered.value += done - before
        before = done
