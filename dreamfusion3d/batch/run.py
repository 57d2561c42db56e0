"""A whole batch: what is done is left, the rest is made, the best seeds are kept, reports are written."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dreamfusion3d.batch import contact_sheet, reviews, state
from dreamfusion3d.batch import remake as again
from dreamfusion3d.batch.events import Event, Watch
from dreamfusion3d.batch.manifest import ManifestError
from dreamfusion3d.batch.plan import Item, groups
from dreamfusion3d.batch.state import Batch, Outcome
from dreamfusion3d.batch.supervisor import Limits, Supervisor
from dreamfusion3d.batch.workers import Crew
from dreamfusion3d.core.config import PriorConfig
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.pipelines.workspace import check_room, folder_errors, locked

if TYPE_CHECKING:
    from collections.abc import Sequence

Weights = Mapping[PriorConfig, str]  # sha256 of those that were looked at


def check_prompts(manifest: Path, items: Sequence[Item]) -> tuple[dict[PriorConfig, str], list[str]]:
    """Asks the priors that are quick to load (the embedded one, `train-prior` folders) about every prompt:
    the sha256 of each, and warnings with their lines. Others are asked by the workers.

    Raises ManifestError with every prompt that is refused, and every prior that is not there.
    """
    from dreamfusion3d.priors.loading import is_pixel_folder, is_there, load_prior
    from dreamfusion3d.priors.view_prompts import remarks
    from dreamfusion3d.priors.vocabulary import EMBEDDED, folder_of

    weights: dict[PriorConfig, str] = {}
    problems: list[str] = []
    warnings: list[str] = []
    for settings in dict.fromkeys(item.config.prior for item in items):
        mine = [item for item in items if item.config.prior == settings]
        quick = settings.name == EMBEDDED or is_pixel_folder(folder_of(settings.name))
        if not quick and is_there(settings.name):
            continue
        try:
            prior = load_prior(settings)
        except InputError as error:
            problems.append(f"{manifest}:{mine[0].line}: {error}")
            continue
        weights[settings] = prior.sha256
        for row in groups(mine).values():
            where = f"{manifest}:{row[0].line}"
            try:
                warnings += [f"{where}: {w}" for w in remarks(prior, row[0].prompt, row[0].config)]
            except InputError as error:
                problems.append(f"{where}: {error}")
    if problems:
        raise ManifestError(problems)
    return weights, warnings


def run(
    batch: Batch, crew: Crew, watch: Watch, *, weights: Weights | None = None, limits: Limits | None = None,
    remake: bool = False, keep_best: bool = False,
) -> tuple[dict[str, Outcome], bool]:
    """The outcome of every item, and whether the batch was stopped. Reports and contact sheet are written
    however it ends, short of a kill.

    Raises InputError when the folder cannot be written or another batch works on it.
    """
    check_room(batch.out)
    begun, stopped = time.monotonic(), True
    with contextlib.closing(watch), folder_errors(batch.out), _alone(batch):
        again.adopt(batch.out, batch.items, reviews.read(batch.out))
        outcomes = _before(batch, weights or {}, remake, keep_best)
        for name, outcome in outcomes.items():
            watch.see(Event(outcome.status, name))

        def settled(item: Item, outcome: Outcome) -> None:
            outcomes[item.name] = outcome
            if outcome.status == "failed":
                state.write_failures(batch, outcomes)
                return
            if outcome.status == "made":
                contact_sheet.prepare(batch.out, item.name)
            if keep_best:
                _keep_best(batch, item, outcomes)

        todo = [item for item in batch.items if item.name not in outcomes]
        supervisor = Supervisor(
            todo, batch.out, crew, watch, limits=limits or Limits(), remake=remake, settled=settled,
            log_tail=batch.tail,
        )
        try:
            if todo:
                supervisor.run()
            stopped = supervisor.stopped
        finally:
            _reports(batch, outcomes, time.monotonic() - begun, stopped)
    return outcomes, stopped


def run_again(
    batch: Batch, new: Sequence[Item], crew: Crew, watch: Watch, *, limits: Limits | None = None,
) -> tuple[dict[str, Outcome], bool]:
    """As `run`, for ``new`` items of the batch alone, whose rejected assets they are to replace (`again`).

    What fails, or is stopped, leaves the rejected asset where it is; the same command goes on with it.
    """
    check_room(batch.out)
    begun, stopped = time.monotonic(), True
    rows = again.rows_with(new, batch.items)
    whole = dataclasses.replace(batch, items=list(new))
    outcomes: dict[str, Outcome] = {}
    with contextlib.closing(watch), folder_errors(batch.out), _alone(batch):

        def settled(item: Item, outcome: Outcome) -> None:
            if outcome.status == "there":
                outcome.status = "made"  # by an earlier process, which could not put it in its place
            if outcome.status == "made":
                again.settle(batch.out, item, rows[item.row])
            outcomes[item.name] = outcome

        # a folder of another seed is what an earlier, given up try left there
        supervisor = Supervisor(
            new, again.staging(batch.out), crew, watch, limits=limits or Limits(), remake=True,
            settled=settled, log_tail=batch.tail,
        )
        try:
            supervisor.run()
            stopped = supervisor.stopped
        finally:
            _reports(whole, outcomes, time.monotonic() - begun, stopped)
    return outcomes, stopped


@contextlib.contextmanager
def _alone(batch: Batch):  # type: ignore[no-untyped-def]
    try:
        with locked(batch.lock):
            yield
    finally:
        with contextlib.suppress(OSError):
            os.rmdir(batch.lock)


def _before(batch: Batch, weights: Weights, remake: bool, keep_best: bool) -> dict[str, Outcome]:
    """What needs no work, by the folder."""
    outcomes: dict[str, Outcome] = {}
    for row in groups(batch.items).values():
        if keep_best and len(row) > 1 and (kept := state.chosen(batch.out, row)) is not None:
            others = [item for item in row if item is not kept]
            outcomes.update({item.name: Outcome("passed_over") for item in others})
            state.drop(batch.out, others)  # what a kill left of them
        for item in row:
            if item.name in outcomes:
                continue
            found = state.standing(batch.out, item, weights.get(item.config.prior))
            # without the weights' sha256 only a worker can tell
            if item.config.prior in weights and (found == "there" or (found == "other" and not remake)):
                outcomes[item.name] = Outcome(found)
        if keep_best and len(row) > 1 and all(item.name in outcomes for item in row):
            _keep_best(batch, row[0], outcomes)
    return outcomes


def _keep_best(batch: Batch, item: Item, outcomes: dict[str, Outcome]) -> None:
    """Once every seed of the item's row is done, all but the best go."""
    row = groups(batch.items)[item.row]
    if len(row) > 1 and all(
        (found := outcomes.get(i.name)) and found.status in ("made", "there") for i in row
    ):
        best = state.choose(batch.out, row)
        for other in row if best else ():
            if other is not best:
                outcomes[other.name].status = "passed_over"


def _reports(batch: Batch, outcomes: dict[str, Outcome], seconds: float, stopped: bool) -> None:
    # even when the folder was removed meanwhile
    with contextlib.suppress(InputError):
        check_room(batch.out)
    state.verify(batch, outcomes)
    state.write_failures(batch, outcomes)
    state.write_summary(batch, outcomes, seconds, stopped)
    contact_sheet.write(batch.out)
