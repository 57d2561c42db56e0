"""The ``train-prior`` command: draw the props or read the user's pictures, train, keep everything that
lets it go on."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

from dreamfusion3d.cameras.orbit import turntable
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.progress import Progress
from dreamfusion3d.memory.budget import shown as shown_bytes
from dreamfusion3d.priors.loading import load_pixel_prior
from dreamfusion3d.priors.pixel import image_folder
from dreamfusion3d.priors.pixel.conditioner import world_vocabulary
from dreamfusion3d.priors.pixel.dataset_cache import pictures_of
from dreamfusion3d.priors.pixel.loss_plot import plot_log
from dreamfusion3d.priors.pixel.prior import WORDS
from dreamfusion3d.priors.pixel.train import (
    load_checkpoint,
    save_checkpoint,
    save_folder,
    train,
    validation_loss,
)
from dreamfusion3d.priors.pixel.train_state import (
    MakeBatch,
    TrainConfig,
    TrainState,
    TrainStep,
    new_state,
    state_from_folder,
)
from dreamfusion3d.priors.sampling import ddim, noise_for, write_grid
from dreamfusion3d.priors.vocabulary import EMBEDDED, folder_of
from dreamfusion3d.procedural import dataset

SAMPLE_PROMPTS = (
    "a pitcher with one handle", "a red mug", "a blue vase with two handles", "a brown chair", "a pink donut",
    "a snowman",
)
OWN_SAMPLES = 6  # captions of the user's pictures
LOG_EVERY = 50  # steps
VALIDATE_EVERY = 500  # steps
VALIDATION_SHARE = 20  # one group of peers in so many is kept from training
VALIDATION_BATCHES = 8
COOL_SHARE = 0.7  # of a run, at its end: the long fall is worth more than the steps at full rate


@dataclass(frozen=True)
class Lessons:
    """What is shown, and what becomes of it."""

    make_batch: MakeBatch
    validation: list[dataset.Batch] = field(default_factory=list)
    samples: tuple[str, ...] = ()  # prompts of samples.png
    record: dict[str, object] = field(default_factory=dict)  # for training.json


def run_training(
    out: Path, *, cache: Path, pictures: int, props: int, start: str, device: torch.device, seed: int,
    save_minutes: float, progress: Progress, compiled: bool = True, pictures_from: Path | None = None,
    minutes: float = math.inf, budget: int | None = None,
) -> None:
    """Show ``pictures`` pictures to a prior and leave it in ``out`` as a diffusers folder: of the
    procedural world, or of the folder ``pictures_from`` (``own``).

    ``compiled``: on CUDA, by ``torch.compile``. After ``minutes`` of training it is over in any case.
    ``budget``: bytes of memory to make do with; what is chosen stands in training.json.
    """
    mine = None if pictures_from is None else _read_own(pictures_from, progress)
    state = _begin(start, device, seed, mine)  # before the props' pictures, which take minutes
    checkpoint = out / "checkpoint.safetensors"
    goal = state.pictures + pictures
    resumed = _resume(state, checkpoint)
    _copy_words(start, out)
    if mine is None:
        lessons = _drawn(pictures_of(cache, props, seed, progress).to(device))
    else:
        lessons = _own(mine)
    if resumed:
        progress.say(f"going on from {checkpoint.name}: {state.pictures:,} pictures seen")
    progress.stage("train", 2, 2)
    generator = torch.Generator().manual_seed(seed + 1 + state.step)
    begun, saved, first = time.monotonic(), time.monotonic(), state.pictures
    losses: dict[str, list[float]] = {"loss": [], "scene": []}
    steps = state.steps_for(goal - state.pictures)
    if compiled and device.type == "cuda":
        progress.say("compiling the network: the first steps take a minute or two")

    def told(plan: dict[str, object]) -> None:
        lessons.record["memory"] = {"budget_bytes": budget, **plan}
        for kind, facts in plan.items():
            assert isinstance(facts, dict)
            peak = shown_bytes(facts["predicted_peak_bytes"])
            progress.say(f"memory, {kind}: {facts['plan']}; {peak} at most (predicted)")

    run = train(
        state, lessons.make_batch, steps=steps, seconds=60 * minutes, cool_share=COOL_SHARE,
        generator=generator, compiled=compiled and device.type == "cuda", budget=budget, tell=told,
    )
    for step in run:
        if step.note:
            progress.say(f"warning: {step.note}")
        losses["scene" if step.alone else "loss"].append(step.loss)
        rate = (step.pictures - first) / (time.monotonic() - begun)
        means = {name: round(sum(values) / len(values), 5) for name, values in losses.items() if values}
        shown = ", ".join(f"{name} {mean:.4f}" for name, mean in means.items())
        last = min(goal, round(first + 60 * minutes * rate)) if minutes < math.inf else goal
        progress.step(step.pictures, max(last, step.pictures), f"{shown}, {rate:.0f} pictures/s")
        if step.index % LOG_EVERY == 0:
            kept = None
            if lessons.validation and step.index % VALIDATE_EVERY == 0:
                kept = validation_loss(state.average, lessons.validation, state.config)
            _log(out / "log.jsonl", step, means, rate, kept)
            losses = {name: [] for name in losses}
        if time.monotonic() - saved > 60 * save_minutes:
            _keep(state, out, checkpoint, time.monotonic() - begun, lessons)
            saved = time.monotonic()
    _keep(state, out, checkpoint, time.monotonic() - begun, lessons)
    progress.close()


def _drawn(data: dataset.Pictures) -> Lessons:
    """Props; fixed batches of those that are kept from training validate it. A small cache is all
    trained on."""
    rest, kept = data.split(VALIDATION_SHARE)
    if len(rest) < VALIDATION_SHARE * dataset.PEERS:
        rest, validation = data, []
    else:
        generator = torch.Generator().manual_seed(0)
        validation = [kept.batch(6, 4, generator=generator) for _ in range(VALIDATION_BATCHES)]
    return Lessons(lambda n, v, g: rest.batch(n, v, generator=g), validation, SAMPLE_PROMPTS)


def _read_own(folder: Path, progress: Progress) -> image_folder.OwnPictures:
    """The user's pictures, and what should be known of them."""
    progress.stage("read", 1, 2)
    for done, total, found in image_folder.read_folder(folder):
        progress.step(done, total)
        if found is None:
            continue
        if found.cut:
            progress.say(
                f"warning: {found.cut} of {total} pictures have no transparency; their plain background "
                "was cut out"
            )
        if not found.cameras:
            progress.say(
                "warning: the pictures have no cameras (azimuth_deg, elevation_deg): each is learned alone, "
                "and the prior will not know the sides of things"
            )
        elif all(len(group) == 1 for group in found.groups):
            progress.say(
                "warning: no two pictures share a group: views will be learned one by one, not together"
            )
        return found
    raise AssertionError("read_folder ends with the pictures")


