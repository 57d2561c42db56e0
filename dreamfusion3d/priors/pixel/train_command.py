"""The ``train-prior`` command: render objects or read the user's images, train, and save resumable outputs."""

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
from dreamfusion3d.memory.budget import format_bytes
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
from dreamfusion3d.priors.vocabulary import EMBEDDED, has_image_model, prior_folder
from dreamfusion3d.procedural import dataset

SAMPLE_PROMPTS = (
    "a pitcher with one handle",
    "a red mug",
    "a blue vase with two handles",
    "a brown chair",
    "a pink donut",
    "a snowman",
)
NUM_CAPTION_SAMPLES = 6  # captions of the user's images in samples.png
LOG_INTERVAL = 50  # steps
VALIDATION_INTERVAL = 500  # steps
VALIDATION_STRIDE = 20  # every 20th group of peers is held out
VALIDATION_BATCHES = 8
COOLDOWN_FRACTION = 0.7  # a long decay is worth more than steps at the full rate


@dataclass(frozen=True)
class TrainingData:
    """Source of batches, with what goes into the outputs."""

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
    config: PriorTrainConfig | None = None,
) -> None:
    """Train a prior and write it to ``out`` as a diffusers folder; an interrupted training resumes there.

    Args:
        cache_dir: Rendered procedural objects, made if missing.
        init_from: "embedded", the folder of a prior, or "scratch".
        save_minutes: Interval between checkpoints.
        compiled: Compile the U-Net on CUDA.
        image_folder: Images of the user, in place of ``num_objects`` procedural objects.
        memory_budget: Bytes to stay within; training.json records the chosen plans.
        config: Hyperparameters (default: those for ``device``).
    """
    images = None if image_folder is None else _read_image_folder(image_folder, progress)
    config = config or PriorTrainConfig().for_device(device)
    state = _initial_state(init_from, config, device, seed, images)  # reports bad input before minutes of rendering
    checkpoint = out / "checkpoint.safetensors"
    goal = state.images_seen + num_images
    resumed = _resume(state, checkpoint)
    _copy_text_encoder(init_from, out)
    if images is None:
        data = _procedural_data(load_or_render_dataset(cache_dir, num_objects, seed, progress).to(device))
    else:
        data = _image_folder_data(images)
    if resumed:
        progress.log(f"resuming from {checkpoint.name}: {state.images_seen:,} images seen")
    progress.stage("train", 2, 2)
    compile_unet = compiled and device.type == "cuda"
    if compile_unet:
        progress.log("compiling the network: the first steps take a minute or two")

    def record_plan(plans: dict[str, object]) -> None:
        data.record["memory"] = {"budget_bytes": memory_budget, **plans}
        for step_type, plan in plans.items():
            assert isinstance(plan, dict)
            peak = format_bytes(plan["predicted_peak_bytes"])
            progress.log(f"memory, {step_type}: {plan['plan']}; predicted peak {peak}")

    log = _TrainingLog(state, out, data, progress, goal, max_minutes)
    last_save = time.monotonic()
    for step in train_pixel_prior(
        state,
        data.make_batch,
        steps=state.steps_for(goal - state.images_seen),
        max_seconds=60 * max_minutes,
        cooldown_fraction=COOLDOWN_FRACTION,
        generator=torch.Generator().manual_seed(seed + 1 + state.step),
        compile_unet=compile_unet,
        memory_budget=memory_budget,
        on_plan=record_plan,
    ):
        log.record(step)
        if time.monotonic() - last_save > 60 * save_minutes:
            _save_outputs(state, out, checkpoint, log.seconds, data)
            last_save = time.monotonic()
    _save_outputs(state, out, checkpoint, log.seconds, data)
    progress.close()


class _TrainingLog:
    """Progress of a training, and the means of its losses in log.jsonl."""

    def __init__(
        self, state: PriorTrainState, out: Path, data: TrainingData, progress: Progress, goal: int, max_minutes: float
    ) -> None:
        self.state, self.out, self.data, self.progress = state, out, data, progress
        self.goal, self.max_minutes = goal, max_minutes
        self.start_time, self.initial_images = time.monotonic(), state.images_seen
        self.losses: dict[str, list[float]] = {"loss": [], "scene": []}

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.start_time

    def record(self, step: PriorTrainStep) -> None:
        if step.warning:
            self.progress.warn(step.warning)
        self.losses["scene" if step.scene_only else "loss"].append(step.loss)
        rate = (step.images_seen - self.initial_images) / self.seconds
        means = {name: round(sum(values) / len(values), 5) for name, values in self.losses.items() if values}
        summary = ", ".join(f"{name} {mean:.4f}" for name, mean in means.items())
        total = self.goal
        if self.max_minutes < math.inf:
            total = min(total, round(self.initial_images + 60 * self.max_minutes * rate))
        self.progress.step(step.images_seen, max(total, step.images_seen), f"{summary}, {rate:.0f} images/s")
        if step.index % LOG_INTERVAL == 0:
            self._write_line(step, means, rate)
            self.losses = {name: [] for name in self.losses}

    def _write_line(self, step: PriorTrainStep, means: dict[str, float], rate: float) -> None:
        line = {"step": step.index, "pictures": step.images_seen, **means, "per_second": round(rate, 1)}
        if self.data.validation and step.index % VALIDATION_INTERVAL == 0:
            loss = validation_loss(self.state.ema_model, self.data.validation, self.state.config)
            line["validation"] = round(loss, 5)
        self.out.mkdir(parents=True, exist_ok=True)
        with open(self.out / "log.jsonl", "a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")


