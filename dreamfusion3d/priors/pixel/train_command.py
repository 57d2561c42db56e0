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

from dreamfusion3d.cameras.orbit import turntable_cameras
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.progress import Progress
from dreamfusion3d.memory.budget import format_bytes as shown_bytes
from dreamfusion3d.priors.loading import load_pixel_prior
from dreamfusion3d.priors.pixel import image_folder
from dreamfusion3d.priors.pixel.conditioner import procedural_vocabulary
from dreamfusion3d.priors.pixel.dataset_cache import load_or_render_dataset
from dreamfusion3d.priors.pixel.loss_plot import plot_training_log
from dreamfusion3d.priors.pixel.prior import TEXT_ENCODER_FOLDER
from dreamfusion3d.priors.pixel.train import (
    load_checkpoint,
    save_checkpoint,
    save_pixel_prior,
    train_pixel_prior,
    validation_loss,
)
from dreamfusion3d.priors.pixel.train_state import (
    BatchFunction,
    PriorTrainConfig,
    PriorTrainState,
    PriorTrainStep,
    new_train_state,
    train_state_from_folder,
)
from dreamfusion3d.priors.sampling import initial_noise, sample_ddim, write_image_grid
from dreamfusion3d.priors.vocabulary import EMBEDDED, prior_folder
from dreamfusion3d.procedural import dataset

SAMPLE_PROMPTS = (
    "a pitcher with one handle",
    "a red mug",
    "a blue vase with two handles",
    "a brown chair",
    "a pink donut",
    "a snowman",
)
NUM_CAPTION_SAMPLES = 6  # captions of the user's pictures
LOG_INTERVAL = 50  # steps
VALIDATION_INTERVAL = 500  # steps
VALIDATION_STRIDE = 20  # one group of peers in so many is kept from training
VALIDATION_BATCHES = 8
COOLDOWN_FRACTION = 0.7  # of a run, at its end: the long fall is worth more than the steps at full rate


@dataclass(frozen=True)
class TrainingData:
    """What is shown, and what becomes of it."""

    make_batch: BatchFunction
    validation: list[dataset.TrainingBatch] = field(default_factory=list)
    samples: tuple[str, ...] = ()  # prompts of samples.png
    record: dict[str, object] = field(default_factory=dict)  # for training.json


def train_prior_folder(
    out: Path,
    *,
    cache_dir: Path,
    num_images: int,
    num_objects: int,
    init_from: str,
    device: torch.device,
    seed: int,
    save_minutes: float,
    progress: Progress,
    compiled: bool = True,
    image_folder: Path | None = None,
    max_minutes: float = math.inf,
    memory_budget: int | None = None,
) -> None:
    """Show ``pictures`` pictures to a prior and leave it in ``out`` as a diffusers folder: of the
    procedural world, or of the folder ``pictures_from`` (``own``).

    ``compiled``: on CUDA, by ``torch.compile``. After ``minutes`` of training it is over in any case.
    ``budget``: bytes of memory to make do with; what is chosen stands in training.json.
    """
    images = None if image_folder is None else _read_image_folder(image_folder, progress)
    state = _initial_state(init_from, device, seed, images)  # before the props' pictures, which take minutes
    checkpoint = out / "checkpoint.safetensors"
    goal = state.images_seen + num_images
    resumed = _resume(state, checkpoint)
    _copy_text_encoder(init_from, out)
    if images is None:
        data = _procedural_data(load_or_render_dataset(cache_dir, num_objects, seed, progress).to(device))
    else:
        data = _image_folder_data(images)
    if resumed:
        progress.log(f"going on from {checkpoint.name}: {state.images_seen:,} pictures seen")
    progress.stage("train", 2, 2)
    generator = torch.Generator().manual_seed(seed + 1 + state.step)
    start_time, last_save, initial_images = time.monotonic(), time.monotonic(), state.images_seen
    losses: dict[str, list[float]] = {"loss": [], "scene": []}
    steps = state.steps_for(goal - state.images_seen)
    if compiled and device.type == "cuda":
        progress.log("compiling the network: the first steps take a minute or two")

    def record_plan(plan: dict[str, object]) -> None:
        data.record["memory"] = {"budget_bytes": memory_budget, **plan}
        for step_type, plan_facts in plan.items():
            assert isinstance(plan_facts, dict)
            peak = shown_bytes(plan_facts["predicted_peak_bytes"])
            progress.log(f"memory, {step_type}: {plan_facts['plan']}; {peak} at most (predicted)")

    run = train_pixel_prior(
        state,
        data.make_batch,
        steps=steps,
        max_seconds=60 * max_minutes,
        cooldown_fraction=COOLDOWN_FRACTION,
        generator=generator,
        compile_unet=compiled and device.type == "cuda",
        memory_budget=memory_budget,
        on_plan=record_plan,
    )
    for step in run:
        if step.warning:
            progress.warn(step.warning)
        losses["scene" if step.scene_only else "loss"].append(step.loss)
        images_per_second = (step.images_seen - initial_images) / (time.monotonic() - start_time)
        means = {name: round(sum(values) / len(values), 5) for name, values in losses.items() if values}
        summary = ", ".join(f"{name} {mean:.4f}" for name, mean in means.items())
        expected_total = (
            min(goal, round(initial_images + 60 * max_minutes * images_per_second)) if max_minutes < math.inf else goal
        )
        progress.step(
            step.images_seen, max(expected_total, step.images_seen), f"{summary}, {images_per_second:.0f} pictures/s"
        )
        if step.index % LOG_INTERVAL == 0:
            validation = None
            if data.validation and step.index % VALIDATION_INTERVAL == 0:
                validation = validation_loss(state.ema_model, data.validation, state.config)
            _log(out / "log.jsonl", step, means, images_per_second, validation)
            losses = {name: [] for name in losses}
        if time.monotonic() - last_save > 60 * save_minutes:
            _save_outputs(state, out, checkpoint, time.monotonic() - start_time, data)
            last_save = time.monotonic()
    _save_outputs(state, out, checkpoint, time.monotonic() - start_time, data)
    progress.close()