def _own(mine: image_folder.OwnPictures) -> Lessons:
    record = {"pictures": len(mine.lines), "objects": len(mine.groups), "cameras": mine.cameras}
    return Lessons(
        lambda n, v, g: mine.batch(n, v, generator=g), samples=tuple(mine.texts[:OWN_SAMPLES]),
        record={"pictures_from": record},
    )


def _begin(start: str, device: torch.device, seed: int, mine: image_folder.OwnPictures | None) -> TrainState:
    """Of the user's pictures a beginning from nothing learns their words alone."""
    vocabulary, config = mine.vocabulary if mine else world_vocabulary(), TrainConfig().on(device)
    if start == "scratch":
        state = new_state(vocabulary, config, seed=seed, device=device)
    else:
        load_pixel_prior(start)  # says in one line what is wrong with a folder
        state = state_from_folder(folder_of(start), config, vocabulary, device=device)
    for part in (state.model, state.average):
        part.conditioner.cameras = mine is None or mine.cameras
    return state


def _copy_words(start: str, out: Path) -> None:
    """The reader of prompts goes with the weights that training begins from."""
    folder = folder_of(EMBEDDED if start == "scratch" else start)
    if (folder / WORDS).is_dir() and not (out / WORDS).exists():
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out) as temporary:
            copied = shutil.copytree(folder / WORDS, Path(temporary) / WORDS)
            copied.rename(out / WORDS)


def _resume(state: TrainState, checkpoint: Path) -> bool:
    try:
        return load_checkpoint(state, checkpoint)
    except (KeyError, ValueError, RuntimeError):
        raise InputError(
            f"the checkpoint {checkpoint} is of another network than --start, or of other words; "
            "remove it or choose another folder"
        ) from None


def _log(
    path: Path, step: TrainStep, means: dict[str, float], rate: float, validation: float | None
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    line = {
        "step": step.index, "pictures": step.pictures, **means, "per_second": round(rate, 1)
    }
    if validation is not None:
        line["validation"] = round(validation, 5)
    with open(path, "a", encoding="utf-8") as log:
        log.write(json.dumps(line) + "\n")


def _keep(state: TrainState, out: Path, checkpoint: Path, seconds: float, lessons: Lessons) -> None:
    """Checkpoint, weights, the log's plot, and a picture of what the prior can do by now."""
    save_checkpoint(state, checkpoint)
    save_folder(state, out, seconds=round(seconds), **lessons.record)
    device = next(state.model.parameters()).device
    prior = load_pixel_prior(str(out), device=device)
    sheets = []
    for prompt in lessons.samples:
        cameras = turntable(4).to(device)
        *_, x0 = ddim(
            prior, prior.encode_text([prompt, ""]), cameras, steps=20, scale=2.0, views=4,
            noise=noise_for(cameras, seed=0, device=device),
        )
        sheets.append(x0)
    write_grid(torch.cat(sheets), out / "samples.png", columns=4, enlarge=2)
    if (out / "log.jsonl").exists():
        plot_log(out / "log.jsonl", out / "log.png")


