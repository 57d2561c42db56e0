"""``train-prior --assets-from``: one network per mesh of a folder, beside what a prior knows already."""

from __future__ import annotations

import contextlib
import multiprocessing
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numba
import torch

from dreamfusion3d.core.backends import available_cores
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.files import atomic_write, write_json
from dreamfusion3d.core.folders import folder_lock
from dreamfusion3d.core.progress import Progress
from dreamfusion3d.core.slug import append_hash, slugify
from dreamfusion3d.mesh.io.companions import mesh_file_sha256
from dreamfusion3d.priors.assets.metadata import LibraryRecord, read_asset_metadata
from dreamfusion3d.priors.assets.model import TRAINING_COMMAND, AssetEntry, read_index, write_index
from dreamfusion3d.priors.assets.network import AssetNetwork
from dreamfusion3d.priors.assets.surface import read_asset_surface
from dreamfusion3d.priors.assets.train import (
    SURFACE_POINTS,
    draw_asset_points,
    evaluate_asset_network,
    new_asset_network,
    train_asset_network,
)
from dreamfusion3d.priors.loading import load_pixel_prior
from dreamfusion3d.priors.vocabulary import ASSETS_FOLDER, SHAPES_FOLDER, prior_folder
from dreamfusion3d.priors.weights import load_network, save_network

POOR_ANGLE_DEG, POOR_COLOR = 25.0, 0.85  # accuracy that is worth a warning


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
    entries = name_entries(read_asset_metadata(library), library.resolve().name)
    if init_from != "scratch":
        load_pixel_prior(init_from)  # raises InputError for a bad folder
    with folder_lock(out):
        folder = out / ASSETS_FOLDER
        others = [entry for entry in read_index(folder) if entry.library != library.resolve().name]
        if init_from != "scratch":
            others += _copy_prior(prior_folder(init_from), out, {entry.name for entry in [*others, *entries]})
        if not (out / "model_index.json").exists():
            write_json(out / "model_index.json", {"_class_name": "PixelPrior"})
        progress.stage("train", 1, 1)
        finished: set[str] = set()
        jobs = [AssetJob(folder, library, entry, steps, seed) for entry in entries]
        for entry, accuracy in _run_jobs(jobs, workers or available_cores()):
            finished.add(entry.name)
            _report(entry, accuracy, len(finished), len(jobs), progress)
            write_index(folder, others + [entry for entry in entries if entry.name in finished])
    progress.close()


def _report(entry: AssetEntry, accuracy: dict[str, float], done: int, total: int, progress: Progress) -> None:
    angle, color = accuracy["angle_deg"], accuracy["right_color"]
    progress.step(done, total, f"{entry.name}: normals {angle:.1f} degrees off, {color:.0%} of the colors right")
    if not (angle < POOR_ANGLE_DEG and color > POOR_COLOR):  # NaN is poor, too
        progress.warn(
            f"{entry.record.file_name} is learned poorly (normals {angle:.1f} degrees off, {color:.0%} of the colors "
            "right); raise --asset-steps, or look for faces without an inside"
        )


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
    origin = {"mesh_sha256": mesh_file_sha256(mesh), "seed": job.seed}
    if path.exists():
        with contextlib.suppress(InputError, KeyError):  # a damaged network is trained again
            _, record = load_network(AssetNetwork, path, TRAINING_COMMAND)
            if {key: record[key] for key in origin} == origin and record["steps"] >= job.steps:
                return dict(record["accuracy"])
    surface = read_asset_surface(mesh, SURFACE_POINTS)
    points = draw_asset_points(surface, seed=job.seed)
    network = new_asset_network(surface, points, job.entry.name, job.seed)
    generator = torch.Generator().manual_seed(job.seed)
    for _ in train_asset_network(network, points, steps=job.steps, generator=generator):
        pass
    accuracy = evaluate_asset_network(network.eval(), surface)
    save_network(network, path, {**origin, "steps": job.steps, "accuracy": accuracy})
    return accuracy


def name_entries(records: list[LibraryRecord], library: str) -> list[AssetEntry]:
    """Name the network of each record by library and file: equal slugs get a hash."""
    paths = [f"{library}/{record.file_name}" for record in records]
    slugs = [slugify(path.rpartition(".")[0]) for path in paths]
    names = [
        append_hash(slug, path) if slugs.count(slug) > 1 else slug for slug, path in zip(slugs, paths, strict=True)
    ]
    return [AssetEntry(name, record, library) for name, record in zip(names, records, strict=True)]


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
    except BrokenProcessPool:
        raise InputError(
            "a training process was killed, probably for lack of memory; free some, and run the same command again"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _use_one_thread() -> None:
    torch.set_num_threads(1)
    numba.set_num_threads(1)


def _copy_prior(source: Path, out: Path, names: set[str]) -> list[AssetEntry]:
    """Copy what ``out`` lacks of a prior: its image model, its shapes, and its assets of other ``names``.

    Returns the entries of the copied assets.
    """
    if source.resolve() == out.resolve():
        return []
    entries = [entry for entry in read_index(source / ASSETS_FOLDER) if entry.name not in names]
    assets = {f"{entry.name}.safetensors" for entry in entries}
    has_unet, has_shapes = ((out / part).is_dir() for part in ("unet", SHAPES_FOLDER))
    for path in sorted(p for p in source.rglob("*") if p.is_file() and not p.name.startswith(".")):
        relative = path.relative_to(source)
        is_present = {ASSETS_FOLDER: path.name not in assets, SHAPES_FOLDER: has_shapes}.get(
            relative.parts[0], has_unet
        )
        if not is_present and path.name != "checkpoint.safetensors":
            with atomic_write(out / relative) as temporary:
                shutil.copyfile(path, temporary)
    return entries
