"""The cache of ``train-prior``: files of drawn pictures, made once."""

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

VIEWS_A_PROP = 6
PROPS_A_SHARD = 1600  # enough for some peers of every form
_drawn: Any = None  # in a worker: the props that all of them have drawn so far


def pictures_of(cache: Path, props: int, seed: int, progress: Progress) -> dataset.Pictures:
    """The cache's pictures, drawn first when there are none, or not all: on as many processes as there
    are cores, which are faster at it than a GPU."""
    parts = max(1, round(props / PROPS_A_SHARD))
    shards = [cache / f"props_{seed:03d}_{k + 1:03d}of{parts:03d}.safetensors" for k in range(parts)]
    missing = [path for path in shards if not path.exists()]
    if missing and set(dataset.shards_of(cache)) <= set(shards):
        progress.stage("draw", 1, 2)
        cache.mkdir(parents=True, exist_ok=True)
        share = math.ceil(props / parts)
        for done in _drawing(missing, share, seed):
            progress.step(share * (parts - len(missing)) + done, share * parts)
    try:
        return dataset.load(cache)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"the cache {cache} cannot be read ({error}); remove it and it is drawn anew"
        ) from None


def _drawing(paths: list[Path], props: int, seed: int) -> Iterator[int]:
    """Draw ``props`` props into each of ``paths``; yields how many are drawn."""
    seeds = [int(hashlib.sha256(f"{seed} {path.name}".encode()).hexdigest()[:12], 16) for path in paths]
    workers = min(len(paths), os.cpu_count() or 1)
    if workers == 1:
        for number, (path, own) in enumerate(zip(paths, seeds, strict=True)):
            for done in draw_shard(path, props, own):
                yield number * props + done
        return
    context = multiprocessing.get_context("spawn")  # a forked process cannot use its parent's threads
    drawn = context.Value("q", 0)
    pool = ProcessPoolExecutor(workers, context, _begin_worker, (drawn,))
    try:
        jobs = {pool.submit(_draw_here, path, props, own) for path, own in zip(paths, seeds, strict=True)}
        while jobs:
            ended, jobs = wait(jobs, timeout=0.5)
            for job in ended:
                job.result()
            yield drawn.value
    finally:
        pool.shutdown(cancel_futures=True)


def draw_shard(path: Path, props: int, seed: int) -> Iterator[int]:
    """A file of the cache, VIEWS_A_PROP pictures of each prop; yields how many are drawn."""
    for done, drawn in dataset.make(props, VIEWS_A_PROP, generator=torch.Generator().manual_seed(seed)):
        if drawn is not None:
            drawn.save(path)
        yield done


def _begin_worker(drawn: Any) -> None:
    global _drawn
    _drawn = drawn
    torch.set_num_threads(1)


def _draw_here(path: Path, props: int, seed: int) -> None:
    before = 0
    for done in draw_shard(path, props, seed):
        with _drawn.get_lock():
            _drawn.value += done - before
        before = done