def _procedural_data(data: dataset.ObjectDataset) -> TrainingData:
    """Split rendered objects into training data and fixed validation batches; small caches have no validation."""
    training, held_out = data.split(VALIDATION_STRIDE)
    if len(training) < VALIDATION_STRIDE * dataset.MAX_PEERS:
        training, validation = data, []
    else:
        generator = torch.Generator().manual_seed(0)
        validation = [held_out.batch(6, 4, generator=generator) for _ in range(VALIDATION_BATCHES)]
    return TrainingData(lambda n, v, g: training.batch(n, v, generator=g), validation, SAMPLE_PROMPTS)


def _read_image_folder(folder: Path, progress: Progress) -> image_folder.ImageFolderDataset:
    """Read the user's images, with warnings about what they lack."""
    progress.stage("read", 1, 2)
    images = image_folder.read_image_folder(folder, progress.step)
    if images.num_backgrounds_removed:
        count = f"{images.num_backgrounds_removed} of {len(images.records)}"
        progress.warn(f"{count} images have no transparency; their plain background was removed")
    if not images.has_cameras:
        progress.warn(
            "the images have no cameras (azimuth_deg, elevation_deg): each is learned by itself, "
            "and the prior will not tell an object's sides apart"
        )
    elif all(len(group) == 1 for group in images.groups):
        progress.warn("no two images share a group: views are learned one by one, not together")
    return images


def _image_folder_data(dataset: image_folder.ImageFolderDataset) -> TrainingData:
    record = {"pictures": len(dataset.records), "objects": len(dataset.groups), "cameras": dataset.has_cameras}
    samples = tuple(dataset.captions[:NUM_CAPTION_SAMPLES])
    return TrainingData(lambda n, v, g: dataset.batch(n, v, generator=g), [], samples, {"pictures_from": record})


def _initial_state(
    init_from: str,
    config: PriorTrainConfig,
    device: torch.device,
    seed: int,
    dataset: image_folder.ImageFolderDataset | None,
) -> PriorTrainState:
    """Initialize from scratch with the vocabulary of the data, or extend that of a trained prior."""
    vocabulary = dataset.vocabulary if dataset else procedural_vocabulary()
    if init_from == "scratch":
        state = new_train_state(vocabulary, config, seed=seed, device=device)
    else:
        load_pixel_prior(init_from)  # raises InputError for a bad folder
        if not has_image_model(prior_folder(init_from)):
            raise InputError(f"the prior {init_from} has no image model to train further; use --init-from scratch")
        state = train_state_from_folder(prior_folder(init_from), config, vocabulary, device=device)
    for networks in (state.model, state.ema_model):
        networks.conditioner.camera_conditioned = dataset is None or dataset.has_cameras
    return state


def _copy_text_encoder(init_from: str, out: Path) -> None:
    """Copy the text encoder of the prior that the training starts from."""
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
            f"the checkpoint {checkpoint} belongs to another network or vocabulary than --init-from; remove it or "
            "choose another folder"
        ) from None


def _save_outputs(state: PriorTrainState, out: Path, checkpoint: Path, seconds: float, data: TrainingData) -> None:
    """Save the checkpoint, the weights, the plot of the log and a grid of samples."""
    save_checkpoint(state, checkpoint)
    save_pixel_prior(state, out, seconds=round(seconds), **data.record)
    device = next(state.model.parameters()).device
    prior = load_pixel_prior(str(out), device=device)
    cameras = turntable_cameras(4).to(device)
    noise = initial_noise(cameras, seed=0, device=device)
    images = []
    for prompt in data.samples:
        text = prior.encode_text([prompt, ""])
        *_, x0 = sample_ddim(prior, text, cameras, steps=20, scale=2.0, views=4, noise=noise)
        images.append(x0)
    write_image_grid(torch.cat(images), out / "samples.png", columns=4, upscale=2)
    if (out / "log.jsonl").exists():
        plot_training_log(out / "log.jsonl", out / "log.png")
