"""Training of a pixel prior: a DDPM (Ho et al., arXiv 2006.11239) told prompt and camera.

``train`` is a generator of steps; it owns no data source and prints nothing.
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

from dreamfusion3d.core.files import replacing, write_json
from dreamfusion3d.priors.pixel.losses import Network, Trainee, draw, losses, scene_loss
from dreamfusion3d.priors.pixel.train_blocks import Lesson, backward
from dreamfusion3d.priors.pixel.train_planner import Way, everything, planned, unplanned
from dreamfusion3d.priors.pixel.train_state import MakeBatch, TrainConfig, TrainState, TrainStep
from dreamfusion3d.priors.pixel.unet import attend_across_views, build_scheduler
from dreamfusion3d.procedural.dataset import Batch

SCENE_VIEWS = 3  # of a prop, while the scene learns alone
WARM_SHARE = 0.1  # of a run at most, in which the rates rise


def train(
    state: TrainState, make_batch: MakeBatch, *, steps: int, seconds: float = math.inf,
    cool_share: float = 0.0, generator: torch.Generator, compiled: bool = False,
    budget: int | None = None, tell: Callable[[dict[str, object]], None] = lambda _: None,
) -> Iterator[TrainStep]:
    """Run ``steps`` more steps, or for ``seconds`` if these are over before, yielding after each;
    ``compiled``: through ``torch.compile``.

    Over the last ``cool_share`` of the run the rate falls linearly to nothing: the noise of a
    constant rate is most of what separates the last weights from better ones.

    ``budget``: bytes of memory to plan for; ``tell`` hears the plan. Where memory runs out the same step
    is taken in smaller pieces, with the same gradient.
    """
    begun = time.monotonic()
    config = state.config
    device = next(state.model.parameters()).device
    attention = attend_across_views(state.model.unet)
    alpha_bar = build_scheduler().alphas_cumprod.to(device)
    network: Network = torch.compile(state.model.unet) if compiled else state.model.unet
    lessons = {
        alone: Lesson(
            state.model, config.scene_weight, None if alone else attention, alpha_bar,
            network if compiled else None,
        ) for alone in (False, True)
    }
    props = {False: config.pictures // config.views, True: config.scene_pictures // SCENE_VIEWS}
    if budget is None:
        ladders = unplanned(props[False], props[True], device)
    else:
        of_views = {False: config.views, True: SCENE_VIEWS}
        ladders = planned(state, make_batch, budget, lessons, props, of_views)
        tell(ladders.as_dict())
    for turn in range(steps):
        gone = max(turn / steps, (time.monotonic() - begun) / seconds)
        if gone >= 1:
            return
        lot, other = torch.rand(2, generator=generator).tolist()
        alone = state.step < config.scene_steps or lot < config.scene_share
        shown = config.scene_pictures if alone else config.pictures
        batch = make_batch(props[alone], SCENE_VIEWS if alone else config.views, generator)
        lesson = dataclasses.replace(lessons[alone], joint=other >= config.single_share)
        drawn_from = generator.get_state()
        ladder = ladders.of(alone)
        # the U-Net begins later
        since = state.step - (config.scene_steps if state.step >= config.scene_steps else 0)
        for group in state.optimiser.param_groups:
            # a run of minutes has no steps to lose
            warm = min(1.0, max((since + 1) / config.warm_up, gone / WARM_SHARE))
            cool = min(1.0, (1 - gone) / max(cool_share, 1 / steps))
            group["lr"] = group["rate"] * warm * cool
        state.optimiser.zero_grad(set_to_none=True)
        value = ladder.attempt(
            lambda way: _gradient(way, lesson, batch, config, generator.set_state(drawn_from)),  # noqa: B023
            undo=lambda: state.optimiser.zero_grad(set_to_none=True),
        )
        norm = nn.utils.clip_grad_norm_(state.model.parameters(), 1.0)
        if math.isfinite(value) and math.isfinite(float(norm)):
            state.optimiser.step()
            state.step += 1
            state.pictures += shown
            _update_average(state, shown)
        yield TrainStep(state.step, state.pictures, value, float(norm), alone, ladder.told())


def _gradient(
    way: Way, lesson: Lesson, batch: Batch, config: TrainConfig, generator: torch.Generator
) -> float:
    """Leaves the gradient of a step's loss with the parameters; the loss."""
    model, dropout, alpha_bar = lesson.model, config.prompt_dropout, lesson.alpha_bar
    assert alpha_bar is not None
    if not everything(way):
        levels = 0 if lesson.attention is None else len(alpha_bar)
        drawn = draw(batch, dropout, levels, generator=generator, device=lesson.device)
        return backward(lesson, batch, drawn, way.pieces, way.schedule)
    if lesson.attention is None:
        loss = scene_loss(model, batch, dropout, generator=generator)
    else:
        both = losses(
            model, lesson.attention, alpha_bar, batch, dropout, generator=generator, network=lesson.network,
            joint=lesson.joint,
        )
        loss = both.picture + both.lights + config.scene_weight * both.scene
    loss.backward()
    return float(loss.detach())


