"""Training of a pixel prior: a DDPM (Ho et al., arXiv 2006.11239) conditioned on prompt and camera.

``train_pixel_prior`` is a generator of steps; it owns no data source and prints nothing.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dreamfusion3d.core.files import atomic_write, write_json
from dreamfusion3d.core.optimizers import adam_tensors, restore_adam
from dreamfusion3d.priors.pixel.losses import PixelPriorNetworks
from dreamfusion3d.priors.pixel.train_blocks import TrainStepContext, backward_in_chunks, step_losses
from dreamfusion3d.priors.pixel.train_planner import TrainStepPlan, default_train_chain, plan_train_steps
from dreamfusion3d.priors.pixel.train_state import BatchFunction, PriorTrainConfig, PriorTrainState, PriorTrainStep
from dreamfusion3d.priors.pixel.unet import build_scheduler, install_view_attention
from dreamfusion3d.procedural.dataset import TrainingBatch

SCENE_VIEWS_PER_OBJECT = 3  # views per object in steps that train only the scene
MAX_WARMUP_FRACTION = 0.1  # of a run


def train_pixel_prior(
    state: PriorTrainState,
    make_batch: BatchFunction,
    *,
    steps: int,
    max_seconds: float = math.inf,
    cooldown_fraction: float = 0.0,
    generator: torch.Generator,
    compile_unet: bool = False,
    memory_budget: int | None = None,
    on_plan: Callable[[dict[str, object]], None] = lambda _: None,
) -> Iterator[PriorTrainStep]:
    """Train for ``steps`` more steps or ``max_seconds``, whichever ends first, yielding after each step.

    A step that runs out of memory is repeated in smaller chunks, with the same gradient. With a ``memory_budget`` in
    bytes the chunks are planned, and ``on_plan`` receives the plans. Over the last ``cooldown_fraction`` of the run
    the learning rate falls linearly to zero: the noise of a constant rate separates most weights from better ones.
    """
    start_time = time.monotonic()
    config = state.config
    device = next(state.model.parameters()).device
    attention = install_view_attention(state.model.unet)
    alpha_bar = build_scheduler().alphas_cumprod.to(device)
    compiled = torch.compile(state.model.unet) if compile_unet else None
    denoising = TrainStepContext(state.model, config.scene_weight, alpha_bar, attention, compiled)
    contexts = {False: denoising, True: dataclasses.replace(denoising, attention=None)}  # by ``scene_only``
    num_views = {False: config.views_per_object, True: SCENE_VIEWS_PER_OBJECT}
    num_images = {False: config.images_per_step, True: config.scene_images_per_step}
    num_objects = {scene_only: num_images[scene_only] // views for scene_only, views in num_views.items()}
    if memory_budget is None:
        chains = {scene_only: default_train_chain(n, device) for scene_only, n in num_objects.items()}
    else:
        chains = plan_train_steps(state, make_batch, memory_budget, contexts, num_objects, num_views)
        on_plan({"pictures": chains[False].current.as_dict(), "scene": chains[True].current.as_dict()})
    for iteration in range(steps):
        fraction_done = max(iteration / steps, (time.monotonic() - start_time) / max_seconds)
        if fraction_done >= 1:
            return
        scene_draw, joint_draw = torch.rand(2, generator=generator).tolist()
        scene_only = state.step < config.scene_steps or scene_draw < config.scene_step_fraction
        batch = make_batch(num_objects[scene_only], num_views[scene_only], generator)
        context = dataclasses.replace(contexts[scene_only], joint=joint_draw >= config.single_view_fraction)
        start = generator.get_state()
        chain = chains[scene_only]
        # the U-Net's own warmup begins when its training does
        steps_since_start = state.step - (config.scene_steps if state.step >= config.scene_steps else 0)
        # short runs warm up faster
        warmup = min(1.0, max((steps_since_start + 1) / config.warmup_steps, fraction_done / MAX_WARMUP_FRACTION))
        cooldown = min(1.0, (1 - fraction_done) / max(cooldown_fraction, 1 / steps))
        for group in state.optimizer.param_groups:
            group["lr"] = group["rate"] * warmup * cooldown
        state.optimizer.zero_grad(set_to_none=True)
        value = chain.run(
            lambda plan: _compute_gradient(plan, context, batch, config, generator.set_state(start)),  # noqa: B023
            undo=lambda: state.optimizer.zero_grad(set_to_none=True),
        )
        norm = nn.utils.clip_grad_norm_(state.model.parameters(), 1.0)
        if math.isfinite(value) and math.isfinite(float(norm)):
            state.optimizer.step()
            state.step += 1
            state.images_seen += num_images[scene_only]
            _update_ema(state, num_images[scene_only])
        yield PriorTrainStep(state.step, state.images_seen, value, float(norm), scene_only, chain.take_warnings())


def _compute_gradient(
    plan: TrainStepPlan,
    context: TrainStepContext,
    batch: TrainingBatch,
    config: PriorTrainConfig,
    generator: torch.Generator,
) -> float:
    """Accumulate the gradient of a step into the parameters and return its loss."""
    randomness = context.sample_randomness(batch, config.prompt_dropout, generator)
    if not plan.is_default:
        return backward_in_chunks(context, batch, randomness, plan.num_chunks, plan.schedule)
    loss = step_losses(context, batch, randomness).total(config.scene_weight)
    loss.backward()
    return float(loss.detach())


@torch.no_grad()
def validation_loss(
    model: PixelPriorNetworks, batches: Sequence[TrainingBatch], config: PriorTrainConfig, *, seed: int = 0
) -> float:
    """Return the mean image loss on fixed batches, with noise and times fixed by ``seed``."""
    device = next(model.parameters()).device
    alpha_bar = build_scheduler().alphas_cumprod.to(device)
    context = TrainStepContext(model, config.scene_weight, alpha_bar, install_view_attention(model.unet))
    generator = torch.Generator().manual_seed(seed)
    values = []
    for batch in batches:
        randomness = context.sample_randomness(batch, config.prompt_dropout, generator)
        image_loss = step_losses(context, batch, randomness).image
        assert image_loss is not None
        values.append(float(image_loss))
    return sum(values) / len(values)


@torch.no_grad()
def _update_ema(state: PriorTrainState, num_images: int) -> None:
    # the half-life grows with the run, so that the average soon forgets the random initialization
    half_life = min(state.config.ema_half_life, state.step * num_images / 4)
    decay = 0.5 ** (num_images / max(half_life, 1.0))
    pairs = zip(state.ema_model.parameters(), state.model.parameters(), strict=True)
    averages, values = zip(*pairs, strict=True)
    torch._foreach_lerp_(list(averages), list(values), 1 - decay)


def save_pixel_prior(state: PriorTrainState, folder: Path, **record: object) -> None:
    """Save the averaged weights in half precision as a diffusers folder; ``record`` goes to training.json."""
    unet = copy.deepcopy(state.ema_model.unet).half()
    unet.save_pretrained(folder / "unet", safe_serialization=True)
    config = json.loads((folder / "unet" / "config.json").read_text())
    config.pop("_name_or_path", None)  # do not publish local paths
    write_json(folder / "unet" / "config.json", config)
    state.ema_model.conditioner.save(folder / "conditioner")
    state.ema_model.scene.save(folder / "scene")
    build_scheduler().save_pretrained(folder / "scheduler")
    counts = {"pictures": state.images_seen, "steps": state.step}
    write_json(folder / "training.json", {**counts, "config": asdict(state.config), **record})
    write_json(
        folder / "model_index.json",
        {
            "_class_name": "PixelPrior",
            "unet": ["diffusers", "UNet2DModel"],
            "scheduler": ["diffusers", "DDPMScheduler"],
            "conditioner": ["dreamfusion3d", "Conditioner"],
            "scene": ["dreamfusion3d", "Scene"],
        },
    )


def save_checkpoint(state: PriorTrainState, path: Path) -> None:
    """Save the whole training state as one safetensors file."""
    tensors = {f"model.{k}": v for k, v in state.model.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in state.ema_model.state_dict().items()}
    tensors |= {f"optimiser.{k}": v for k, v in adam_tensors(state.optimizer).items()}
    metadata = {"step": str(state.step), "pictures": str(state.images_seen), "time": str(int(time.time()))}
    with atomic_write(path) as temporary:
        save_file({k: v.contiguous() for k, v in tensors.items()}, temporary, metadata=metadata)


def load_checkpoint(state: PriorTrainState, path: Path) -> bool:
    """Restore the training state; returns False if the checkpoint is missing or damaged."""
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt") as stream:
            metadata = stream.metadata()
        tensors = load_file(path)
    except (FileNotFoundError, SafetensorError):
        return False

    def with_prefix(prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    state.model.load_state_dict(with_prefix("model."))
    state.ema_model.load_state_dict(with_prefix("average."))
    restore_adam(state.optimizer, with_prefix("optimiser."))
    state.step, state.images_seen = int(metadata["step"]), int(metadata["pictures"])
    return True