def _procedural_data(data: dataset.ObjectDataset) -> TrainingData:
    """Props; fixed batches of those that are kept from training validate it. A small cache is all
    trained on."""
    training, held_out = data.split(VALIDATION_STRIDE)
    if len(training) < VALIDATION_STRIDE * dataset.MAX_PEERS:
        training, validation = data, []
    else:
        generator = torch.Generator().manual_seed(0)
        validation = [held_out.batch(6, 4, generator=generator) for _ in range(VALIDATION_BATCHES)]
    return TrainingData(lambda n, v, g: training.batch(n, v, generator=g), validation, SAMPLE_PROMPTS)


def _read_image_folder(folder: Path, progress: Progress) -> image_folder.ImageFolderDataset:
    """The user's pictures, and what should be known of them."""
    progress.stage("read", 1, 2)
    for done, total, dataset in image_folder.read_image_folder(folder):
        progress.step(done, total)
        if dataset is None:
            continue
        if dataset.num_backgrounds_removed:
            progress.warn(
                f"{dataset.num_backgrounds_removed} of {total} images have no transparency; their plain background "
                "was removed"
            )
        if not dataset.has_cameras:
            progress.warn(
                "the images have no cameras (azimuth_deg, elevation_deg): each is learned by itself, "
                "and the prior will not tell an object's sides apart"
            )
        elif all(len(group) == 1 for group in dataset.groups):
            progress.warn("no two images share a group: views are learned one by one, not together")
        return dataset
    raise AssertionError("read_folder ends with the pictures")


def _image_folder_data(dataset: image_folder.ImageFolderDataset) -> TrainingData:
    record = {"pictures": len(dataset.records), "objects": len(dataset.groups), "cameras": dataset.has_cameras}
    return TrainingData(
        lambda n, v, g: dataset.batch(n, v, generator=g),
        samples=tuple(dataset.captions[:NUM_CAPTION_SAMPLES]),
        record={"pictures_from": record},
    )


def _initial_state(
    init_from: str, device: torch.device, seed: int, dataset: image_folder.ImageFolderDataset | None
) -> PriorTrainState:
    """Of the user's pictures a beginning from nothing learns their words alone."""
    vocabulary, config = (
        dataset.vocabulary if dataset else procedural_vocabulary(),
        PriorTrainConfig().for_device(device),
    )
    if init_from == "scratch":
        state = new_train_state(vocabulary, config, seed=seed, device=device)
    else:
        load_pixel_prior(init_from)  # says in one line what is wrong with a folder
        state = train_state_from_folder(prior_folder(init_from), config, vocabulary, device=device)
    for networks in (state.model, state.ema_model):
        networks.conditioner.camera_conditioned = dataset is None or dataset.has_cameras
    return state


def _copy_text_encoder(init_from: str, out: Path) -> None:
    """The reader of prompts goes with the weights that training begins from."""
    folder = prior_folder(EMBEDDED if init_from == "scratch" else init_from)
    if (folder / TEXT_ENCODER_FOLDER).is_dir() and not (out / TEXT_ENCODER_FOLDER).exists():
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out) as temporary:
            copied = shutil.copytree(folder / TEXT_ENCODER_FOLDER, Path(temporary) / TEXT_ENCODER_FOLDER)
            copied.rename(out / TEXT_ENCODER_FOLDER)


def _resume(state: PriorTrainState, checkpoint: Path) -> bool:
    try:
        return load_checkpoint(state, checkpoint)
    except (KeyError, ValueError, RuntimeError):
        raise InputError(
            f"the checkpoint {checkpoint} is of another network than --init-from, or of other words; "
            "remove it or choose another folder"
        ) from None


def _log(path: Path, step: PriorTrainStep, means: dict[str, float], rate: float, validation: float | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    line = {"step": step.index, "pictures": step.images_seen, **means, "per_second": round(rate, 1)}
    if validation is not None:
        line["validation"] = round(validation, 5)
    with open(path, "a", encoding="utf-8") as log:
        log.write(json.dumps(line) + "\n")


def _save_outputs(state: PriorTrainState, out: Path, checkpoint: Path, seconds: float, data: TrainingData) -> None:
    """Checkpoint, weights, the log's plot, and a picture of what the prior can do by now."""
    save_checkpoint(state, checkpoint)
    save_pixel_prior(state, out, seconds=round(seconds), **data.record)
    device = next(state.model.parameters()).device
    prior = load_pixel_prior(str(out), device=device)
    images = []
    for prompt in data.samples:
        cameras = turntable_cameras(4).to(device)
        *_, x0 = sample_ddim(
            prior,
            prior.encode_text([prompt, ""]),
            cameras,
            steps=20,
            scale=2.0,
            views=4,
            noise=initial_noise(cameras, seed=0, device=device),
        )
        images.append(x0)
    write_image_grid(torch.cat(images), out / "samples.png", columns=4, upscale=2)
    if (out / "log.jsonl").exists():
        plot_training_log(out / "log.jsonl", out / "log.png")