@torch.no_grad()
def validation_loss(model: Trainee, batches: Sequence[Batch], config: TrainConfig, *, seed: int = 0) -> float:
    """The pictures' loss on fixed pictures with fixed noise and times: what compares two trainings."""
    device = next(model.parameters()).device
    attention = attend_across_views(model.unet)
    alpha_bar = build_scheduler().alphas_cumprod.to(device)
    generator = torch.Generator().manual_seed(seed)
    values = [
        float(losses(model, attention, alpha_bar, batch, config.prompt_dropout, generator=generator).picture)
        for batch in batches
    ]
    return sum(values) / len(values)


@torch.no_grad()
def _update_average(state: TrainState, shown: int) -> None:
    # the half life grows with the run, so that the average forgets the random start at once
    half_life = min(state.config.ema_half_life, state.step * shown / 4)
    decay = 0.5 ** (shown / max(half_life, 1.0))
    pairs = zip(state.average.parameters(), state.model.parameters(), strict=True)
    averages, values = zip(*pairs, strict=True)
    torch._foreach_lerp_(list(averages), list(values), 1 - decay)


def save_folder(state: TrainState, folder: Path, **record: object) -> None:
    """The averaged weights as a diffusers folder, in half precision."""
    unet = copy.deepcopy(state.average.unet).half()
    unet.save_pretrained(folder / "unet", safe_serialization=True)
    config = json.loads((folder / "unet" / "config.json").read_text())
    config.pop("_name_or_path", None)  # where the weights that training began from lie is nobody's business
    write_json(folder / "unet" / "config.json", config)
    state.average.conditioner.save(folder / "conditioner")
    state.average.scene.save(folder / "scene")
    build_scheduler().save_pretrained(folder / "scheduler")
    write_json(folder / "training.json", {"pictures": state.pictures, "steps": state.step,
                                          "config": asdict(state.config), **record})
    write_json(folder / "model_index.json", {
        "_class_name": "PixelPrior", "unet": ["diffusers", "UNet2DModel"],
        "scheduler": ["diffusers", "DDPMScheduler"], "conditioner": ["dreamfusion3d", "Conditioner"],
        "scene": ["dreamfusion3d", "Scene"],
    })


def save_checkpoint(state: TrainState, path: Path) -> None:
    """Everything, in one safetensors file."""
    tensors = {f"model.{k}": v for k, v in state.model.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in state.average.state_dict().items()}
    for i, slots in state.optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{i}.{name}": v for name, v in slots.items()}
    counts = {"step": str(state.step), "pictures": str(state.pictures), "time": str(int(time.time()))}
    with replacing(path) as temporary:
        save_file({k: v.contiguous() for k, v in tensors.items()}, temporary, metadata=counts)


def load_checkpoint(state: TrainState, path: Path) -> bool:
    """Take up a checkpoint; False when there is none or it is damaged."""
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt") as stream:
            counts = stream.metadata()
        tensors = load_file(path)
    except (FileNotFoundError, SafetensorError):
        return False
    for name, module in (("model", state.model), ("average", state.average)):
        prefix = name + "."
        module.load_state_dict({k[len(prefix):]: v for k, v in tensors.items() if k.startswith(prefix)})
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimiser."):
            _, index, name = key.split(".")
            slots.setdefault(int(index), {})[name] = value
    whole = state.optimiser.state_dict()
    state.optimiser.load_state_dict({"state": slots, "param_groups": whole["param_groups"]})
    state.step, state.pictures = int(counts["step"]), int(counts["pictures"])
    return True
