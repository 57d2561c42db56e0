"""``train-prior --assets-from``: one network per mesh of a folder, beside what a prior knows already."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numba
import torch

from dreamfusion3d.core.files import file_sha256, write_json
from dreamfusion3d.core.progress import Progress
from dreamfusion3d.core.slug import append_hash, slugify
from dreamfusion3d.priors.assets.metadata import LibraryRecord, read_asset_metadata
from dreamfusion3d.priors.assets.model import (
    AssetEntry,
    load_asset_network,
    read_index,
    save_asset_network,
    write_index,
)
from dreamfusion3d.priors.assets.surface import read_asset_surface
from dreamfusion3d.priors.assets.train import (
    SURFACE_POINTS,
    draw_asset_points,
    evaluate_asset_network,
    new_asset_network,
    train_asset_network,
)
from dreamfusion3d.priors.loading import load_pixel_prior
from dreamfusion3d.priors.vocabulary import ASSETS_FOLDER, prior_folder


def train_asset_folder(
    out: Path, library: Path, *, init_from: str, steps: int, seed: int, progress: Progress, workers: int | None = None
) -> None:
    """Train the networks of a library's meshes and write a prior to ``out``; finished networks are kept.

    Assets that the prior or ``out`` have already stay in it.

    Args:
        library: Folder of meshes with a metadata.jsonl.
        init_from: "embedded" or the folder of a prior to add the assets to, or "scratch" for the assets alone.
        workers: Processes, each with one thread (default: one per core).

    Raises:
        InputError: A line of the metadata or a mesh cannot be used; networks trained before it are kept.
    """
    entries = name_entries(read_asset_metadata(library))
    if init_from != "scratch":
        load_pixel_prior(init_from)  # raises InputError for a bad folder
        _copy_prior(prior_folder(init_from), out)
    if not (out / "model_index.json").exists():
        write_json(out / "model_index.json", {"_class_name": "PixelPrior"})
    progress.stage("train", 1, 1)
    finished: set[str] = set()
    folder = out / ASSETS_FOLDER
    kept = read_index(folder)
    jobs = [AssetJob(folder, library, entry, steps, seed) for entry in entries]
    for done, (entry, accuracy) in enumerate(_run_jobs(jobs, workers or os.cpu_count() or 1), 1):
        angle, color = accuracy["angle_deg"], accuracy["right_color"]
        progress.step(
            done, len(jobs), f"{entry.name}: normals {angle:.1f} degrees off, {color:.0%} of the colors right"
        )
        finished.add(entry.name)
        write_index(folder, [e for e in kept if e.name not in finished] + [e for e in entries if e.name in finished])
    progress.close()


@dataclass(frozen=True)
class AssetJob:
    """The training of one asset's network; ``folder`` is that of the networks."""

    folder: Path
    library: Path
    entry: AssetEntry
    steps: int
    seed: int


def train_asset(job: AssetJob) -> dict[str, float]:
    """Train the network of an asset and return its accuracy.

    A network that the folder has from the same mesh is kept, if it was trained as long or longer.
    """
    mesh, path = job.library / job.entry.record.file_name, job.folder / f"{job.entry.name}.safetensors"
    digest = file_sha256(mesh)
    if path.exists():
        _, record = load_asset_network(path)
        if record["mesh_sha256"] == digest and record["steps"] >= job.steps:
            return dict(record["accuracy"])
    surface = read_asset_surface(mesh, SURFACE_POINTS)
    points = draw_asset_points(surface, seed=job.seed)
    network = new_asset_network(surface, points, job.entry.name, job.seed)
    generator = torch.Generator().manual_seed(job.seed)
    for _ in train_asset_network(network, points, steps=job.steps, generator=generator):
        pass
    accuracy = evaluate_asset_network(network.eval(), surface)
    record = {"mesh_sha256": digest, "steps": job.steps, "seed": job.seed, "accuracy": accuracy}
    save_asset_network(network, path, record)
    return accuracy


def name_entries(records: list[LibraryRecord]) -> list[AssetEntry]:
    """Name the network of each record by its file: equal slugs get a hash."""
    slugs = [slugify(record.file_name.rpartition(".")[0]) for record in records]
    names = [
        append_hash(slug, record.file_name) if slugs.count(slug) > 1 else slug
        for slug, record in zip(slugs, records, strict=True)
    ]
    return [AssetEntry(name, record) for name, record in zip(names, records, strict=True)]


def _run_jobs(jobs: list[AssetJob], workers: int) -> Iterator[tuple[AssetEntry, dict[str, float]]]:
    """Yield each asset with its accuracy when it is finished."""
    workers = min(workers, len(jobs))
    if workers == 1:
        for job in jobs:
            yield job.entry, train_asset(job)
        return
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    pool = ProcessPoolExecutor(workers, context, _use_one_thread)
    try:
        futures = {pool.submit(train_asset, job): job for job in jobs}
        for future in as_completed(futures):
            yield futures[future].entry, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _use_one_thread() -> None:
    torch.set_num_threads(1)
    numba.set_num_threads(1)


def _copy_prior(source: Path, out: Path) -> None:
    """Copy a prior that assets are added to; files that exist are kept."""
    if source.resolve() == out.resolve():
        return
    for path in sorted(p for p in source.rglob("*") if p.is_file() and not p.name.startswith(".")):
        target = out / path.relative_to(source)
        if path.name == "checkpoint.safetensors" or target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
