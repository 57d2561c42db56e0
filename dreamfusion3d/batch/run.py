"""A whole batch: skip what is done, make the rest, keep the best seeds, write reports and the contact sheet."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from dreamfusion3d.batch import contact_sheet, rejected, reviews, state
from dreamfusion3d.batch.events import BatchReporter, Event
from dreamfusion3d.batch.manifest import ManifestError
from dreamfusion3d.batch.plan import Item, group_by_row
from dreamfusion3d.batch.state import BatchRun, Outcome
from dreamfusion3d.batch.supervisor import Limits, Supervisor
from dreamfusion3d.batch.workers import WorkerPool
from dreamfusion3d.core.config import PriorConfig
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.folders import check_free_space, folder_lock, translate_folder_errors

PriorHashes = Mapping[PriorConfig, str]  # sha256 of the priors that were loaded


def check_prompts(manifest: Path, items: Sequence[Item]) -> tuple[dict[PriorConfig, str], list[str]]:
    """Check every prompt against priors that load quickly: the embedded one and `train-prior` folders.

    Workers check the prompts of other priors. Raises ManifestError with all rejected prompts and missing priors.

    Returns:
        The sha256 of each prior that was loaded, and warnings with their lines.
    """
    from dreamfusion3d.priors.loading import is_pixel_prior_folder, load_prior, prior_exists
    from dreamfusion3d.priors.view_prompts import text_to_mesh_warnings
    from dreamfusion3d.priors.vocabulary import EMBEDDED, prior_folder

    prior_hashes: dict[PriorConfig, str] = {}
    problems: list[str] = []
    warnings: list[str] = []
    for settings in dict.fromkeys(item.config.prior for item in items):
        prior_items = [item for item in items if item.config.prior == settings]
        is_local = settings.name == EMBEDDED or is_pixel_prior_folder(prior_folder(settings.name))
        if not is_local and prior_exists(settings.name):
            continue
        try:
            prior = load_prior(settings)
        except InputError as error:
            problems.append(f"{manifest}:{prior_items[0].line}: {error}")
            continue
        prior_hashes[settings] = prior.sha256
        for row in group_by_row(prior_items).values():
            location = f"{manifest}:{row[0].line}"
            try:
                warnings += [f"{location}: {w}" for w in text_to_mesh_warnings(prior, row[0].prompt, row[0].config)]
            except InputError as error:
                problems.append(f"{location}: {error}")
    if problems:
        raise ManifestError(problems)
    return prior_hashes, warnings


def run_batch(
    batch: BatchRun,
    pool: WorkerPool,
    reporter: BatchReporter,
    *,
    prior_hashes: PriorHashes | None = None,
    limits: Limits | None = None,
    overwrite: bool = False,
    keep_best: bool = False,
) -> tuple[dict[str, Outcome], bool]:
    """Make every item that is not done; reports and contact sheet are written unless the process is killed.

    Returns:
        The outcome of every item by name, and True if the batch was stopped.

    Raises:
        InputError: the folder is not writable or another batch works on it.
    """
    with _batch_session(batch, reporter):
        outcomes = _finished_outcomes(batch, prior_hashes or {}, overwrite, keep_best)
        for name, outcome in outcomes.items():
            reporter.on_event(Event(outcome.status, name))

        def on_finished(item: Item, outcome: Outcome) -> None:
            outcomes[item.name] = outcome
            if outcome.status == "failed":
                state.write_failures(batch, outcomes)
                return
            if outcome.status == "made":
                contact_sheet.cache_preview(batch.out, item.name)
            if keep_best:
                _keep_best(batch, item, outcomes)

        todo = [item for item in batch.items if item.name not in outcomes]
        supervisor = Supervisor(
            todo,
            batch.out,
            pool,
            reporter,
            limits=limits,
            overwrite=overwrite,
            on_finished=on_finished,
            log_suffix=batch.file_suffix,
        )
        return _supervise(supervisor, batch, outcomes)


def retry_rejected(
    batch: BatchRun,
    replacements: Sequence[Item],
    pool: WorkerPool,
    reporter: BatchReporter,
    *,
    limits: Limits | None = None,
) -> tuple[dict[str, Outcome], bool]:
    """Run the batch for ``replacements`` only, whose finished assets replace the rejected ones.

    If an item fails or the batch is stopped, the rejected asset stays; the same command resumes.
    """
    rows = rejected.rows_with_replacements(replacements, batch.items)
    outcomes: dict[str, Outcome] = {}
    with _batch_session(batch, reporter):

        def on_finished(item: Item, outcome: Outcome) -> None:
            if outcome.status == "there":
                outcome.status = "made"  # by an earlier process that was killed before the swap
            if outcome.status == "made":
                rejected.replace_rejected_asset(batch.out, item, rows[item.row])
            outcomes[item.name] = outcome

        # an abandoned retry may have left a folder with another seed: overwrite it
        supervisor = Supervisor(
            replacements,
            rejected.staging_folder(batch.out),
            pool,
            reporter,
            limits=limits,
            overwrite=True,
            on_finished=on_finished,
            log_suffix=batch.file_suffix,
        )
        return _supervise(supervisor, dataclasses.replace(batch, items=list(replacements)), outcomes)


@contextlib.contextmanager
def _batch_session(batch: BatchRun, reporter: BatchReporter) -> Iterator[None]:
    """Check and lock the folder, and complete swaps that a kill interrupted."""
    check_free_space(batch.out)
    with contextlib.closing(reporter), translate_folder_errors(batch.out):
        try:
            with folder_lock(batch.lock_folder):
                rejected.complete_interrupted_swaps(batch.out, batch.items, reviews.read_reviews(batch.out))
                yield
        finally:
            with contextlib.suppress(OSError):
                os.rmdir(batch.lock_folder)


def _supervise(
    supervisor: Supervisor, batch: BatchRun, outcomes: dict[str, Outcome]
) -> tuple[dict[str, Outcome], bool]:
    start_time, stopped = time.monotonic(), True
    try:
        supervisor.run()
        stopped = supervisor.stopped
    finally:
        _write_reports(batch, outcomes, time.monotonic() - start_time, stopped)
    return outcomes, stopped


def _finished_outcomes(
    batch: BatchRun, prior_hashes: PriorHashes, overwrite: bool, keep_best: bool
) -> dict[str, Outcome]:
    """Return the outcomes of items that need no work, judging by the folder."""
    outcomes: dict[str, Outcome] = {}
    for row in group_by_row(batch.items).values():
        if keep_best and len(row) > 1 and (best := state.load_chosen_item(batch.out, row)) is not None:
            others = [item for item in row if item is not best]
            outcomes |= {item.name: Outcome("passed_over") for item in others}
            state.remove_asset_folders(batch.out, others)  # leftovers of a killed batch
        for item in row:
            if item.name in outcomes:
                continue
            status = state.folder_status(batch.out, item, prior_hashes.get(item.config.prior))
            # without the sha256 of the weights only a worker can decide
            if item.config.prior in prior_hashes and (status == "there" or (status == "other" and not overwrite)):
                outcomes[item.name] = Outcome(status)
        if keep_best and len(row) > 1 and all(item.name in outcomes for item in row):
            _keep_best(batch, row[0], outcomes)
    return outcomes


def _keep_best(batch: BatchRun, item: Item, outcomes: dict[str, Outcome]) -> None:
    """Remove all but the best seed of the item's row, once every seed is done."""
    row = group_by_row(batch.items)[item.row]
    if len(row) > 1 and all((found := outcomes.get(i.name)) and found.status in ("made", "there") for i in row):
        best = state.keep_best_seed(batch.out, row)
        for other in row if best else ():
            if other is not best:
                outcomes[other.name].status = "passed_over"


def _write_reports(batch: BatchRun, outcomes: dict[str, Outcome], seconds: float, stopped: bool) -> None:
    # the folder may have been removed meanwhile
    with contextlib.suppress(InputError):
        check_free_space(batch.out)
    state.mark_missing_as_failed(batch, outcomes)
    state.write_failures(batch, outcomes)
    state.write_batch_summary(batch, outcomes, seconds, stopped)
    contact_sheet.write_contact_sheet(batch.out)
